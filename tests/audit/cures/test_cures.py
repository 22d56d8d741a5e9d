"""Every cure of every finding, pasted and run where its model was trained."""

import ast
import copy
import warnings
from dataclasses import replace
from functools import wraps
from itertools import chain
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import scvi
import torch

from lucidvi import audit
from lucidvi.audit import checks
from lucidvi.audit.cures import CURES, Cures, Making, Remake
from lucidvi.audit.retraining import Run, across_runs
from lucidvi.audit.subject import Comparison, Imputed, Predictions
from lucidvi.distributions import candidate_of
from lucidvi.model import MOSAICVI, SCVI
from lucidvi.results import Cure, Posteriors, merged

#: What each cure has to know besides the model. A new cure needs a row.
FACTS = {
    "fewer_dimensions": [{"n_latent": 2}],
    "collapsed": [{}],
    "read_together": [{}],
    "canonical_axes": [{}],
    "encoder_is_off": [{}],
    "longer": [{}],
    "likelihood": [{"name": n} for n in ("poisson", "nb", "zinb", "nb by batch")],
    "needed_likelihood": [{"name": n, "why": "Why."} for n in ("zinb", "nb")],
    "dispersion_by_batch": [{}],
    "more_dimensions": [{"n_latent": 8}],
    "more_weights": [{"n_latent": 4}],
    "fewer_weights": [{"n_latent": 3}],
    "batch_shows": [{}],
    "depth_shows": [{}],
    "modalities_apart": [{}],
    "imputation_off": [
        {"modality": "prot", "wider": wider, "coverage": coverage}
        for wider, coverage in (("", 0.7), ("", 0.99), ("nb", 0.8))
    ],
    "unstable": [{}],
    "unstable_dimensions": [{"n_latent": 3}],
    "fewer_clusters": [{}],
    "certain_genes": [{"groups": ("T", "B")}, {}],
}
#: Likelihoods of which some cures are; the others are of any.
ONLY_OF = {
    ("needed_likelihood", "zinb"): ("nb", "nb by batch"),
    ("needed_likelihood", "nb"): ("poisson",),
    "dispersion_by_batch": ("nb", "zinb"),
    "likelihood": ("poisson", "nb", "zinb", "nb by batch", "zinb by batch"),
}


def test_every_cure_is_here():
    assert set(FACTS) == set(CURES)


# -- models that differ in what they were made of --------------------------------------------

ALL = {
    "layer": "counts",
    "batch_key": "donor",
    "labels_key": "label",
    "size_factor_key": "size_factor",
    "categorical_covariate_keys": ["site"],
    "continuous_covariate_keys": ["age"],
}


def made(cls, adata, setup, train=(), **init):
    cls.setup_anndata(adata, **setup)
    model = cls(adata, n_latent=4, **init)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.train(max_epochs=1, accelerator="cpu", enable_progress_bar=False, **dict(train))
    return model


def plain(adata, folder):
    return made(SCVI, adata, {})


def full(adata, folder):
    """Nothing is left that is not set already."""
    adata.layers["counts"], adata.X = adata.X, adata.X * 0.5
    return made(
        SCVI,
        adata,
        ALL,
        {"train_size": 0.8, "plan_kwargs": {"free_bits": 0.5, "kl_warmup": 0.6}},
        gene_likelihood="zinb",
        dispersion="gene-batch",
        encode_covariates=True,
        n_layers=2,
        n_hidden=16,
        dropout_rate=0.5,
    )


def several(adata, folder):
    """Two modalities, in one AnnData as it was given."""
    rng = np.random.default_rng(0)
    adata.obsm["prot"] = pd.DataFrame(
        rng.poisson(3.0, (adata.n_obs, 4)), adata.obs_names, list("abcd")
    )
    return made(
        MOSAICVI,
        adata,
        {"modalities": {"rna": "rna", "prot": "protein"}, "batch_key": "batch"},
        modality_dropout=0.2,
    )


def with_functions(adata, folder):
    """An argument that has no text, and another prior."""
    return made(
        SCVI,
        adata,
        {"batch_key": "batch"},
        var_activation=torch.nn.functional.softplus,
        prior="vamp",
        prior_kwargs={"n_components": np.int64(5).item()},
        use_observed_lib_size=False,
        gene_likelihood="nb",
        dispersion="gene-label",
    )


def values(adata, folder):
    adata.X = np.log1p(adata.X.toarray())
    return made(SCVI, adata, {"is_count_data": False}, gene_likelihood="normal")


def scvi_preset(adata, folder):
    return made(
        SCVI, adata, {"labels_key": "label"}, {"preset": "scvi"}, gene_likelihood="poisson"
    )


def saved(adata, folder):
    model = made(SCVI, adata, {"batch_key": "batch"}, {"plan_kwargs": {"free_bits": 1.0}})
    model.save(folder / "model")
    return SCVI.load(folder / "model", adata)


def backed(adata, folder):
    adata.layers["counts"] = adata.X.copy()
    adata.write_h5ad(folder / "cells.h5ad")
    return made(SCVI, anndata.read_h5ad(folder / "cells.h5ad", backed="r"), {"layer": "counts"})


def refined(adata, folder):
    model = made(SCVI, adata, {"batch_key": "batch"})
    model.adata = model.refine_posterior().to_adata(adata)
    return model


def turned(adata, folder):
    model = made(SCVI, adata, {"batch_key": "batch"})
    model.canonicalize()
    return model


def theirs(adata, folder):
    adata.layers["counts"] = adata.X.copy()
    return made(scvi.model.SCVI, adata, ALL, encode_covariates=True, n_layers=2)


def linear(adata, folder):
    return made(scvi.model.LinearSCVI, adata, {"batch_key": "batch", "labels_key": "label"})


def scanvi(adata, folder):
    setup = {"labels_key": "label", "unlabeled_category": "?", "batch_key": "batch"}
    return made(scvi.model.SCANVI, adata, setup)


def scanvi_of_scvi(adata, folder):
    first = made(scvi.model.SCVI, adata, {"labels_key": "label"}, gene_likelihood="nb")
    model = scvi.model.SCANVI.from_scvi_model(first, unlabeled_category="?")
    model.train(max_epochs=1, accelerator="cpu", enable_progress_bar=False)
    return model


#: What cannot be copied; no cure changes it so that the next one would notice.
AS_IT_IS = (backed, scanvi, scanvi_of_scvi)
QUICK = (full, linear, scanvi, several)
SLOW = (
    plain,
    with_functions,
    values,
    scvi_preset,
    saved,
    backed,
    refined,
    turned,
    theirs,
    scanvi_of_scvi,
)
KINDS = [*QUICK, *(pytest.param(kind, marks=pytest.mark.slow) for kind in SLOW)]


@pytest.fixture
def cells(make_adata):
    adata = make_adata(n_cells=100, n_genes=15)
    adata.obs["plate"] = pd.Categorical(np.array(["x", "y", None])[np.arange(100) // 7 % 3])
    return adata


class Trainings(list):
    """Arguments of each training that a cure asked for."""


@pytest.fixture
def trainings(monkeypatch):
    """Let every training last an epoch, and no stability be measured; keep what was asked for."""
    asked = Trainings()

    def short(train):
        @wraps(train)
        def one_epoch(self, max_epochs=None, **kwargs):
            asked.append({"max_epochs": max_epochs} | kwargs)
            quiet = {"accelerator": "cpu", "enable_progress_bar": False}
            return train(self, max_epochs=1, **(quiet | kwargs))

        return one_epoch

    for cls in (SCVI, MOSAICVI, scvi.model.SCVI, scvi.model.LinearSCVI, scvi.model.SCANVI):
        monkeypatch.setattr(cls, "train", short(cls.train))
    monkeypatch.setattr(audit, "stability", lambda model: asked.append({"stability": model}))
    return asked


def paste(text, model):
    """Run a cure where its model was trained, and return the model that it ends with."""
    names = {"adata": model.adata, "model": model}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of training for an epoch, and of scanpy's own making
        exec(compile(text, "cure", "exec"), names)
    assert names["model"].is_trained
    assert np.isfinite(names["model"].get_latent_representation()).all()
    return names["model"]


def arguments(model):
    """Return what a model was set up and made with."""
    init = dict(model.init_params_["non_kwargs"])
    for group in model.init_params_["kwargs"].values():
        init |= group
    setup = {k: v for k, v in model.registry_["setup_args"].items() if v}
    return setup, {k: v for k, v in init.items() if k != "rotated"}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_cure_of_a_model(kind, cells, trainings, tmp_path):
    model = kind(cells, tmp_path)
    total = np.ravel(model.adata_manager.get_from_registry("X")[:].sum(axis=1))
    cures = Cures.of_model(model, model.adata, total=total)
    of_labels = replace(cures, labels_key="label")
    before, likelihood = arguments(model), likelihood_of(model)
    for name, facts in ((n, f) for n, all_facts in FACTS.items() for f in all_facts):
        only_of = ONLY_OF.get((name, facts.get("name")), ONLY_OF.get(name, [likelihood]))
        if likelihood not in only_of or facts.get("name") == likelihood:
            continue
        cure = (of_labels if facts.get("groups") else cures).of(name, **facts)
        del trainings[:]
        # What a cure does to the model is not what the next one starts from.
        found = paste(cure, model if kind in AS_IT_IS else copy.deepcopy(model))
        if cure.change is None:
            continue
        changed = cure.change
        assert cure != Remake(cures.making, changed.comment).text, name
        assert type(found) is type(model) or kind is linear
        asked = {k: v for k, v in trainings[0].items() if v is not None}
        assert asked.items() >= dict(changed.train).items(), name
        pairs = zip(before, arguments(found), (changed.setup, changed.init), strict=True)
        for of_model, of_found, changes in pairs:
            for argument, value in changes.items():
                if argument == "modalities":
                    continue  # is kept with the cells, see below
                assert of_found.get(argument) == value, name
            kept = {k: v for k, v in of_model.items() if k not in changes}
            if type(found) is type(model):
                assert {k: of_found[k] for k in kept} == kept, name


def likelihood_of(model):
    """Return the name by which a finding knows a model's likelihood."""
    return candidate_of(model.module)


@pytest.mark.parametrize(
    ("kind", "setup"),
    [
        (plain, {"batch_key": "plate"}),
        (full, {"batch_key": "donor", "categorical_covariate_keys": ["site", "plate"]}),
        (theirs, {"batch_key": "donor", "categorical_covariate_keys": ["site", "plate"]}),
        (linear, {"batch_key": "batch_and_plate"}),
        (scanvi, {"batch_key": "batch", "categorical_covariate_keys": ["plate"]}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_batch_that_the_model_was_not_told_of(kind, setup, cells, trainings, tmp_path):
    """It is told besides what it knows already, also where some values are missing."""
    model = kind(cells, tmp_path)
    report = Cures.of_model(model, cells, batch_key="plate")
    assert report.batch_has_gaps
    found = paste(report.of("batch_shows"), model)
    assert arguments(found)[0].items() >= setup.items()
    n_batch = model.summary_stats.n_batch
    assert found.summary_stats.n_batch == {plain: 3, linear: 9}.get(kind, n_batch)


def test_dispersion_of_a_batch_that_the_model_was_not_told_of(cells, trainings, tmp_path):
    for kind, setup in (
        (plain, {"batch_key": "plate"}),
        (full, {"batch_key": "plate", "categorical_covariate_keys": ["site", "donor"]}),
    ):
        model = kind(cells.copy(), tmp_path)
        cure = Cures.of_model(model, model.adata, batch_key="plate").of("dispersion_by_batch")
        found = paste(cure, model)
        assert arguments(found)[0].items() >= setup.items()
        assert found.module.dispersion == "gene-batch"
        assert found.module.n_batch == 3


def test_shallow_cells_are_left_out_by_the_counts_of_the_model(cells, trainings, tmp_path):
    cells.layers["counts"], cells.X = cells.X, cells.X * 0
    model = made(SCVI, cells, {"layer": "counts"})
    total = np.ravel(cells.layers["counts"].sum(axis=1))
    found = paste(Cures.of_model(model, cells, total=total).of("depth_shows"), model)
    assert found.adata.n_obs == (total >= np.quantile(total, 0.1)).sum() < 100


# -- several problems of one finding ----------------------------------------------------------


def test_cures_of_one_finding_make_one_model(cells, trainings, tmp_path):
    """The next cure does not drop what the one before has set."""
    model = made(SCVI, cells, {"labels_key": "label", "size_factor_key": "size_factor"})
    cures = Cures.of_model(model, cells, batch_key="batch")
    cure = merged([cures.of("batch_shows"), cures.of("depth_shows")])
    assert cure.count("setup_anndata") == cure.count("model.train") == 1
    setup, init = arguments(paste(cure, model))
    assert setup == {"labels_key": "label", "batch_key": "batch"}
    assert init["encode_covariates"] is True


def test_cures_that_contradict_each_other():
    making = Making()
    one, two, three = (
        Cure.of(Remake(making, (text,), init=init))
        for text, init in (
            ("More.", {"n_latent": 20}),
            ("Fewer.", {"n_latent": 5, "n_layers": 2}),
            ("Other.", {"gene_likelihood": "nb"}),
        )
    )
    cure = merged([one, two, three])
    assert "n_latent=20" in cure
    assert "gene_likelihood='nb'" in cure
    assert "Fewer" not in cure
    assert "n_layers" not in cure


def test_no_further_training_of_a_model_that_is_made_again():
    cures = Cures()
    inflated = cures.of("needed_likelihood", name="zinb", why="There are more zeros.")
    assert merged([cures.of("longer"), inflated]) == inflated
    assert merged([cures.of("longer"), cures.of("longer")]) == cures.of("longer")
    assert merged(["a()", inflated, "b()"]).startswith("a()\n\nfrom")
    assert merged([]) == ""


# -- where in the findings each cure is -------------------------------------------------------


class Named(Cures):
    """Gives the name of a cure in the place of its code."""

    def of(self, cure, **facts):
        assert any(set(facts) == set(known) for known in FACTS[cure])
        return f"{cure}()"


def all_findings(make_findings, cures):
    """Every branch of every finding that has something to cure."""
    rng = np.random.default_rng(0)
    n, k = 200, 4

    def collapse(worth):
        losses = np.asarray(worth) + 1e-3 * rng.normal(size=(n, k))
        z = rng.normal(size=(n, k))
        return checks.collapse(
            z, np.full_like(z, 0.5), np.eye(k), np.eye(k), losses, losses, cures=cures
        )

    yield collapse([50, 0, 0, 0])
    yield collapse([0, 0, 0, 0])
    turned = np.eye(k) + 0.9 * (1 - np.eye(k))
    yield checks.identifiability(
        np.broadcast_to(np.eye(k), (n, k, k)) * rng.uniform(0.9, 1.1, (n, 1, 1)),
        np.broadcast_to(turned, (n, k, k)),
        k,
        cures=cures,
    )
    z = rng.normal(size=(n, k))
    batch = np.where(z[:, 0] > 0, "a", "b")
    yield checks.amortization(
        *(np.full(n, 50.0), np.ones(n), np.full(n, 60.0), z, z[::-1], np.full_like(z, 0.3)),
        names=pd.RangeIndex(n),
        label=batch,
        batch=batch,
        cures=cures,
    )
    yield checks.confounding(z, batch, 5 * z[:, 0], np.full(n, ""), cures=cures)
    genes = make_findings()["fit"].genes
    predicted = Predictions(
        gene=np.asarray(genes.index),
        cell=np.arange(n),
        residuals=np.repeat(rng.random((n, 1)) ** 3, 60, axis=1),
        mean_observed=genes["mean_observed"].to_numpy(),
        mean_predicted=genes["mean_predicted"].to_numpy(),
        variance_observed=genes["variance_observed"].to_numpy(),
        variance_predicted=genes["variance_predicted"].to_numpy(),
        zeros_observed=np.full(60, 0.5),
        zeros_predicted=np.full(60, 0.9),
        zeros_error=np.full(60, 0.01),
        library_observed=np.ones(n),
        library_predicted=np.ones(n),
        cv_observed=np.ones(n),
        cv_predicted=np.ones(n),
        correlated=np.arange(3),
        log_observed=rng.normal(size=(n, 3)),
        log_predicted=rng.normal(size=(n, 3)),
    )
    for likelihood, gains, n_used in (
        ("nb", {"zinb": 20, "nb": 0, "nb by batch": 20}, 4),
        ("poisson", {"nb": 20, "poisson": 0}, 2),
        ("nb", {"nb": 0}, 2),
    ):
        own = -100 + rng.normal(size=n)
        lost = own - 45 * (rng.random(n) < 2)
        likelihoods = {name: own + gain for name, gain in gains.items()}
        compared = Comparison(
            {"own": own} | likelihoods, own, lost, own - 50, own - 50, np.ones(n), np.ones(n)
        )
        yield checks.fit(
            predicted, compared, likelihood, "known", n_latent=k, n_used=n_used, cures=cures
        )
    for used in (1, k):
        runs = [
            Run(rng.normal(size=(n, k)), np.eye(k), used, rng.normal(size=60)) for _ in range(3)
        ]
        yield across_runs(runs, ["a", "b", "c"], ("T", "B"), cures=cures)


def of_several(cures):
    """Yield what is found of two modalities that say nothing of each other."""
    rng = np.random.default_rng(0)
    n, names = 50, pd.RangeIndex(50)
    q = [
        Posteriors(loc=rng.normal(size=(n, 2)), scale=np.full((n, 2), 0.1), names=names)
        for _ in range(3)
    ]
    wrong = Imputed(np.arange(3), np.zeros((n, 3)), rng.random((n, 3)), rng.random((n, 3)))
    parts = ["rna", "prot"]
    yield checks.modalities(
        pd.DataFrame(True, names, parts),
        q[0],
        dict(zip(parts, q[1:], strict=True)),
        dict(zip(parts, q[:0:-1], strict=True)),
        dict.fromkeys(parts, wrong),
        cures=cures,
    )


def test_every_cure_is_in_a_finding_and_every_problem_has_one(make_findings):
    named = set()
    for finding in chain(all_findings(make_findings, Named()), of_several(Named())):
        for criterion in finding.problems:
            assert criterion.cure, criterion
            named.add(criterion.cure.removesuffix("()"))
    assert named == set(CURES)


@pytest.mark.parametrize("kind", [full, linear], ids=lambda kind: kind.__name__)
def test_what_findings_print_can_be_pasted(kind, cells, trainings, make_findings, tmp_path):
    model = kind(cells, tmp_path)
    cures = replace(Cures.of_model(model, model.adata), labels_key="label", shallow=20.0)
    for finding in all_findings(make_findings, cures):
        assert finding.cure
        assert finding.to_dict()["cure"] == finding.cure
        paste(finding.cure, copy.deepcopy(model))


def test_what_is_said_of_several_modalities_can_be_pasted(cells, trainings, tmp_path):
    model = several(cells, tmp_path)
    for finding in of_several(Cures.of_model(model, model.adata)):
        found = paste(finding.cure, model)
        assert arguments(found)[1]["modality_dropout"] == 0.5
        assert trainings[-1]["early_stopping"] is True


def test_cures_are_made_in_one_place():
    """No check writes code of its own."""
    for file in Path(audit.__file__).parent.rglob("_*.py"):
        if file.name == "_advice.py":
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.keyword) and node.arg == "cure":
                assert not isinstance(node.value, ast.Constant | ast.JoinedStr), file.name


def test_another_likelihood_of_a_modality(cells, trainings, tmp_path):
    """Likelihoods of several modalities are part of the setup, which a cure changes."""
    model = several(cells, tmp_path)
    cures = Cures.of_model(model, model.adata)
    found = paste(cures.of("likelihood", name="poisson"), model)
    assert found.modalities["rna"].likelihood.family == "poisson"
    assert found.modalities["prot"].likelihood is model.modalities["prot"].likelihood
    cure = cures.of("imputation_off", modality="prot", wider="nb", coverage=0.5)
    assert paste(cure, found).modalities["prot"].likelihood.family == "nb"
    assert cures.of("dispersion_by_batch") == ""

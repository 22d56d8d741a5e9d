"""What CONTRIBUTING says of adding something: its code runs, and does what it says."""

import re
import runpy
from pathlib import Path

import numpy as np
import pytest
import scvi
import torch
from scipy import integrate, stats

from lucidvi import audit, simulate
from lucidvi.atlas import Reference
from lucidvi.audit.checks import CHECKS
from lucidvi.data import STORES, CellSource
from lucidvi.distributions import LIKELIHOODS, Poisson
from lucidvi.errors import DataError
from lucidvi.model import MODELS, SCVI, Cells, class_of_saved
from lucidvi.nn import PRIORS, Sizes
from lucidvi.train import PRACTICES, practice_options

TABLES = (LIKELIHOODS, PRIORS, CHECKS, STORES, PRACTICES, MODELS)
ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "CONTRIBUTING.md").read_text()
#: Code by what is added.
BLOCKS = dict(
    re.findall(r"^### An? (\w+)\n.*?```python\n(.*?)```", TEXT, re.DOTALL | re.MULTILINE)
)


@pytest.fixture(scope="module", autouse=True)
def added():
    """Run all blocks, and put the tables back after the tests; names by what is added."""
    rows = [dict(table) for table in TABLES]
    namespaces = {}
    for what, code in BLOCKS.items():
        namespaces[what] = {"__name__": f"contributing_{what}"}
        exec(compile(code, f"CONTRIBUTING.md, {what}", "exec"), namespaces[what])
    STORES.clear()
    STORES.update(namespaces["store"]["STORES"])
    yield namespaces
    for table, before in zip(TABLES, rows, strict=True):
        table.clear()
        table.update(before)


@pytest.fixture(scope="module")
def cells(make_adata):
    adata = make_adata(90)
    adata.obs["cell_type"] = adata.obs["label"]
    return adata


def train(adata, plan=None, **arguments):
    adata = adata.copy()
    SCVI.setup_anndata(adata, batch_key="batch", labels_key="label")
    scvi.settings.seed = 0
    model = SCVI(adata, n_hidden=16, n_latent=2, **arguments)
    model.train(max_epochs=15, batch_size=30, plan_kwargs=plan)
    return model


def falls(model):
    losses = model.history["elbo_train"].to_numpy(dtype=float)
    return np.isfinite(losses).all() and losses[-1] < losses[0]


def test_what_there_is_to_add():
    assert list(BLOCKS) == ["likelihood", "prior", "finding", "store", "practice", "model"]


def test_every_file_that_it_names_exists():
    """But for those that an example would add."""
    named = set(re.findall(r"`((?:tests|docs|findings)/[\w/]+(?:\.\w+)?)`", TEXT))
    assert len(named) > 10
    assert not [name for name in named if not (ROOT / name).exists()]
    tables = re.findall(r"row in\s+`([\w/]+\.py)`", TEXT)
    assert len(tables) == len(BLOCKS)
    assert not [name for name in tables if not (ROOT / "src" / "lucidvi" / name).is_file()]


def test_house_is_the_one_that_there_is():
    """The tree names every folder and file at the top, and those of the larger folders."""
    source = ROOT / "src" / "lucidvi"
    there = {path.name for path in source.iterdir()} - {"__init__.py", "__pycache__", "py.typed"}
    for folder in ("data", "audit", "atlas", "simulate", "model", "train"):
        inside = {path.parent.name for path in (source / folder).glob("*/__init__.py")}
        there |= inside
    tree = TEXT.split("## The house")[1].split("```")[1]
    assert not {name for name in there if not re.search(rf"\b{re.escape(name)}\b", tree)}


# -- a likelihood -----------------------------------------------------------------------------


def test_likelihood_is_that_of_scipy(added, seed):
    """A mixture of a point at zero and scipy's Poisson; of draws, against its probabilities."""
    mu, share = np.array([0.3, 2.0, 9.0]), np.array([0.1, 0.5, 0.8])
    px = added["likelihood"]["ZeroInflatedPoisson"](
        log_scale=torch.tensor(np.log(mu))[None],
        log_library=torch.zeros(1, 1, dtype=torch.float64),
        zi_logits=torch.tensor(np.log(share / (1 - share)))[None],
    )
    drawn = px.sample((20_000,))[:, 0].numpy()
    for count in (0, 1, 4, 12):
        want = (1 - share) * stats.poisson(mu).pmf(count) + share * (count == 0)
        value = px.log_prob(torch.full((1, 3), float(count), dtype=torch.float64))
        np.testing.assert_allclose(value.exp()[0], want, rtol=1e-8)
        error = 4.5 * np.sqrt(want * (1 - want) / len(drawn)) + 1e-4
        assert (abs((drawn == count).mean(axis=0) - want) < error).all()
    counts = np.arange(80)[:, None]
    pmf = (1 - share) * stats.poisson(mu).pmf(counts) + share * (counts == 0)
    mean = (counts * pmf).sum(axis=0)
    np.testing.assert_allclose(px.mean[0], mean, rtol=1e-8)
    np.testing.assert_allclose(px.variance[0], ((counts - mean) ** 2 * pmf).sum(axis=0), rtol=1e-8)


def test_likelihood_is_trained_refined_audited_and_mapped(cells):
    model = train(cells, gene_likelihood="zip")
    assert falls(model)
    assert set(model.get_likelihood_parameters()) == {"mean", "dropout"}
    refined = model.refine_posterior(indices=range(20))
    assert (refined.elbo >= refined.elbo_before).all()
    found = audit.run(model, checks=["fit"])["fit"]
    assert "zip" in {alternative.name for alternative in found.alternatives}
    mapped = Reference.from_model(model).map(cells[:10, 3:].copy(), batch_key="batch")
    assert mapped.obsm["X_lucidvi"].shape == (10, 2)


# -- a prior ----------------------------------------------------------------------------------


def test_prior_has_the_density_and_the_divergence_of_a_laplace_distribution(added):
    prior = added["prior"]["LaplacePrior"](Sizes(n_latent=2), scale=0.4)
    pz = prior(torch.zeros(1, 2), {}, None)
    z = torch.tensor([[-0.7, 1.3]])
    np.testing.assert_allclose(pz.log_prob(z), stats.laplace(0, 0.4).logpdf(z), rtol=1e-5)
    qz = torch.distributions.Normal(torch.tensor([[0.3, -1.0]]), torch.tensor([[0.5, 0.2]]))

    def integrand(value, loc, scale):
        q = stats.norm(loc, scale)
        return q.pdf(value) * (q.logpdf(value) - stats.laplace(0, 0.4).logpdf(value))

    want = sum(
        integrate.quad(integrand, loc - 9 * scale, loc + 9 * scale, (loc, scale), points=[0.0])[0]
        for loc, scale in ((0.3, 0.5), (-1.0, 0.2))
    )
    assert float(prior.kl(qz, pz, qz.sample())) == pytest.approx(want, rel=1e-4)


def test_prior_is_trained_with_refined_and_saved(cells, tmp_path):
    model = train(cells, prior="laplace", prior_kwargs={"scale": 0.5})
    assert falls(model)
    refined = model.refine_posterior(indices=range(20))
    assert (refined.elbo >= refined.elbo_before).all()
    model.save(tmp_path / "model", save_anndata=True)
    assert SCVI.load(tmp_path / "model").module.prior.scale == 0.5
    with pytest.raises(DataError, match="'scal'") as error:
        train(cells, prior="laplace", prior_kwargs={"scal": 0.5})
    assert "scale" in error.value.remedy


# -- a finding --------------------------------------------------------------------------------


def test_finding_is_audited_and_reported(added, cells, tmp_path):
    """Its number against one of the model's own posteriors, by numpy."""
    model = train(cells)
    report = audit.run(model, checks=["separation"])
    found = report["separation"]
    assert isinstance(found, added["finding"]["Separation"])
    mean, variance = model.get_latent_representation(return_dist=True)
    between = mean.var(axis=0).sum()
    want = between / (between + variance.sum(axis=1).mean())
    assert found.share == pytest.approx(want, rel=1e-4)
    assert found.verdict == ("ok" if want > 0.5 else "warn" if want > 0.1 else "fail")
    assert "Can cells be told apart?" in str(found)
    assert "of the variance of latent states lies between cells" in str(report)
    report.to_html(tmp_path / "report.html")
    assert "Can cells be told apart?" in (tmp_path / "report.html").read_text()


# -- a store ----------------------------------------------------------------------------------


def test_store_gives_the_cells_and_the_training_that_others_give(added, cells):
    SCVI.setup_anndata(cells)
    source = CellSource(SCVI(cells, n_hidden=2).adata_manager, is_read_often=True)
    small, memory = added["store"]["SmallStore"](source), STORES["memory"](source)
    assert added["store"]["SmallStore"].fits(source)
    assert 2 * small.counts["X"].data.nbytes == memory.counts["X"].data.nbytes
    rows = [5, 5, -1, 0]
    got, want = small.take(rows), memory.take(rows)
    assert got.keys() == want.keys()
    for key in want:
        assert torch.equal(got[key].to_dense(), want[key].to_dense())
    np.testing.assert_array_equal(got["X"].to_dense(), cells.X[rows].toarray())
    with pytest.raises(IndexError):
        small.take([len(cells.obs)])


def test_store_is_the_one_that_a_training_takes(cells, monkeypatch):
    model = train(cells)
    monkeypatch.delitem(STORES, "small")
    for weight, other in zip(
        model.module.parameters(), train(cells).module.parameters(), strict=True
    ):
        assert torch.equal(weight, other)


# -- a practice -------------------------------------------------------------------------------


def test_practice_holds_in_a_training(cells):
    assert practice_options()["largest_theta"] is None
    free, bounded = train(cells), train(cells, {"largest_theta": 1.5})
    largest = [model.module.px_r.detach().max().item() for model in (free, bounded)]
    assert largest[0] > np.log(1.5)
    assert largest[1] == pytest.approx(np.log(1.5), rel=1e-5)


# -- a model ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def factors(added, cells):
    adata = cells.copy()
    FACTORS = added["model"]["FACTORS"]
    FACTORS.setup_anndata(adata, batch_key="batch", labels_key="label")
    scvi.settings.seed = 0
    model = FACTORS(adata)
    model.train(max_epochs=60, batch_size=30, plan_kwargs={"lr": 2e-2})
    return model


def test_model_learns_and_its_joint_density_is_that_of_scipy(factors):
    assert falls(factors)
    _, target = next(factors_targets(factors))
    state = target.q0.mean
    weights = factors.module.loadings.weight.detach().double().numpy()
    logits = state.double().numpy() @ weights.T + factors.module.loadings.bias.detach().numpy()
    share = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    x = target.counts().to_dense().numpy()
    want = stats.poisson(x.sum(axis=1, keepdims=True) * share).logpmf(x).sum(axis=1)
    want += stats.norm.logpdf(state.numpy()).sum(axis=1)
    with torch.no_grad():
        np.testing.assert_allclose(target.log_joint(state[None])[0], want, rtol=1e-4)


def factors_targets(model):
    return Cells.of(model, indices=range(20)).targets()


def test_model_does_what_every_model_does(factors, cells, tmp_path):
    refined = factors.refine_posterior()
    assert (refined.elbo >= refined.elbo_before).all()
    assert audit.run(factors, checks=["collapse", "fit"]).verdict in ("ok", "warn", "fail")
    deeper = simulate.resequence(factors, depth_factor=2.0)
    assert deeper.X.sum() == pytest.approx(2 * cells.X.sum(), rel=0.1)
    folder = str(tmp_path / "factors")
    factors.save(folder)
    loaded = class_of_saved(folder, "read").load(folder, adata=cells.copy())
    np.testing.assert_allclose(
        loaded.get_latent_representation(), factors.get_latent_representation(), rtol=1e-5
    )
    out = Reference.from_model(factors).map(cells[:20, 2:].copy(), batch_key="batch")
    labels = out.obs["lucidvi_label"].astype(str), cells.obs["label"][:20].astype(str)
    assert (labels[0].to_numpy() == labels[1].to_numpy()).mean() > 0.7


def test_models_likelihood_is_a_class_of_the_table(factors):
    assert factors.module.modalities["rna"].likelihood is Poisson is LIKELIHOODS["poisson"]


# -- commands ---------------------------------------------------------------------------------


def test_the_commands_are_those_of_the_makefile():
    targets = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"^\| `make ([a-z-]+)` \|", TEXT, re.MULTILINE))
    assert named <= targets
    assert targets - named <= {"help", "venv", "clean"}
    for command in re.findall(r"^make ([a-z-]+)$", (ROOT / ".ci" / "run").read_text(), re.M):
        assert command in named


AUDIT = runpy.run_path(str(ROOT / "scripts" / "audit.py"))
SAFE = {"name": "a", "version": "1", "vulns": []}
UNKNOWN = {"name": "b", "version": "2", "skip_reason": "not there"}
UNSAFE = {"name": "c", "version": "3", "vulns": [{"id": "CVE-1", "fix_versions": ["4"]}]}


@pytest.mark.parametrize(
    ("packages", "says", "status"),
    [
        ([], "SKIPPED", 0),
        ([UNKNOWN], "SKIPPED", 0),  # a database that knows nothing has looked up nothing
        ([SAFE, UNKNOWN], "1 packages looked up, 1 not known there, 0 advisories", 0),
        ([SAFE, UNSAFE], r"c 3: CVE-1 \(mended in 4\)", 1),
    ],
)
def test_an_audit_says_what_it_knows(packages, says, status):
    text, found = AUDIT["report"](packages)
    assert re.search(says, text)
    assert found == status

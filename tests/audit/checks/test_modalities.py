"""What modalities tell of states whose exact posteriors are known, and of a trained model."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import scvi
import torch
from tests.model.mosaic.cells import KINDS, as_mudata, simulated
from torch.distributions import MultivariateNormal, kl_divergence

from lucidvi import audit
from lucidvi.audit.checks import modalities
from lucidvi.audit.checks._modalities import (
    differ,
    explained,
    kl_between,
    wider_than,
    within,
)
from lucidvi.audit.cures import Cures, Making
from lucidvi.audit.subject import CellPriors, Imputed
from lucidvi.distributions import FAMILIES
from lucidvi.model import MOSAICVI
from lucidvi.results import Posteriors

N, K = 1500, 3
#: Precision with which each modality measures each number of the state.
PRECISION = {"rna": np.array([9.0, 4.0, 0.0]), "prot": np.array([1.0, 4.0, 0.0])}


def exact(sure=1.0, seed=0):
    """Exact posteriors of normal states, each measured with normal noise, and those states."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(N, K))
    names = pd.RangeIndex(N).astype(str)
    said = {name: p * z + np.sqrt(p) * rng.normal(size=(N, K)) for name, p in PRECISION.items()}

    def posterior(names_seen):
        precision = 1 + sum((PRECISION[name] for name in names_seen), np.zeros(K))
        loc = sum((said[name] for name in names_seen), np.zeros((N, K))) / precision
        scale = np.broadcast_to(precision**-0.5, (N, K)) / sure
        return Posteriors(loc=loc, scale=scale.copy(), names=names)

    whole = posterior(PRECISION)
    alone = {name: posterior([name]) for name in PRECISION}
    return whole, alone, {"rna": alone["prot"], "prot": alone["rna"]}


def residuals(power=1.0, n=200, n_features=40, seed=0):
    rng = np.random.default_rng(seed)
    values = rng.random((n, n_features))
    values = 0.5 + 0.5 * np.sign(values - 0.5) * np.abs(2 * values - 1) ** power
    observed = rng.normal(size=values.shape)
    predicted = observed + rng.normal(size=values.shape)
    return Imputed(np.arange(n_features).astype(str), values, observed, predicted)


def found(sure=1.0, power=1.0, shuffled=False, has=None, seed=0):
    whole, alone, left_out = exact(sure, seed)
    if shuffled:
        order = np.random.default_rng(1).permutation(N)
        alone["prot"] = replace(alone["prot"].select(order), names=whole.names)
    has = pd.DataFrame(True, whole.names, list(PRECISION)) if has is None else has
    return modalities(
        has, whole, alone, left_out, {"prot": residuals(power)},
        priors=CellPriors.standard_normal(N, K), cures=Cures(Making(is_joined=True)),
    )  # fmt: skip


def verdicts(finding):
    return {criterion.name: criterion.verdict for criterion in finding.criteria}


def test_exact_posteriors_agree():
    """Two exact posteriors differ by as much as they state: 1 ± 2 % over 1,500 cells."""
    for seed in range(5):
        finding = found(seed=seed)
        assert set(verdicts(finding).values()) == {"ok"}
        assert finding.agreement.loc[("rna", "prot"), "differ"] == pytest.approx(1, abs=0.06)
        assert finding.agreement["foscttm"].iloc[0] < 0.25


def test_shares_are_those_of_the_normal_model():
    """Of the variance of E[z | all], a modality tells what precisions say."""
    axes = found().axes
    for name, precision in PRECISION.items():
        total = sum(PRECISION.values())
        # Var E[z | a] / Var E[z | a, b], since E[z | a] is the regression of both on it.
        want = (precision / (1 + precision)) / (total / (1 + total)).clip(min=1e-12)
        error = 2 * np.sqrt(want) * (1 - want) / np.sqrt(N)
        assert (np.abs(axes["alone", name] - want)[:2] < 3 * error[:2] + 1e-3).all()
        other = next(key for key in PRECISION if key != name)
        assert axes["left_out", name].to_numpy() == pytest.approx(
            1 - axes["alone", other].to_numpy()
        )
    assert axes["variance", "all"].to_numpy() == pytest.approx([10 / 11, 8 / 9, 0], abs=0.06)


def test_nats_are_the_mutual_information():
    """The mean KL to the prior is log of one plus the precision, halved, over the axes."""
    told = found().told
    for name, precision in PRECISION.items():
        want = 0.5 * np.log1p(precision).sum()
        assert told.loc[name, "nats_alone"] == pytest.approx(want, abs=0.06)
        total = sum(PRECISION.values())
        gained = 0.5 * np.log((1 + total) / (1 + total - precision)).sum()
        assert told.loc[name, "nats_left_out"] == pytest.approx(gained, abs=0.06)


def test_posteriors_that_are_too_sure():
    finding = found(sure=3.0)
    assert verdicts(finding)["agreement"] == "warn"
    assert "alignment" in finding.cure


def test_other_cells():
    finding = found(shuffled=True)
    assert finding.agreement["foscttm"].iloc[0] == pytest.approx(0.5, abs=0.03)
    assert finding.told.loc["prot", "alone"] < 0.02
    assert verdicts(finding)["told"] == "warn"


@pytest.mark.parametrize(
    ("power", "coverage", "verdict"),
    [(1.0, 0.9, "ok"), (0.4, 0.768, "warn"), (0.1, 0.35, "fail"), (3.0, 0.965, "warn")],
)
def test_intervals(power, coverage, verdict):
    """Residuals |2u - 1|^p lie in the interval of 90 % with probability .9^(1/p)."""
    finding = found(power=power)
    assert verdicts(finding)["coverage"] == verdict
    assert finding.imputation.loc["prot", "coverage_90"] == pytest.approx(
        0.9 ** (1 / power), abs=0.012
    )
    assert coverage == pytest.approx(0.9 ** (1 / power), abs=0.005)
    assert finding.imputation.loc["prot", "correlation"] == pytest.approx(0.5**0.5, abs=0.03)


def test_features_that_were_not_measured():
    values = np.array([[0.5, np.nan, 0.99], [0.01, np.nan, 0.3]])
    assert within(values, 0.9) == 0.5
    by_feature = within(values, 0.9, axis=0)
    assert by_feature[[0, 2]] == pytest.approx([0.5, 0.5])
    assert np.isnan(by_feature[1])


def test_only_cells_with_both_are_compared():
    has = pd.DataFrame(True, pd.RangeIndex(N).astype(str), list(PRECISION))
    has.loc[has.index[:1000], "prot"] = False
    finding = found(has=has)
    assert list(finding.told["n_cells"]) == [500, 500]
    assert finding.agreement["n_cells"].iloc[0] == 500
    has["prot"] = False
    has.loc[has.index[:5], "prot"] = True
    assert verdicts(found(has=has))["agreement"] == "skipped"


def test_divergence_is_that_of_torch():
    rng = np.random.default_rng(0)
    pair = []
    for _ in range(2):
        factor = np.tril(rng.normal(size=(20, K, K)))
        factor[:, range(K), range(K)] = np.exp(rng.normal(size=(20, K)))
        loc = rng.normal(size=(20, K))
        scale = np.sqrt(np.square(factor).sum(-1))
        pair.append(Posteriors(loc=loc, scale=scale, scale_tril=factor, names=pd.RangeIndex(20)))
    normals = [
        MultivariateNormal(torch.tensor(q.loc), scale_tril=torch.tensor(q.scale_tril))
        for q in pair
    ]
    assert kl_between(*pair) == pytest.approx(kl_divergence(*normals).numpy())


def test_differing_does_not_depend_on_the_axes():
    _, alone, _ = exact()
    one, other = alone.values()
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(K, K)))[0]

    def turned(q):
        factor = np.linalg.cholesky(turn.T @ q.covariance @ turn)
        scale = np.sqrt(np.square(factor).sum(-1))
        return replace(q, loc=q.loc @ turn, scale=scale, scale_tril=factor)

    ones, worth = np.ones((N, K)), np.diag([3.0, 1.0, 0.5])
    want = differ(one, other, worth, ones)
    assert differ(turned(one), turned(other), turn.T @ worth @ turn, ones) == pytest.approx(want)


def test_explained_is_the_squared_correlation():
    rng = np.random.default_rng(0)
    by = rng.normal(size=(50, 3))
    values = by @ rng.normal(size=(3, 3))
    want = [np.corrcoef(values[:, k], by[:, k])[0, 1] ** 2 for k in range(3)]
    assert explained(values, by) == pytest.approx(want)
    assert explained(values, np.zeros_like(by)) == pytest.approx(0)


# -- of a model ---------------------------------------------------------------------------------


def trained(parts, epochs=80, accessibility="nb", **kwargs):
    scvi.settings.seed = 0
    mdata = as_mudata(parts)
    kinds = {key: {"kind": KINDS[key]} for key in parts}
    if "atac" in kinds:  # these counts vary more than a Poisson's
        kinds["atac"]["likelihood"] = accessibility
    MOSAICVI.setup_mudata(mdata, kinds, batch_key="batch")
    model = MOSAICVI(mdata, n_latent=4, n_hidden=32, **kwargs)
    model.train(max_epochs=epochs, train_size=0.7, enable_progress_bar=False)
    return model


@pytest.fixture(scope="module")
def healthy():
    parts, _ = simulated(n_cells=500)
    parts["prot"] = parts["prot"][50:].copy()
    return trained(parts, epochs=60)


def test_a_healthy_model(healthy):
    report = audit.run(healthy, checks=["modalities"])
    finding = report["modalities"]
    assert set(verdicts(finding).values()) == {"ok"}, str(finding)
    assert list(finding.told.index) == list(KINDS)
    assert (finding.told["alone"] > 0.5).all()
    assert len(finding.agreement) == 3
    assert (finding.agreement["foscttm"] < 0.15).all()
    assert (finding.imputation["coverage_90"] - 0.9).abs().max() < 0.05
    assert set(finding.features["feature"]) >= {"rna0", "prot0", "atac0"}
    assert finding.to_dict()["data"]["told"]


def test_it_is_asked_of_models_of_several_modalities(healthy):
    from lucidvi.audit.checks import CHECKS, asked_of

    assert set(CHECKS) - set(asked_of(healthy)) == {"direction"}


@pytest.mark.slow
def test_modalities_that_were_never_told_to_agree():
    """Without encoding from single ones and without alignment, what they say differs."""
    parts, _ = simulated(n_cells=500)
    parts.pop("atac")
    model = trained(parts, epochs=300, modality_dropout=0.0, alignment=0.0)
    finding = audit.run(model, checks=["modalities"])["modalities"]
    assert verdicts(finding)["agreement"] == "warn"
    cells = {"model": model, "adata": model.adata}
    exec(finding.cure, cells)
    again = audit.run(cells["model"], checks=["modalities"])["modalities"]
    assert verdicts(again)["agreement"] == "ok", str(again)


def test_no_cell_has_two():
    parts, _ = simulated(n_cells=200)
    parts.pop("atac")
    parts["rna"], parts["prot"] = parts["rna"][:100].copy(), parts["prot"][100:].copy()
    model = trained(parts, epochs=2)
    finding = audit.run(model, checks=["modalities"])["modalities"]
    assert finding.verdict == "skipped"
    assert "Fewer than 20 cells" in finding.summary


def test_a_modality_that_no_cell_has_besides_another():
    whole, alone, left_out = exact()
    has = pd.DataFrame(True, whole.names, [*PRECISION, "atac"])
    has["atac"] = False
    nothing = {"atac": alone["rna"]}
    finding = modalities(has, whole, alone | nothing, left_out | nothing, {"prot": residuals()})
    assert list(finding.told.index) == list(PRECISION)
    assert list(finding.agreement.index) == [("rna", "prot")]


def test_what_varies_more():
    assert wider_than(FAMILIES["poisson"]) == "nb"
    assert not any(wider_than(FAMILIES[name]) for name in ("nb", "zinb", "nb_mixture"))


def test_one_modality(make_adata):
    from lucidvi.model import SCVI

    adata = make_adata(n_cells=60)
    SCVI.setup_anndata(adata)
    model = SCVI(adata, n_latent=2)
    model.train(max_epochs=1, enable_progress_bar=False)
    assert "modalities" not in audit.run(model, checks=None)
    found = audit.run(model, checks=["modalities"])["modalities"]
    assert (found.verdict, found.summary) == ("skipped", "The model has one modality.")

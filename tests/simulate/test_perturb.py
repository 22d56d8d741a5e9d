"""Other counts of some genes, and what goes with them."""

import numpy as np
import pandas as pd
import pytest
import scvi
from anndata import AnnData
from scipy import sparse

from lucidvi.errors import DataError, MissingKeyError
from lucidvi.model import SCVI
from lucidvi.simulate import perturb

EFFECTS = ["lucidvi_effect", "lucidvi_effect_sd"]


@pytest.fixture(scope="module")
def two_programs():
    """Return a model of cells in which one program of ten genes, or another, is on.

    Each program has one strong gene, its first; ten more genes are the same in all cells.
    """
    rng = np.random.default_rng(0)
    n = 300
    program = rng.integers(2, size=n)
    rate = np.ones((n, 30))
    rate[:, :10] += 3.0 * (program == 0)[:, None]
    rate[:, 10:20] += 3.0 * (program == 1)[:, None]
    rate[:, [0, 10]] *= 6
    obs = pd.DataFrame({"one": 1.0, "program": program}, index=[f"cell{i}" for i in range(n)])
    adata = AnnData(sparse.csr_matrix(np.float32(rng.poisson(rate))), obs=obs)
    names = [*(f"A{i}" for i in range(10)), *(f"B{i}" for i in range(10))]
    adata.var_names = [*names, *(f"C{i}" for i in range(10))]
    scvi.settings.seed = 0
    SCVI.setup_anndata(adata, size_factor_key="one")
    model = SCVI(adata, n_hidden=16, n_latent=2, gene_likelihood="nb")
    model.train(max_epochs=60, batch_size=50, train_size=0.9, plan_kwargs={"lr": 1e-2})
    return model


@pytest.mark.parametrize("posterior", ["encoder", "refined"])
def test_a_factor_of_one_changes_nothing(two_programs, posterior):
    out = perturb(two_programs, genes={"A0": 1.0, "B3": 1}, posterior=posterior, n_samples=2)
    assert (out.var[EFFECTS] == 0).all(axis=None)
    assert (out.var["lucidvi_effect_probability"] == 0.5).all()
    assert not out.obs["lucidvi_changed"].any()
    np.testing.assert_array_equal(out.obsm["X_lucidvi"], out.obsm["X_lucidvi_before"])


@pytest.mark.parametrize("posterior", ["encoder", "refined"])
@pytest.mark.parametrize(("factor", "sign"), [(0.0, -1), (3.0, 1)])
def test_genes_of_the_program_follow(two_programs, posterior, factor, sign):
    cells = np.flatnonzero(two_programs.adata.obs["program"] == 0)
    out = perturb(two_programs, genes={"A0": factor}, indices=cells, posterior=posterior)
    effect = sign * out.var["lucidvi_effect"]
    program, others = effect[[f"A{i}" for i in range(1, 10)]], effect[10:]
    assert (program > 0).all()
    assert (out.var["lucidvi_effect_probability"].iloc[1:10] > 0.95).all()
    assert program.min() > others[10:].abs().max()  # genes that are the same everywhere
    assert program.mean() > others[:10].mean()
    rank = out.var["lucidvi_effect_rank"]
    assert rank["A0"] == 0
    assert sorted(rank) == list(range(30))
    strongest = out.var["lucidvi_effect"].drop("A0").abs().idxmax()
    assert rank[strongest] == 1


def perturbed(model, position, factor):
    """Return the model's cells with one gene's counts multiplied by a whole number."""
    adata = model.adata.copy()
    x = adata.X.toarray()
    x[:, position] *= factor
    adata.X = sparse.csr_matrix(x)
    return adata


def test_an_intervention_on_the_encoders_input(two_programs):
    """The same noise in the posteriors that the encoder gives before and after."""
    out = perturb(two_programs, genes={"A0": 0.0}, n_samples=2)
    noise = []
    for key, adata in (
        ("X_lucidvi_before", two_programs.adata),
        ("X_lucidvi", perturbed(two_programs, 0, 0)),
    ):
        mean, variance = two_programs.get_latent_representation(adata, return_dist=True)
        noise.append((out.obsm[key] - mean) / np.sqrt(variance))
    np.testing.assert_allclose(*noise, atol=1e-3)


def test_conditioning_on_the_genes_value(two_programs):
    """The same noise in the refined posteriors of the counts before and after."""
    out = perturb(two_programs, genes={"B0": 3.0}, posterior="refined", n_samples=2)
    noise = []
    for key, adata in (
        ("X_lucidvi_before", two_programs.adata),
        ("X_lucidvi", perturbed(two_programs, 10, 3)),
    ):
        refined = two_programs.refine_posterior(adata, family="full")
        centred = (out.obsm[key] - refined.loc)[..., None]
        noise.append(np.linalg.solve(refined.scale_tril, centred))
    np.testing.assert_allclose(*noise, atol=0.05)


def test_exposures_stay(model):
    """Of the observed library too, although the perturbed counts have another total."""
    out = perturb(model, genes={"gene3": 0.0}, n_samples=2)
    before = np.asarray(model.adata.X.sum(axis=1)).ravel()
    assert out.X.sum() == pytest.approx(before.sum(), rel=0.05)
    assert (out.obs["lucidvi_changed"] == (model.adata.X[:, 3].toarray().ravel() > 0)).all()


def test_a_latent_library(make_adata):
    adata = make_adata(60)
    SCVI.setup_anndata(adata)
    model = SCVI(adata, n_hidden=8, n_latent=2, use_observed_lib_size=False)
    model.is_trained_ = True
    out = perturb(model, genes={"gene3": 1.0}, n_samples=2)
    assert (out.var["lucidvi_effect"] == 0).all()


def test_record(two_programs, tmp_path):
    out = perturb(two_programs, genes={"A0": 0.5}, n_samples=2)
    out.write_h5ad(tmp_path / "cells.h5ad")
    record = out.uns["lucidvi_simulation"]
    assert record["request"]["genes"] == {"A0": 0.5}
    assert "associations and not causes" in record["assumptions"][0]
    assert any("`lucidvi_effect_sd` is how much" in said for said in record["assumptions"])


def test_the_standard_deviation_is_of_the_mean_over_the_cells(two_programs):
    """Each cell four times, with draws of its own: half of it, and the effect stays."""
    chosen = np.flatnonzero(np.asarray(two_programs.adata[:, "A0"].X.todense()).ravel() > 0)[:20]
    once, often = (
        perturb(two_programs, genes={"A0": 0.0}, indices=np.tile(chosen, times), n_samples=60).var
        for times in (1, 4)
    )
    ratio = np.median(often["lucidvi_effect_sd"] / once["lucidvi_effect_sd"])
    assert ratio == pytest.approx(0.5, abs=0.1)
    np.testing.assert_allclose(
        often["lucidvi_effect"], once["lucidvi_effect"], atol=4 * once["lucidvi_effect_sd"].max()
    )


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"genes": {"a00": 0.0}}, MissingKeyError, "did you mean 'A0'"),
        ({"genes": {"nothing like it": 0.0}}, MissingKeyError, "get_var_names"),
        ({"genes": {}}, DataError, "Give factors by gene"),
        ({"genes": ["A0"]}, DataError, "Give factors by gene"),
        ({"genes": {"A0": -1.0}}, DataError, r"`genes\['A0'\]` is -1"),
        ({"genes": {"A0": np.nan}}, DataError, "is nan"),
        ({"genes": {"A0": "off"}}, DataError, "is 'off'"),
        ({"genes": {"A0": 0}, "n_samples": 1}, DataError, "at least 2"),
    ],
)
def test_bad_requests(two_programs, arguments, error, message):
    with pytest.raises(error, match=message):
        perturb(two_programs, **arguments)


def test_a_gene_that_no_cell_has(two_programs):
    adata = perturbed(two_programs, 3, 0)
    with pytest.raises(DataError, match="None of the 300 cells has a count of 'A3'"):
        perturb(two_programs, adata, {"A3": 2.0})

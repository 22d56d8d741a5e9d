"""Normalized expression and draws of counts, every argument at work."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from torch.distributions import Normal

from lucidvi.model import SCVI

SOME = np.array([7, 3, 91, 149, 20])
GENES = ["gene11", "gene2", "gene5"]


def exact_scale(model, batch=None):
    """Normalized expression at the posterior means, from the weights and nothing else."""
    module, adata = model.module, model.adata
    mean = torch.tensor(model.get_latent_representation())
    codes = adata.obs["batch"].cat.codes.to_numpy()[:, None]
    codes = codes if batch is None else np.full_like(codes, int(batch))
    with torch.no_grad():
        hidden = module.decoder.px_decoder(mean, torch.tensor(codes, dtype=torch.long))
        logits = module.decoder.px_scale_decoder[0](hidden)
    return logits.softmax(-1).numpy()


# -- normalized expression --------------------------------------------------------------------


@pytest.mark.parametrize("transform_batch", [None, "1", ["0", "2"], ["0", "1", "2"]])
@pytest.mark.parametrize("library_size", [1, 1e4, "latent"])
def test_expression_is_that_of_scvi_tools(both, transform_batch, library_size):
    got, want = both(
        "get_normalized_expression",
        transform_batch=transform_batch,
        library_size=library_size,
        batch_size=40,
    )
    pd.testing.assert_frame_equal(got, want, rtol=1e-4, atol=1e-6)


def test_several_samples_have_the_distribution_of_scvi_tools(both):
    got, want = both("get_normalized_expression", n_samples=200, return_mean=False, indices=SOME)
    pairs = [(got[:, cell, gene], want[:, cell, gene]) for cell in range(5) for gene in range(20)]
    pvalues = [stats.ks_2samp(a, b).pvalue for a, b in pairs]
    assert min(pvalues) > 0.01 / len(pairs)


@pytest.mark.parametrize("batch", [None, "2"])
def test_expression_is_the_decoders_average_over_the_posterior(ours, batch):
    got = ours.get_normalized_expression(n_samples=200, transform_batch=batch)
    want = exact_scale(ours, batch)
    assert np.corrcoef(np.log(got).to_numpy().ravel(), np.log(want).ravel())[0, 1] > 0.99
    np.testing.assert_allclose(got.sum(axis=1), 1.0, rtol=1e-5)


def test_transform_batch_decodes_as_if_from_there(ours):
    one, again, other, mean = (
        ours.get_normalized_expression(transform_batch=batch, n_samples=300)
        for batch in ("1", "1", "2", ["1", "2"])
    )
    scatter = np.abs(one - again).to_numpy().mean()
    assert np.abs(one - other).to_numpy().mean() > 3 * scatter
    assert np.abs(mean - (again + other) / 2).to_numpy().mean() < 2 * scatter


def test_transform_batch_names_a_category(both, ours, theirs, make_adata):
    for model in (ours, theirs):
        with pytest.raises(ValueError, match='"1" not a valid batch category'):
            model.get_normalized_expression(transform_batch=1)
    adata = make_adata(30)
    adata.obs["batch"] = np.arange(30) % 3 * 10
    SCVI.setup_anndata(adata, batch_key="batch")
    model = SCVI(adata, n_hidden=8)
    model.module.eval()
    by_name, by_code = (
        both("get_normalized_expression", models=[model, model], transform_batch=[10])[0],
        both("get_normalized_expression", models=[model], transform_batch=10)[0],
    )
    pd.testing.assert_frame_equal(by_name, by_code)
    (observed,) = both("get_normalized_expression", models=[model])
    from_there = adata.obs["batch"] == 10
    np.testing.assert_allclose(by_code[from_there], observed[from_there], rtol=1e-5)
    assert not np.allclose(by_code[~from_there], observed[~from_there], rtol=1e-2)


def test_library_size_scales(both, ours):
    unit, _ = both("get_normalized_expression")
    scaled, _ = both("get_normalized_expression", library_size=250)
    np.testing.assert_allclose(scaled, unit * 250, rtol=1e-5)
    counts, _ = both("get_normalized_expression", library_size="latent")
    totals = np.asarray(ours.adata.X.sum(axis=1))
    np.testing.assert_allclose(counts, unit * totals, rtol=1e-4)


def test_genes_and_cells_are_those_asked_for(both, ours):
    everything, _ = both("get_normalized_expression", n_samples=500)
    some, theirs = both("get_normalized_expression", gene_list=GENES, indices=SOME, n_samples=500)
    pd.testing.assert_frame_equal(some, theirs[GENES], rtol=0.2)
    assert list(some.columns) == GENES
    assert list(some.index) == [f"cell{i}" for i in SOME]
    np.testing.assert_allclose(some, everything.loc[some.index, some.columns], rtol=0.25)
    spread = everything[some.columns].max() / everything[some.columns].min()
    assert spread.max() > 2


def test_shapes_and_types(both, ours):
    mean, _ = both("get_normalized_expression", n_samples=4)
    draws, theirs = both("get_normalized_expression", n_samples=4, return_mean=False)
    assert isinstance(draws, np.ndarray)
    assert draws.shape == (4, 150, 20)
    assert theirs.shape == draws.shape
    np.testing.assert_allclose(draws.mean(0), mean, rtol=1e-5)
    assert (draws.std(axis=0) > 0).all()
    array, _ = both("get_normalized_expression", n_samples=4, return_numpy=True)
    assert isinstance(array, np.ndarray)
    np.testing.assert_array_equal(array, mean)
    with pytest.warns(UserWarning, match="`return_numpy` must be `True`"):
        ours.get_normalized_expression(n_samples=2, return_mean=False, return_numpy=False)


@pytest.mark.filterwarnings("ignore:Using 1 after custom Dataloader:UserWarning")  # n_samples
def test_other_data_and_loaders(both, loader, make_adata):
    got, want = both("get_normalized_expression", adata=make_adata(30, seed=9))
    pd.testing.assert_frame_equal(got, want, rtol=1e-4, atol=1e-6)
    assert len(got) == 30
    loaded, _ = both("get_normalized_expression", dataloader=loader())
    direct, _ = both("get_normalized_expression", batch_size=40)
    np.testing.assert_allclose(loaded, direct, rtol=1e-5)
    cut, _ = both(
        "get_normalized_expression",
        data_loader_kwargs={"drop_last": True},
        indices=SOME,
        batch_size=5,
    )
    assert len(cut) == 5


def test_overall_samples_are_draws_of_cells(both, ours):
    got, want = both("get_normalized_expression", n_samples_overall=400, return_numpy=True)
    assert got.shape == want.shape == (400, 20)
    for gene in range(20):
        assert stats.ks_2samp(got[:, gene], want[:, gene]).pvalue > 0.01 / 20
    reference = ours.get_normalized_expression(n_samples=20).mean()
    np.testing.assert_allclose(got.mean(axis=0), reference, rtol=0.2)


def test_importance_weights_choose_the_draws(ours, monkeypatch):
    seen = {}

    def weights(adata, indices, qz, px, zs, **kwargs):
        seen.update(kwargs, indices=indices, shape=zs.shape, n=len(qz.loc))
        return np.eye(int(np.prod(zs.shape[:-1])))[8]

    monkeypatch.setattr(ours, "get_importance_weights", weights, raising=False)
    kwargs = {"indices": SOME, "n_samples_overall": 12, "return_numpy": True, "max_cells": 3}
    got = ours.get_normalized_expression(weights="importance", **kwargs)
    assert got.shape == (12, 20)
    assert np.ptp(got, axis=0).max() == 0
    assert (seen["max_cells"], seen["shape"], seen["n"]) == (3, (3, 5, 3), 5)
    np.testing.assert_array_equal(seen["indices"], SOME)
    del kwargs["max_cells"]
    assert np.ptp(ours.get_normalized_expression(weights="uniform", **kwargs), axis=0).max() > 0
    with pytest.raises(NotImplementedError, match="averaged across batches"):
        ours.get_normalized_expression(
            weights="importance", transform_batch=["0", "1"], n_samples_overall=12
        )


# -- importance weights -----------------------------------------------------------------------


@pytest.fixture
def posterior(ours):
    """Draws of five cells with their posteriors and likelihoods, and log p(x | z) by hand."""
    totals = np.asarray(ours.adata.X[SOME].sum(axis=1))
    with torch.no_grad():
        tensors = next(iter(ours._make_data_loader(ours.adata, indices=SOME)))
        outputs, generated = ours.module(tensors, compute_loss=False)
    qz, px, z = outputs["qz"], generated["px"], outputs["z"]
    x = torch.tensor(ours.adata.X[SOME].toarray())
    log_px_z = [
        type(px)(
            logits=px.log_scale,
            log_library=torch.full((5, 1), float(np.log(totals[anchor, 0]))),
            log_theta=px.log_theta,
            zi_logits=px.zi_logits,
        ).log_likelihood(x[anchor])
        for anchor in range(5)
    ]
    return qz, px, z, torch.stack(log_px_z, dim=1)


@pytest.mark.parametrize("truncation", [False, True])
def test_importance_weights_are_those_of_their_definition(
    ours, posterior, monkeypatch, truncation
):
    qz, px, z, log_px_z = posterior
    log_px = torch.linspace(-60, -40, 5)
    asked = {}
    monkeypatch.setattr(
        ours, "get_marginal_ll", lambda adata, **kw: asked.update(kw) or log_px, raising=False
    )
    got = ours.get_importance_weights(
        adata=ours.adata,
        indices=SOME,
        qz=qz,
        px=px,
        zs=z,
        max_cells=5,
        truncation=truncation,
        n_mc_samples=31,
        n_mc_samples_per_pass=8,
    )
    assert (asked["n_mc_samples"], asked["n_mc_samples_per_pass"]) == (31, 8)
    np.testing.assert_array_equal(asked["indices"], SOME)
    log_pz = Normal(0, 1).log_prob(z).sum(-1, keepdim=True)
    log_qz = Normal(qz.loc, qz.scale).log_prob(z[:, None]).sum(-1)
    log_weight = (log_pz + log_px_z - log_px - log_qz.logsumexp(1, keepdim=True)).logsumexp(1)
    if truncation:
        log_weight = log_weight.clamp(min=log_weight.logsumexp(0) - np.log(5))
    np.testing.assert_allclose(got, log_weight.softmax(0), rtol=1e-3, atol=1e-7)


def test_importance_weights_look_at_no_more_cells_than_asked(ours, posterior, monkeypatch):
    qz, px, z, _ = posterior
    anchors = []
    monkeypatch.setattr(
        ours,
        "get_marginal_ll",
        lambda adata, indices, **kw: anchors.extend(indices) or torch.zeros(len(indices)),
        raising=False,
    )
    weights = ours.get_importance_weights(ours.adata, SOME, qz=qz, px=px, zs=z, max_cells=2)
    assert len(anchors) == 2
    assert set(anchors) < set(SOME)
    assert weights.sum() == pytest.approx(1)


def test_importance_weights_are_those_of_scvi_tools(ours, theirs, monkeypatch):
    weights = []
    for model in (ours, theirs):
        monkeypatch.setattr(
            model, "get_marginal_ll", lambda *_, **kw: torch.linspace(-60, -40, 5), raising=False
        )
        torch.manual_seed(0)
        with torch.no_grad():
            tensors = next(iter(model._make_data_loader(model.adata, indices=SOME)))
            outputs, generated = model.module(tensors, compute_loss=False)
        weights.append(
            model.get_importance_weights(
                model.adata, SOME, qz=outputs["qz"], px=generated["px"], zs=outputs["z"]
            )
        )
    np.testing.assert_allclose(*weights, rtol=1e-3, atol=1e-7)
    assert np.ptp(weights[0]) > 0.05

"""Refined posteriors and the inference gap, as a user calls them."""

import numpy as np
import pandas as pd
import pytest
import scvi
import torch

from lucidvi.errors import DataError, MissingKeyError
from lucidvi.inference import NormalPosterior, PosteriorTarget, iwae, orthogonal_draws, refine
from lucidvi.model import SCVI


@pytest.fixture
def model(ours):
    """Return a model that a test may bind to other data."""
    return SCVI.from_scvi_model(ours.to_scvi_model())


@pytest.mark.parametrize("family", ["diagonal", "full"])
def test_refined_posterior(ours, family):
    refined = ours.refine_posterior(family=family, batch_size=64)
    assert refined.loc.shape == refined.scale.shape == (150, 3)
    assert (refined.elbo >= refined.elbo_before).all()
    assert refined.elbo.mean() > refined.elbo_before.mean() + 0.1
    amortized = ours.get_latent_representation()
    assert np.abs(refined.loc - amortized).max() > 0.1
    if family == "diagonal":
        assert refined.scale_tril is None
    else:
        covariance = refined.scale_tril @ refined.scale_tril.transpose(0, 2, 1)
        variances = np.diagonal(covariance, axis1=1, axis2=2)
        np.testing.assert_allclose(variances, refined.scale**2, rtol=1e-4)


def test_order_and_batch_size_do_not_matter(ours):
    cells = np.random.default_rng(0).permutation(150)[:40]
    whole, some = ours.refine_posterior(), ours.refine_posterior(indices=cells, batch_size=7)
    np.testing.assert_allclose(some.loc, whole.loc[cells], atol=1e-3)
    assert (some.names == whole.names[cells]).all()
    mask = np.isin(np.arange(150), cells)
    by_mask = ours.refine_posterior(indices=mask)
    np.testing.assert_allclose(by_mask.loc, whole.loc[np.sort(cells)], atol=1e-3)


def test_every_method_uses_the_stored_posterior(model):
    adata = model.adata
    refined = model.refine_posterior()
    amortized = model.get_latent_representation()
    stored = refined.to_adata(adata)
    assert not any(key.startswith("scvi_latent") for key in adata.obsm)
    model.adata = stored
    np.testing.assert_allclose(model.get_latent_representation(), refined.loc, rtol=1e-5)
    scvi.settings.seed = 0
    by_refined = model.get_normalized_expression(n_samples=200, return_mean=True)
    decoded = []
    for _ in range(200):
        z = torch.tensor(refined.loc + refined.scale * np.random.randn(*refined.loc.shape))  # noqa: NPY002
        batch = torch.arange(150)[:, None] % 3
        library = torch.zeros(150, 1)
        with torch.no_grad():
            decoded.append(model.module.generative(z.float(), library, batch)["px"].scale)
    np.testing.assert_allclose(by_refined, torch.stack(decoded).mean(0), rtol=0.2, atol=0.01)
    model.adata = adata
    np.testing.assert_allclose(model.get_latent_representation(), amortized, rtol=1e-5)


def test_differential_expression_does_not_ask_the_encoder(model):
    model.adata = model.refine_posterior().to_adata(model.adata)
    with torch.no_grad():
        for weight in model.module.z_encoder.parameters():
            weight.fill_(torch.nan)
    table = model.differential_expression(
        groupby="label", group1="T", group2="B", mode="change", silent=True
    )
    assert np.isfinite(table[["lfc_mean", "lfc_std", "proba_de"]].to_numpy(dtype=float)).all()
    assert table["lfc_std"].max() > 0


def test_a_part_of_the_cells_can_be_stored(model):
    cells = list(range(20, 5, -1))
    refined = model.refine_posterior(indices=cells)
    stored = refined.to_adata(model.adata)
    assert list(stored.obs_names) == [f"cell{i}" for i in cells]
    model.adata = stored
    np.testing.assert_allclose(model.get_latent_representation(), refined.loc, rtol=1e-5)
    with pytest.raises(DataError, match=r"lacks 15 of the refined cells, such as 'cell10'"):
        refined.to_adata(stored[:0])


def test_latent_library(make_adata):
    adata = make_adata(60)
    SCVI.setup_anndata(adata)
    model = SCVI(adata, n_hidden=8, n_latent=2, use_observed_lib_size=False)
    model.train(max_epochs=20)
    refined = model.refine_posterior()
    assert refined.loc.shape == (60, 2)
    total = np.asarray(adata.X.sum(axis=1)).ravel()
    assert np.corrcoef(np.log(refined.library), np.log(total))[0, 1] > 0.8
    model.adata = refined.to_adata(adata)
    np.testing.assert_allclose(model.get_latent_representation(), refined.loc, rtol=1e-5)


def test_genes_by_name_and_by_mask(ours):
    mask = np.arange(20) % 2 == 0
    names = [f"gene{i}" for i in range(0, 20, 2)]
    by_name, by_mask = (ours.refine_posterior(genes=genes) for genes in (names[::-1], mask))
    np.testing.assert_allclose(by_name.loc, by_mask.loc)
    assert np.abs(by_mask.loc - ours.refine_posterior().loc).max() > 0.05
    with pytest.raises(MissingKeyError, match=r"`genes` names 1 that are no genes.*'XIST'"):
        ours.refine_posterior(genes=["gene0", "XIST"])


def test_refined_posterior_is_the_best_of_its_family(ours):
    """Against plain stochastic gradient ascent, of many steps, on the same cells."""
    (tensors,) = ours._make_data_loader(ours.adata, batch_size=150)
    target = PosteriorTarget.from_module(ours.module, tensors)
    loc = target.q0.base_dist.loc.clone().requires_grad_()
    log_scale = target.q0.base_dist.scale.log().clone().requires_grad_()
    optimizer = torch.optim.Adam([loc, log_scale], lr=0.02)
    for _ in range(600):
        z = loc + log_scale.exp() * torch.randn(8, *loc.shape)
        loss = -(target.log_joint(z).mean(dim=0) + log_scale.sum(dim=-1)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    draws = orthogonal_draws(400, 3, seed=5)
    by_adam = NormalPosterior(loc.detach(), log_scale.detach().exp().diag_embed())
    refined = ours.refine_posterior(batch_size=150)
    ours_ = NormalPosterior(torch.tensor(refined.loc), torch.tensor(refined.scale).diag_embed())
    first = NormalPosterior.from_distribution(target.q0).elbo(target, draws).mean()
    gain, want = (float(q.elbo(target, draws).mean() - first) for q in (ours_, by_adam))
    assert gain > 0.95 * want


# -- the gap ----------------------------------------------------------------------------------


def test_gap(ours):
    gap = ours.get_inference_gap(indices=np.arange(60), batch_size=25)
    assert isinstance(gap, pd.DataFrame)
    assert list(gap.index) == [f"cell{i}" for i in range(60)]
    total = gap["log_px"] - gap["elbo"]
    np.testing.assert_allclose(gap["amortization_gap"] + gap["approximation_gap"], total)
    error = 4 * gap["standard_error"] + 0.05
    assert (gap["approximation_gap"] > -error).all()
    assert (gap["amortization_gap"] > -0.05).all()
    (tensors,) = ours._make_data_loader(ours.adata, indices=np.arange(60), batch_size=60)
    target = PosteriorTarget.from_module(ours.module, tensors)
    proposal = refine(target, "full").posterior.distribution
    by_weights = iwae(target, 5000, proposal).log_px.numpy()
    assert abs((gap["log_px"] - by_weights).mean()) < 0.02


def test_gap_by_a_column(ours):
    cells = np.arange(30)
    summary = ours.get_inference_gap(indices=cells, groupby="label")
    each = ours.get_inference_gap(indices=cells)
    assert summary["n_cells"].sum() == 30
    assert list(summary.index) == ["B", "T"]
    label = ours.adata.obs["label"].to_numpy()[cells]
    want = each["amortization_gap"].groupby(label).mean()
    np.testing.assert_allclose(summary["amortization_gap"], want, atol=1e-3)
    with pytest.raises(MissingKeyError, match="`groupby` is 'tissue'"):
        ours.get_inference_gap(groupby="tissue")


# -- what they must not do --------------------------------------------------------------------


def test_batches_without_parameters_of_their_own_are_named(make_adata):
    adata = make_adata(60)
    SCVI.setup_anndata(adata, batch_key="batch")
    model = SCVI(adata, n_hidden=8, n_latent=2)
    batch = adata.obs["batch"].to_numpy()
    training, held_out = np.flatnonzero(batch != "2"), np.flatnonzero(batch == "2")
    model.train(max_epochs=2, datasplitter_kwargs={"external_indexing": [training, held_out]})
    with pytest.warns(
        UserWarning, match=r"batches '2' have no cell that the model was trained on"
    ):
        model.refine_posterior(indices=np.arange(10))
    with pytest.warns(UserWarning, match="load_query_data"):
        model.get_inference_gap(indices=[2])
    model.refine_posterior(indices=training[:10])


def test_query(ours, make_adata):
    """A query model has to be trained first; then it refines cells of its own batch."""
    query = make_adata(40, seed=3)
    query.obs["batch"] = "new"
    with pytest.warns(UserWarning, match="cannot move"):
        model = SCVI.load_query_data(query, ours)
    with pytest.raises(RuntimeError, match="untrained model"):
        model.refine_posterior()
    model.train(max_epochs=2)
    refined = model.refine_posterior()
    assert (refined.elbo >= refined.elbo_before).all()


def test_minified_models_without_counts(model):
    mean, variance = model.get_latent_representation(return_dist=True)
    model.adata.obsm["X_latent_qzm"], model.adata.obsm["X_latent_qzv"] = mean, variance
    model.minify_adata()
    for method in ("refine_posterior", "get_inference_gap"):
        with pytest.raises(ValueError, match="minified"):
            getattr(model, method)()


def test_progress_bar(ours, capsys):
    ours.refine_posterior(indices=np.arange(20), batch_size=4)
    assert ours.refine_posterior(indices=np.arange(20), batch_size=10).loc.shape == (20, 3)

"""The latent space in its canonical axes: nothing but the axes changes, and these are defined."""

from copy import deepcopy

import numpy as np
import pytest
import scvi
import torch
from scipy.stats import ortho_group

from lucidvi._compat import ADATA_MINIFY_TYPE
from lucidvi.errors import DataError, ModelTypeError
from lucidvi.kernels import to_dense
from lucidvi.model import SCVI
from lucidvi.nn import FullNormal

N_LATENT = 4


def make(adata, epochs=25, **kwargs):
    scvi.settings.seed = 0
    adata = adata.copy()
    SCVI.setup_anndata(adata, batch_key="batch", labels_key="label")
    model = SCVI(adata, n_hidden=32, n_latent=N_LATENT, **kwargs)
    model.train(max_epochs=epochs, batch_size=50, train_size=0.8)
    return model


@pytest.fixture(scope="module")
def trained(make_adata):
    """Return one trained model by family, which no test changes."""
    adata = make_adata(150, seed=5)
    families = {"diagonal": {}, "full": {"posterior": "full"}, "flow": {"posterior": "flow"}}
    return {family: make(adata, **kwargs) for family, kwargs in families.items()}


@pytest.fixture(params=["diagonal", "full", "flow"])
def pair(request, trained):
    """Return a model, and the same in its canonical axes with the matrix between them."""
    model, turned = (deepcopy(trained[request.param]) for _ in range(2))
    return model, turned, turned.canonicalize()


@pytest.fixture
def canonical(trained):
    """Return a model with independent axes, in its canonical ones."""
    model = deepcopy(trained["diagonal"])
    model.canonicalize()
    return model


def seeded(call):
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 (scvi-tools draws from the global generator)
    return call()


def terms(model):
    """Log likelihood and divergence of each cell, at draws of one seed."""
    loader = model._make_data_loader(model.adata, batch_size=150)
    with torch.inference_mode():
        losses = seeded(lambda: model.module(next(iter(loader))))[2]
    parts = (losses.reconstruction_loss, losses.kl_local)
    return [sum(term.double().numpy() for term in part.values()) for part in parts]


def test_elbo_of_each_cell_is_unchanged(pair):
    model, turned, _ = pair
    (lost, kl), (turned_lost, turned_kl) = terms(model), terms(turned)
    # In float32 the log likelihood has seven digits; the closed divergence of a normal, more.
    np.testing.assert_allclose(turned_lost, lost, rtol=2e-6)
    np.testing.assert_allclose(turned_kl, kl, rtol=2e-6, atol=1e-5)
    np.testing.assert_allclose(turned_lost + turned_kl, lost + kl, rtol=1e-6)


def test_elbo_is_unchanged_in_double_precision(pair):
    """To 1e-5 nats with the matrix as it is kept, in float32, and exactly with one in float64."""
    model, turned, _ = pair
    tensors = next(iter(model._make_data_loader(model.adata, batch_size=150)))
    tensors["X"] = to_dense(tensors["X"]).double()

    def elbo(module):
        with torch.inference_mode():
            losses = seeded(lambda: module(tensors))[2]
        return -sum(
            term.numpy()
            for term in (*losses.reconstruction_loss.values(), *losses.kl_local.values())
        )

    before, module = elbo(model.module.double()), turned.module.double()
    np.testing.assert_allclose(elbo(module), before, atol=1e-5)
    left, _, right = torch.linalg.svd(module.rotation)
    module.rotation = left @ right
    np.testing.assert_allclose(elbo(module), before, atol=1e-9)


def test_moments(pair):
    model, turned, matrix = pair
    loc, _ = model.get_latent_representation(return_dist=True)
    turned_loc, variance = turned.get_latent_representation(return_dist=True)
    np.testing.assert_allclose(turned_loc, loc @ matrix, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(turned.get_latent_representation(), turned_loc)
    draws = [seeded(lambda m=m: m.get_latent_representation(give_mean=False)) for m in pair[:2]]
    np.testing.assert_allclose(draws[1], draws[0] @ matrix, rtol=1e-4, atol=1e-5)
    spread = np.stack([turned.get_latent_representation(give_mean=False) for _ in range(300)])
    np.testing.assert_allclose(spread.std(axis=0).mean(), np.sqrt(variance).mean(), rtol=0.05)


def test_full_covariance(trained):
    model = deepcopy(trained["diagonal"])
    _, variance = model.get_latent_representation(return_dist=True)
    matrix = model.canonicalize()
    tensors = next(iter(model._make_data_loader(model.adata, batch_size=150)))
    with torch.inference_mode():
        q = model.module.inference(**model.module._get_inference_input(tensors))["qz"]
    assert isinstance(q, FullNormal)
    want = np.einsum("ik,ni,il->nkl", matrix, variance, matrix)
    np.testing.assert_allclose(q.covariance_matrix, want, atol=1e-6)
    np.testing.assert_allclose(
        model.get_latent_representation(return_dist=True)[1],
        np.diagonal(want, axis1=1, axis2=2),
        atol=1e-6,
    )


def test_again_changes_nothing(pair):
    _, turned, matrix = pair
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(N_LATENT), atol=1e-6)
    loc = turned.get_latent_representation()
    np.testing.assert_allclose(turned.canonicalize(), np.eye(N_LATENT), atol=1e-6)
    np.testing.assert_allclose(turned.get_latent_representation(), loc, atol=1e-6)


def effects(model):
    """Covariance of each axis with the log expression of each gene."""
    loc = model.get_latent_representation()
    with torch.inference_mode():
        tensors = next(iter(model._make_data_loader(model.adata, batch_size=150)))
        inputs = model.module._get_generative_input(
            tensors, {"z": torch.tensor(loc), "library": torch.zeros(150, 1)}
        )
        px = model.module.generative(**inputs)["px"]
    expression = np.log(px.scale.double().numpy())
    return np.cov(loc.T, expression.T)[:N_LATENT, N_LATENT:]


def test_order_and_signs(pair):
    """Axes are orthogonal in what they do to the genes, those that do most first."""
    _, turned, _ = pair
    found = effects(turned)
    assert ((found**3).sum(axis=1) > 0).all()
    strength = np.square(found).sum(axis=1)
    assert strength[0] == strength.max()
    assert strength[-1] < strength[0] / 2
    raw = np.square(effects(pair[0])).sum(axis=1)
    assert strength[0] > raw.max()


def turn_weights(model, rotation):
    """Turn the latent space in the weights of encoder and decoder themselves."""
    encoder, rotation = model.module.z_encoder, torch.tensor(rotation).float()
    first = model.module.decoder.px_decoder.fc_layers[0][0]
    with torch.no_grad():
        encoder.mean_encoder.weight.copy_(rotation.mT @ encoder.mean_encoder.weight)
        encoder.mean_encoder.bias.copy_(rotation.mT @ encoder.mean_encoder.bias)
        first.weight[:, :N_LATENT] = first.weight[:, :N_LATENT] @ rotation


def test_a_planted_rotation_gives_the_same_axes(trained):
    model = deepcopy(trained["diagonal"])
    planted = deepcopy(model)
    turn_weights(planted, ortho_group.rvs(N_LATENT, random_state=3))
    raw = [one.get_latent_representation() for one in (model, planted)]
    assert np.abs(raw[0] - raw[1]).max() > 0.5
    for one in (model, planted):
        one.canonicalize()
    ours, theirs = (one.get_latent_representation() for one in (model, planted))
    np.testing.assert_allclose(theirs, ours, rtol=1e-3, atol=1e-3 * np.abs(ours).max())


def test_downstream_is_unchanged(pair):
    model, turned, _ = pair
    expression = [
        seeded(lambda m=m: m.get_normalized_expression(n_samples=3, return_numpy=True))
        for m in (model, turned)
    ]
    np.testing.assert_allclose(expression[1], expression[0], rtol=1e-3)
    tables = [
        seeded(
            lambda m=m: m.differential_expression(
                groupby="label", group1="T", group2="B", mode="change", silent=True
            )
        )
        for m in (model, turned)
    ]
    columns = ["proba_de", "lfc_mean"]
    after = tables[1].loc[tables[0].index, columns]
    np.testing.assert_allclose(after, tables[0][columns], rtol=0.05, atol=0.05)
    log_px = [
        seeded(lambda m=m: m.get_marginal_ll(n_mc_samples=50, return_mean=False))
        for m in (model, turned)
    ]
    np.testing.assert_allclose(log_px[1], log_px[0], rtol=1e-5)


def test_gap_and_refinement(trained, canonical):
    """A full refined posterior does not depend on the axes that it started from."""
    cells = np.arange(40)
    refined = [
        model.refine_posterior(indices=cells, family="full", n_draws=512, n_check=2048)
        for model in (trained["diagonal"], canonical)
    ]
    matrix = canonical.module.rotation.numpy()
    np.testing.assert_allclose(refined[1].elbo_before, refined[0].elbo_before, atol=0.1)
    np.testing.assert_allclose(refined[1].elbo, refined[0].elbo, atol=0.1)
    np.testing.assert_allclose(refined[1].loc, refined[0].loc @ matrix, atol=0.1)
    gap = canonical.get_inference_gap(indices=cells, n_chains=8)
    assert (gap["elbo_refined"] >= gap["elbo"] - 0.1).all()


def test_stored_posteriors(canonical):
    loc, variance = canonical.get_latent_representation(return_dist=True)
    canonical.adata.obsm["qzm"], canonical.adata.obsm["qzv"] = loc, variance
    want = canonical.get_normalized_expression(n_samples=300, return_numpy=True)
    canonical.minify_adata(use_latent_qzm_key="qzm", use_latent_qzv_key="qzv")
    assert canonical.minified_data_type == ADATA_MINIFY_TYPE.LATENT_POSTERIOR
    np.testing.assert_allclose(canonical.get_latent_representation(), loc)
    # Of the marginal variances alone, as of any full covariance.
    found = canonical.get_normalized_expression(n_samples=300, return_numpy=True)
    assert np.corrcoef(np.log(found).ravel(), np.log(want).ravel())[0, 1] > 0.98
    with pytest.raises(DataError, match="takes stored latent states"):
        canonical.canonicalize()
    with pytest.raises(ModelTypeError, match="hold latent states in the turned axes"):
        canonical.to_scvi_model()


def test_aggregated_posterior(canonical):
    loc, variance = canonical.get_latent_representation(return_dist=True)
    mixture = canonical.get_aggregated_posterior(dof=None)
    torch.testing.assert_close(mixture.mean, torch.tensor(loc).mean(dim=0), rtol=1e-4, atol=1e-5)
    spread = torch.tensor(variance.mean(axis=0) + loc.var(axis=0))
    torch.testing.assert_close(mixture.variance, spread, rtol=1e-4, atol=1e-5)


def test_files(pair, tmp_path):
    model, turned, _ = pair
    turned.save(tmp_path / "turned", save_anndata=True)
    again = SCVI.load(tmp_path / "turned")
    np.testing.assert_allclose(
        again.get_latent_representation(), turned.get_latent_representation(), rtol=1e-5
    )
    np.testing.assert_allclose(again.canonicalize(), np.eye(N_LATENT), atol=1e-3)
    # A model without the matrix has the file that it always had.
    assert "rotation" not in model.module.state_dict()
    assert "rotated" not in model.init_params_["kwargs"]["kwargs"]


def test_scvi_tools_cannot_load_it_but_is_given_the_axes_from_before(trained, canonical, tmp_path):
    canonical.save(tmp_path / "turned", save_anndata=True)
    with pytest.raises(TypeError, match="rotated"):
        scvi.model.SCVI.load(tmp_path / "turned")
    with pytest.warns(UserWarning, match="the axes from before"):
        theirs = canonical.to_scvi_model()
    want = trained["diagonal"].get_latent_representation()
    np.testing.assert_allclose(theirs.get_latent_representation(), want, rtol=1e-4, atol=1e-5)
    ours = SCVI.from_scvi_model(theirs)
    ours.canonicalize()
    np.testing.assert_allclose(
        ours.get_latent_representation(), canonical.get_latent_representation(), atol=1e-4
    )


def test_query_and_further_training(canonical, make_adata):
    query = make_adata(60, seed=6)
    query.obs["batch"] = "new"
    mapped = SCVI.load_query_data(query, canonical, unfrozen=True)
    rotation = canonical.module.rotation
    torch.testing.assert_close(mapped.module.rotation, rotation)
    mapped.train(max_epochs=2, batch_size=30)
    torch.testing.assert_close(mapped.module.rotation, rotation)
    assert np.isfinite(mapped.get_latent_representation()).all()


@pytest.mark.parametrize("objective", ["elbo", "iwae", "semi_amortized"])
def test_further_training(canonical, objective):
    before, kept = canonical.get_elbo().item(), canonical.module.rotation.clone()
    canonical.train(max_epochs=5, batch_size=50, plan_kwargs={"objective": objective})
    torch.testing.assert_close(canonical.module.rotation, kept)
    assert canonical.get_elbo().item() > before - 5


@pytest.mark.parametrize(
    "kwargs",
    [{"use_observed_lib_size": False}, {"gene_likelihood": "normal"}, {"n_hidden": 2}],
    ids=str,
)
def test_architectures(make_adata, kwargs):
    kwargs = {"n_hidden": 16, **kwargs}
    adata = make_adata(80, seed=5)
    SCVI.setup_anndata(adata, batch_key="batch")
    model = SCVI(adata, n_latent=3, **kwargs)
    model.train(max_epochs=3)
    how = {"n_mc_samples": 300, "return_diagnostics": True}
    before = seeded(lambda: model.get_marginal_ll(**how))
    model.canonicalize()
    after = seeded(lambda: model.get_marginal_ll(**how))
    # With a latent library the draws of one seed are others, else the same ones turned.
    error = 4 * np.hypot(before["standard_error"], after["standard_error"])
    allowed = error if "use_observed_lib_size" in kwargs else 1e-5 * abs(before["log_px"])
    assert abs(after["log_px"] - before["log_px"]) < allowed
    assert np.isfinite(model.refine_posterior(indices=np.arange(10)).elbo).all()


@pytest.mark.parametrize(
    "kwargs", [{"prior": "mixture"}, {"prior": "vamp"}, {"latent_distribution": "ln"}], ids=str
)
def test_what_cannot_be_turned_is_refused(make_adata, kwargs):
    model = make(make_adata(60, seed=5), epochs=1, **kwargs)
    with pytest.raises(ModelTypeError, match="cannot be turned"):
        model.canonicalize()
    assert model.module.rotation is None


def test_importance_weights_are_refused(canonical):
    with pytest.raises(ModelTypeError, match="its latent space was turned"):
        canonical.get_normalized_expression(weights="importance", n_samples_overall=10)


def test_a_model_without_cells_is_refused(canonical, tmp_path):
    canonical.save(tmp_path / "model")
    alone = SCVI.load(tmp_path / "model", adata=False)
    with pytest.raises(DataError, match="has no AnnData"):
        alone.canonicalize()

"""Conversion from and to scvi-tools is lossless, and both compute the same numbers."""

import itertools

import numpy as np
import pytest
import scvi.model
import torch
from scipy import sparse

from lucidvi.errors import ModelTypeError
from lucidvi.model import SCVI

SETUPS = {
    "plain": {},
    "covariates": {
        "categorical_covariate_keys": ["donor", "site"],
        "continuous_covariate_keys": ["age", "percent_mito"],
    },
}
LIBRARIES = {
    "observed": ({}, {}),
    "size factor": ({"size_factor_key": "size_factor"}, {}),
    "latent": ({}, {"use_observed_lib_size": False}),
}
CHOICES = (
    ("zinb", "nb", "poisson", "normal"),
    ("gene", "gene-batch", "gene-label", "gene-cell"),
    tuple(LIBRARIES),
    tuple(SETUPS),
    ("one-hot", "embedding"),
    ("normal", "ln"),
)


def configurations():
    """A quarter of all, among which are any three choices together."""
    for at in itertools.product(*(range(len(choices)) for choices in CHOICES)):
        likelihood, dispersion, library, setup, batches, latent = at
        if (likelihood + dispersion + library + setup) % 2 != batches:
            continue
        if (likelihood // 2 + dispersion + setup) % 2 != latent:
            continue
        yield tuple(choices[i] for choices, i in zip(CHOICES, at, strict=True))


CONFIGURATIONS = list(configurations())


def test_any_three_choices_are_tried_together():
    for axes in itertools.combinations(range(len(CHOICES)), 3):
        tried = {tuple(configuration[axis] for axis in axes) for configuration in CONFIGURATIONS}
        assert tried == set(itertools.product(*(CHOICES[axis] for axis in axes)))


def losses(model, adata, seed=0):
    """Reconstruction loss, KL and ELBO of each cell, at draws of z that depend on the seed."""
    terms = []
    torch.manual_seed(seed)
    for tensors in model._make_data_loader(adata, batch_size=25):
        loss = model.module(tensors)[2]
        terms.append((loss.dict_sum(loss.reconstruction_loss), loss.dict_sum(loss.kl_local)))
    reconstruction, kl = (torch.cat(term).detach() for term in zip(*terms, strict=True))
    torch.manual_seed(seed)
    elbo = model.get_elbo(adata, return_mean=False, batch_size=25)
    return reconstruction, kl, elbo


@pytest.mark.parametrize(
    ("likelihood", "dispersion", "library", "setup", "batches", "latent"), CONFIGURATIONS
)
def test_per_cell_losses_equal_those_of_scvi_tools(
    make_adata, likelihood, dispersion, library, setup, batches, latent
):
    adata = make_adata()
    setup_args, library_args = LIBRARIES[library]
    scvi.model.SCVI.setup_anndata(
        adata, batch_key="batch", labels_key="label", **SETUPS[setup], **setup_args
    )
    theirs = scvi.model.SCVI(
        adata,
        n_hidden=16,
        n_latent=4,
        n_layers=2,
        gene_likelihood=likelihood,
        dispersion=dispersion,
        latent_distribution=latent,
        batch_representation=batches,
        encode_covariates=setup == "covariates",
        **library_args,
    )
    theirs.module.eval()
    ours = SCVI.from_scvi_model(theirs)
    back = ours.to_scvi_model()
    assert type(back) is scvi.model.SCVI
    reference = losses(theirs, adata)
    for model in (ours, back):
        for got, want in zip(losses(model, adata), reference, strict=True):
            assert got.shape == (adata.n_obs,)
            torch.testing.assert_close(got, want, rtol=1e-5, atol=0)


@pytest.fixture
def trained(adata):
    scvi.model.SCVI.setup_anndata(adata, batch_key="batch")
    model = scvi.model.SCVI(adata, n_hidden=16, n_latent=4, gene_likelihood="nb")
    model.train(max_epochs=2, train_size=0.7, validation_size=0.2, batch_size=16)
    return model


def state(model):
    return {name: weight.clone() for name, weight in model.module.state_dict().items()}


@pytest.mark.parametrize("way", ["from", "both"])
def test_conversion_keeps_everything(trained, way):
    converted = SCVI.from_scvi_model(trained)
    if way == "both":
        converted = converted.to_scvi_model()
    assert converted.adata is trained.adata
    assert converted.is_trained
    for split in ("train_indices", "validation_indices", "test_indices"):
        np.testing.assert_array_equal(getattr(converted, split), getattr(trained, split))
    assert converted.history.keys() == trained.history.keys()
    for key, values in trained.history.items():
        assert values.equals(converted.history[key])
    assert converted.init_params_ == trained.init_params_
    assert converted.registry["setup_args"] == trained.registry["setup_args"]
    assert converted.summary_stats == trained.summary_stats
    ours, theirs = state(converted), state(trained)
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    np.testing.assert_array_equal(
        converted.get_latent_representation(), trained.get_latent_representation()
    )


def test_weights_are_copies_and_the_source_still_works(trained):
    before, latent = state(trained), trained.get_latent_representation()
    converted = SCVI.from_scvi_model(trained)
    converted.train(max_epochs=1)
    assert not torch.equal(state(converted)["px_r"], before["px_r"])
    assert torch.equal(state(trained)["px_r"], before["px_r"])
    np.testing.assert_array_equal(trained.get_latent_representation(), latent)


def test_conversion_does_not_touch_the_seed(trained):
    torch.manual_seed(3)
    want = torch.rand(4)
    torch.manual_seed(3)
    SCVI.from_scvi_model(trained).to_scvi_model()
    assert torch.equal(torch.rand(4), want)


def test_frozen_weights_stay_frozen(trained):
    trained.module.decoder.requires_grad_(False)
    converted = SCVI.from_scvi_model(trained)
    for name, weight in converted.module.named_parameters():
        assert weight.requires_grad == (not name.startswith("decoder.")), name


def test_without_anndata(trained, tmp_path):
    latent = trained.get_latent_representation()
    trained.save(str(tmp_path / "model"))
    loaded = scvi.model.SCVI.load(str(tmp_path / "model"), adata=False)
    converted = SCVI.from_scvi_model(loaded)
    assert converted.adata is None
    query = trained.adata.copy()
    np.testing.assert_array_equal(converted.get_latent_representation(query), latent)


def test_minified(trained):
    adata = trained.adata
    adata.obsm["X_latent_qzm"], adata.obsm["X_latent_qzv"] = trained.get_latent_representation(
        return_dist=True
    )
    trained.minify_adata()
    converted = SCVI.from_scvi_model(trained)
    assert converted.minified_data_type == "latent_posterior_parameters"
    np.testing.assert_array_equal(
        converted.get_latent_representation(), trained.get_latent_representation()
    )
    assert converted.to_scvi_model().minified_data_type == "latent_posterior_parameters"


def test_query_of_a_new_batch(trained, make_adata):
    query = make_adata(n_batches=5, seed=1)
    surgery = scvi.model.SCVI.load_query_data(query, trained)
    converted = SCVI.from_scvi_model(surgery)
    assert converted.summary_stats.n_batch == 5
    for got, want in zip(losses(converted, query), losses(surgery, query), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-5, atol=0)


@pytest.mark.parametrize("layer", [None, "counts"])
def test_counts_in_a_format_that_scvi_tools_does_not_read(adata, layer):
    array = sparse.csr_array(adata.X)
    if layer is None:
        adata.X = array
    else:
        adata.layers[layer] = array
    SCVI.setup_anndata(adata, layer=layer)
    ours = SCVI(adata, n_latent=3)
    theirs = ours.to_scvi_model()
    assert isinstance(
        ours.adata.X if layer is None else ours.adata.layers[layer], sparse.csr_array
    )
    for got, want in zip(losses(theirs, theirs.adata), losses(ours, adata), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-5, atol=0)


def test_module_that_awaits_training():
    with pytest.warns(UserWarning, match="without `adata`"):
        untrained = scvi.model.SCVI(n_latent=3)
    with pytest.warns(UserWarning, match="without `adata`"):
        converted = SCVI.from_scvi_model(untrained)
    assert converted.module is None
    assert converted._module_kwargs["n_latent"] == 3


def test_model_trained_on_values_that_are_not_counts(adata):
    adata.X = adata.X * 1.5
    with pytest.warns(UserWarning, match="does not contain unnormalized count data"):
        scvi.model.SCVI.setup_anndata(adata)
    theirs = scvi.model.SCVI(adata, gene_likelihood="normal")
    with pytest.warns(UserWarning, match="trained on values that are not counts"):
        ours = SCVI.from_scvi_model(theirs)
    assert ours.adata_manager.is_count_data is False
    with pytest.warns(UserWarning, match="does not contain unnormalized count data"):
        back = ours.to_scvi_model()
    assert "is_count_data" not in back.registry["setup_args"]


@pytest.mark.parametrize("model_cls", [scvi.model.LinearSCVI, scvi.model.PEAKVI])
def test_other_models_are_refused(adata, model_cls):
    model_cls.setup_anndata(adata)
    with pytest.raises(ModelTypeError, match=model_cls.__name__) as error:
        SCVI.from_scvi_model(model_cls(adata))
    assert "scvi.model.SCVI" in error.value.remedy


def test_own_model_is_refused(adata):
    SCVI.setup_anndata(adata)
    with pytest.raises(ModelTypeError, match=r"lucidvi\.model"):
        SCVI.from_scvi_model(SCVI(adata))

"""A SCANVI becomes a SCVI with the same latent states and expression."""

import numpy as np
import pytest
import scvi
import torch

from lucidvi.errors import ModelTypeError
from lucidvi.model import SCVI

LIBRARIES = {"observed": {}, "latent": {"use_observed_lib_size": False}}


def guided(adata, covariates=None, **options):
    """A SCANVI made of a SCVI and trained for an epoch."""
    adata = adata.copy()
    SCVI.setup_anndata(adata, batch_key="batch", categorical_covariate_keys=covariates)
    model = SCVI(adata, n_hidden=16, n_latent=4, **options)
    model.train(max_epochs=1, plan_kwargs={"warn_collapse": False})
    scanvi = scvi.model.SCANVI.from_scvi_model(
        model.to_scvi_model(), unlabeled_category="unknown", labels_key="label"
    )
    scanvi.train(max_epochs=1)
    return scanvi


@pytest.mark.parametrize("likelihood", ["zinb", "nb"])
@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("n_unlabelled", [0, 10])
def test_same_numbers(make_adata, likelihood, library, n_unlabelled):
    adata = make_adata()
    labels = adata.obs["label"].astype(object)
    labels.iloc[:n_unlabelled] = "unknown"
    adata.obs["label"] = labels
    options = {"gene_likelihood": likelihood, **LIBRARIES[library]}
    scanvi = guided(adata, ["donor"], **options)
    model = SCVI.from_scvi_model(scanvi)
    assert type(model) is SCVI
    theirs, ours = (m.get_latent_representation(return_dist=True) for m in (scanvi, model))
    for expected, found in zip(theirs, ours, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    expression = []
    for one in (scanvi, model):
        torch.manual_seed(0)
        np.random.seed(0)  # noqa: NPY002 (scvi-tools draws from the global generator)
        expression.append(one.get_normalized_expression(return_numpy=True))
    np.testing.assert_allclose(expression[1], expression[0], rtol=1e-4)
    assert model.is_trained_
    np.testing.assert_array_equal(model.train_indices, scanvi.train_indices)


def test_scanvi_is_left_alone(make_adata, tmp_path):
    scanvi = guided(make_adata())
    before = {name: weight.clone() for name, weight in scanvi.module.state_dict().items()}
    model = SCVI.from_scvi_model(scanvi)
    with torch.no_grad():
        for weight in model.module.parameters():
            weight.zero_()
    for name, weight in scanvi.module.state_dict().items():
        assert torch.equal(weight, before[name])
    scanvi.predict()  # its own registration of the labels still holds
    model.save(tmp_path / "model")
    assert SCVI.load(tmp_path / "model", model.adata).is_trained_


def test_dispersions_of_labels_are_refused(make_adata):
    adata = make_adata()
    scvi.model.SCANVI.setup_anndata(adata, labels_key="label", unlabeled_category="unknown")
    scanvi = scvi.model.SCANVI(adata, n_hidden=16, n_latent=4, dispersion="gene-label")
    with pytest.raises(ModelTypeError, match="gene-label"):
        SCVI.from_scvi_model(scanvi)

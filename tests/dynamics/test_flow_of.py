"""The field of a model of spliced and unspliced molecules."""

import numpy as np
import pytest
import scvi
from tests.splicing import spliced_anndata

from lucidvi import dynamics
from lucidvi.errors import DataError, ModelTypeError
from lucidvi.model import FLOWVI, SCVI


@pytest.fixture(scope="module")
def model():
    adata = spliced_anndata(400)
    scvi.settings.seed = 0
    FLOWVI.setup_anndata(adata)
    model = FLOWVI(adata)
    model.train(40, n_kinetic_steps=200, enable_progress_bar=False)
    return model


def test_it_is_that_of_the_model(model):
    field, z = dynamics.flow_of(model), model.get_latent_representation()
    expected = model.get_velocity()
    for t in (0.0, 7.0, 100.0):
        np.testing.assert_allclose(field(z, t), expected, rtol=1e-3, atol=1e-5)
    assert field.is_stationary
    assert "of no time" in repr(field)
    assert (field.growth(z, 0.0) == 0).all()


def test_cells_that_are_followed_come_where_later_cells_are(model):
    z, time = model.get_latent_representation(), model.adata.obs["time"].to_numpy()
    early = z[(time > 3) & (time < 4)]
    later = dynamics.flow_of(model).integrate(early, 0, 2).z
    near = ((later[:, None] - z) ** 2).sum(axis=-1).argsort(axis=1)[:, :15]
    moved = np.median(time[near].mean(axis=1)) - 3.5
    assert 0.7 < moved < 4


def test_models_that_know_of_no_velocity():
    adata = spliced_anndata(40, 10)
    SCVI.setup_anndata(adata)
    model = SCVI(adata, n_hidden=4, n_latent=2)
    model.train(1, enable_progress_bar=False)
    with pytest.raises(ModelTypeError, match=r"'velocity'.*unspliced"):
        dynamics.flow_of(model)


def test_kinetics_that_were_not_fitted():
    adata = spliced_anndata(40, 10)
    FLOWVI.setup_anndata(adata)
    model = FLOWVI(adata, n_hidden=4, n_latent=2)
    SCVI.train(model, 1, enable_progress_bar=False)
    with pytest.raises(DataError, match=r"model\.fit_kinetics"):
        dynamics.flow_of(model)

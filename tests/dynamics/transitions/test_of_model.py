"""Times, fates and genes of a model, which are those of its states and velocities."""

import numpy as np
import pytest
import scvi
from tests.splicing import spliced_anndata

from lucidvi import dynamics
from lucidvi.errors import DataError, ModelTypeError
from lucidvi.model import FLOWVI, SCVI


@pytest.fixture(scope="module")
def model():
    adata = spliced_anndata(300, 50)
    scvi.settings.seed = 0
    FLOWVI.setup_anndata(adata)
    model = FLOWVI(adata, n_latent=3)
    model.train(30, n_kinetic_steps=150, enable_progress_bar=False)
    return model


@pytest.fixture(scope="module")
def arrays(model):
    velocity, error = model.get_velocity(return_uncertainty=True)
    unknown = ~model.get_direction().cells["is_identified"].to_numpy()
    velocity = velocity.copy()
    velocity[unknown] = np.nan
    return model.get_latent_representation(), velocity, error


def test_a_model_gives_what_its_arrays_give(model, arrays):
    z, velocity, error = arrays
    time = dynamics.latent_time(model)
    assert time.index.equals(model.adata.obs_names)
    np.testing.assert_allclose(time, dynamics.latent_time(z, velocity, uncertainty=error))
    assert np.corrcoef(time, model.adata.obs["time"])[0, 1] > 0.8
    steps = dynamics.transition_matrix(model)
    expected = dynamics.transition_matrix(z, velocity, uncertainty=error)
    np.testing.assert_allclose(steps.toarray(), expected.toarray())
    ends = {"late": time.nlargest(20).index, "early": time.nsmallest(20).index}
    fates = dynamics.fate_probabilities(model, terminal=ends)
    by_position = {k: model.adata.obs_names.get_indexer(v) for k, v in ends.items()}
    found = dynamics.fate_probabilities(z, velocity, by_position, uncertainty=error)
    np.testing.assert_allclose(fates, found)
    assert fates.index.equals(model.adata.obs_names)


def test_genes_of_a_model(model):
    time = dynamics.latent_time(model)
    ends = {"late": time.nlargest(20).index, "early": time.nsmallest(20).index}
    fates = dynamics.fate_probabilities(model, terminal=ends)
    found = dynamics.driver_genes(model, fates)
    assert found.equals(dynamics.driver_genes(model, fates))  # no draw of its own each time
    many = model.get_normalized_expression(library_size=1e4, n_samples=50)
    expected = dynamics.driver_genes(np.log1p(many), fates).set_index(["fate", "gene"])
    one = found.set_index(["fate", "gene"])["correlation"]
    np.testing.assert_allclose(one, expected["correlation"].loc[one.index], atol=0.1)
    some = dynamics.driver_genes(model, fates, genes=list(model.adata.var_names[[3, 1]]))
    assert set(some["gene"]) == set(model.adata.var_names[[1, 3]])


def test_what_is_refused(model, make_adata):
    with pytest.raises(DataError, match="`z` is a model, which says itself"):
        dynamics.latent_time(model, model.get_velocity())
    with pytest.raises(DataError, match="`velocity` is not given"):
        dynamics.latent_time(model.get_latent_representation())
    with pytest.raises(DataError, match="`terminal` is not given"):
        dynamics.fate_probabilities(model)
    adata = make_adata()
    SCVI.setup_anndata(adata)
    other = SCVI(adata, n_latent=3, n_hidden=8)
    other.is_trained = True
    with pytest.raises(ModelTypeError, match="knows nothing of unspliced molecules"):
        dynamics.transition_matrix(other)


def test_molecules_without_a_direction_lead_nowhere():
    adata = spliced_anndata(200, 40, exchangeable=True)
    scvi.settings.seed = 0
    FLOWVI.setup_anndata(adata)
    model = FLOWVI(adata, n_latent=3)
    model.train(10, n_kinetic_steps=60, enable_progress_bar=False)
    with pytest.raises(DataError, match="do not determine a direction"):
        dynamics.latent_time(model)

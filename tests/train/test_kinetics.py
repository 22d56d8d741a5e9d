"""Kinetics that were fitted, against known truth."""

import numpy as np
import pytest
import scvi
import torch
from tests.splicing import spliced_anndata

from lucidvi.errors import DataError
from lucidvi.model import FLOWVI


def fitted(adata, n_steps=200, **kwargs):
    scvi.settings.seed = 0
    FLOWVI.setup_anndata(adata, **kwargs)
    model = FLOWVI(adata)
    model.train(40, n_kinetic_steps=n_steps, enable_progress_bar=False)
    return model


@pytest.fixture(scope="module")
def adata():
    return spliced_anndata(500)


@pytest.fixture(scope="module")
def model(adata):
    return fitted(adata)


def cosines(model, adata, **kwargs):
    """Cosine of each cell's velocity of genes to the truth."""
    found = model.get_gene_velocity(**kwargs).dropna(axis=1)
    truth = adata[:, found.columns].layers["change"]
    x = found.to_numpy()
    size = np.linalg.norm(x, axis=1) * np.linalg.norm(truth, axis=1)
    return (x * truth).sum(axis=1) / size


def test_velocities_of_genes_point_where_the_truth_does(model, adata):
    assert np.median(cosines(model, adata)) > 0.8


def test_states_move_along_time(model, adata):
    """In latent space, cells that are a little later lie where the velocity points."""
    z, velocity = model.get_latent_representation(), model.get_velocity()
    time = adata.obs["time"].to_numpy()
    ahead = [z[(time > t + 0.3) & (time < t + 1)].mean(axis=0) for t in np.minimum(time, 8.8)]
    step = np.array(ahead) - z
    size = np.linalg.norm(step, axis=1) * np.linalg.norm(velocity, axis=1)
    inside = (time > 0.5) & (time < 8.5)
    assert np.mean((step * velocity).sum(axis=1)[inside] / size[inside]) > 0.5


def test_a_direction_is_found_where_there_is_one(model):
    direction = model.get_direction()
    assert direction.verdict == "ok"
    assert direction.agreeing > 0.75
    assert direction.cells["is_identified"].mean() > 0.8


def test_errors_of_rates_are_as_large_as_they_are_said_to_be(model, adata):
    """But for the unit of time, that of a typical gene, and what is not known of the field."""
    rates = model.get_rates()
    used = rates["fits"].to_numpy()
    off = np.log(rates["degradation"]) - np.log(adata.var["degradation"])
    error = np.hypot(rates["degradation_error"], 0.15)
    z = ((off - off[used].median()) / error)[used]
    assert (z.abs() < 2).mean() > 0.85
    assert 0.3 < z.abs().median() < 1.2
    assert abs(off[used].median()) < 0.3


def test_no_direction_is_found_where_molecules_are_exchangeable():
    adata = spliced_anndata(400, exchangeable=True)
    direction = fitted(adata).get_direction()
    assert direction.verdict == "fail"
    assert not direction.cells["is_identified"].any()


def test_batches_in_which_genes_differ():
    adata = spliced_anndata(600, n_batches=2)
    model = fitted(adata, batch_key="batch")
    # The truth is said without the batches' factors, so genes are compared by logs.
    assert model.get_direction().verdict == "ok"
    assert np.median(cosines(model, adata)) > 0.6


@pytest.fixture(scope="module")
def small():
    return fitted(spliced_anndata(100, 20), n_steps=10)


def test_one_seed_one_fit(small):
    small.fit_kinetics(10)  # whichever test has had it before
    before, rates = small.get_velocity(), small.get_rates()
    small.fit_kinetics(10)
    np.testing.assert_array_equal(small.get_velocity(), before)
    assert small.get_rates().equals(rates)
    small.fit_kinetics(10, seed=1)
    assert not np.array_equal(small.get_velocity(), before)


def test_generators_of_others_are_left_alone(small):
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    small.fit_kinetics(2)
    torch.testing.assert_close(torch.rand(2), expected)


def test_turning_the_latent_space_changes_nothing():
    """Velocities of genes are the same whatever the axes of the states are called."""
    model = fitted(spliced_anndata(300, 40), n_steps=1)
    rotation = torch.linalg.qr(torch.randn(10, 10, generator=torch.manual_seed(4)))[0]
    # Variances of posteriors do not turn with independent axes, so that there are none.
    encoder = model.module.z_encoder.var_encoder
    encoder.weight.data.zero_()
    encoder.bias.data.fill_(-30)
    model.fit_kinetics(100)
    before = model.get_gene_velocity(only_fitting=False)
    model.module.turn(rotation)
    encoder.bias.data.fill_(-30)
    model.fit_kinetics(100)
    after = model.get_gene_velocity(only_fitting=False)
    np.testing.assert_allclose(after, before, atol=0.02 * np.abs(before.to_numpy()).max())


def test_too_few_molecules_to_say_anything():
    adata = spliced_anndata(12, 10, depth=15)
    FLOWVI.setup_anndata(adata)
    model = FLOWVI(adata, n_hidden=4, n_latent=2)
    with pytest.raises(DataError, match=r"of both kinds|spliced and unspliced molecules in 10"):
        model.train(1, enable_progress_bar=False)

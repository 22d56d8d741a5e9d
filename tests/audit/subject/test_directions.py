"""Fisher information and worth of directions, with a decoder whose derivatives are known."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import stats
from torch.distributions import Independent, Normal

from lucidvi.audit.subject._directions import direction_losses, predicted_from_preceding
from lucidvi.distributions import NegativeBinomial, Poisson
from lucidvi.inference import canonical, information_metric
from lucidvi.module import Observed

N_CELLS, N_LATENT, N_GENES = 4, 3, 30


class LogLinear:
    """Cells whose log mean is linear in z."""

    n_cells = N_CELLS

    def __init__(self, log_theta=None, rotation=None, sd=1e-6):
        generator = torch.Generator().manual_seed(0)
        self.weights = torch.randn(N_LATENT, N_GENES, generator=generator)
        self.weights[2] = 0
        self.loc = torch.randn(N_CELLS, N_LATENT, generator=generator)
        if rotation is not None:
            self.weights, self.loc = rotation.T @ self.weights, self.loc @ rotation
        self.q0 = Independent(Normal(self.loc, torch.full_like(self.loc, sd)), 1)
        self.log_theta = log_theta
        self.x = torch.poisson(torch.full((N_CELLS, N_GENES), 3.0), generator=generator)
        self.observed = {"rna": Observed(self.x, None)}

    @staticmethod
    def latent(state):
        return state

    @staticmethod
    def with_latent(state, latent):
        return latent

    def counts(self, key):
        return self.x

    def measured_likelihood(self, state, key):
        return self.likelihood(state)

    def likelihood(self, z):
        mean = {"log_scale": z @ self.weights, "log_library": torch.ones(len(z), 1)}
        if self.log_theta is None:
            return Poisson(**mean)
        return NegativeBinomial(**mean, log_theta=torch.tensor(self.log_theta))


@pytest.mark.parametrize("log_theta", [None, 0.5])
def test_information_of_a_log_linear_decoder(log_theta):
    target = LogLinear(log_theta)
    mu = (target.loc @ target.weights + 1).exp().double().numpy()
    information = mu if log_theta is None else mu / (1 + mu / np.exp(log_theta))
    weights = target.weights.double().numpy()
    want = np.einsum("kg,ng,lg->nkl", weights, information, weights)
    np.testing.assert_allclose(information_metric(target, N_LATENT), want, rtol=2e-3, atol=1e-2)


def test_canonical_directions_do_not_depend_on_the_axes():
    rotation = torch.linalg.qr(torch.randn(N_LATENT, N_LATENT))[0]
    values, directions = canonical(information_metric(LogLinear(), N_LATENT))
    rotated_values, rotated = canonical(information_metric(LogLinear(rotation=rotation), N_LATENT))
    assert (np.diff(values) <= 0).all()
    np.testing.assert_allclose(values, rotated_values, rtol=1e-3, atol=0.1)
    back = rotation.double().numpy() @ rotated
    np.testing.assert_allclose(np.abs(np.sum(back * directions, axis=0)), 1, atol=1e-3)
    assert np.abs(directions[:, 2]) == pytest.approx([0, 0, 1], abs=1e-3)


def test_loss_of_a_direction():
    target, center = LogLinear(), np.array([0.2, -0.1, 0.5])
    losses = direction_losses(target, np.eye(N_LATENT), center)
    loc, weights = target.loc.double().numpy(), target.weights.double().numpy()
    x = target.x.double().numpy()

    def log_px(z):
        return stats.poisson(np.exp(z @ weights + 1)).logpmf(x).sum(axis=1)

    for k in range(N_LATENT):
        without = loc.copy()
        without[:, k] = center[k]
        want = log_px(loc) - log_px(without)
        np.testing.assert_allclose(losses[:, k], want, rtol=1e-3, atol=1e-2)
    assert np.abs(losses[:, 2]).max() < 1e-2


def test_a_latent_library_is_no_direction():
    """What is latent besides the state is left as it was drawn."""
    target = LogLinear()
    loc = torch.cat([target.loc, torch.ones(N_CELLS, 1)], dim=1)

    def likelihood(z):
        return Poisson(log_scale=z[:, :3] @ target.weights, log_library=z[:, 3:])

    with_library = SimpleNamespace(
        n_cells=N_CELLS,
        x=target.x,
        q0=Independent(Normal(loc, torch.full_like(loc, 1e-6)), 1),
        latent=lambda state: state[:, :3],
        with_latent=lambda state, latent: torch.cat([latent, state[:, 3:]], dim=1),
        likelihood=likelihood,
        observed=target.observed,
        counts=target.counts,
        measured_likelihood=lambda z, key: likelihood(z),
    )
    both = (
        direction_losses(cells, np.eye(N_LATENT), np.zeros(N_LATENT))
        for cells in (target, with_library)
    )
    np.testing.assert_allclose(*both, atol=1e-2)
    assert information_metric(with_library, N_LATENT).shape == (N_CELLS, N_LATENT, N_LATENT)


def test_coordinates_that_are_told_by_those_before():
    rng = np.random.default_rng(0)
    first, free = rng.uniform(-1, 1, size=(2, 2000))
    coordinates = np.stack([first, first**2, free], axis=1)
    cells = np.arange(0, 2000, 20)
    predicted = predicted_from_preceding(coordinates, cells)
    left = (coordinates[cells] - predicted).var(axis=0) / coordinates[cells].var(axis=0)
    assert left[0] == pytest.approx(1)
    assert left[1] < 0.01
    assert left[2] == pytest.approx(1, abs=0.2)


def test_a_cell_does_not_predict_itself():
    coordinates = np.zeros((40, 2))
    coordinates[7, 1] = 100.0
    assert predicted_from_preceding(coordinates, np.array([7]))[0, 1] < 50

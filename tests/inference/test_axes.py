"""Canonical axes of a decoder that is linear in log space, whose covariances are known."""

import numpy as np
import pytest
import torch
from scipy.special import log_softmax
from scipy.stats import ortho_group
from torch.distributions import Independent, Normal

from lucidvi.distributions import NegativeBinomial
from lucidvi.inference import canonical_axes

N_CELLS, N_LATENT, N_GENES, LOG_THETA = 300, 4, 30, 0.5
ROTATION = ortho_group.rvs(N_LATENT, random_state=1)


class LogLinear:
    """Cells whose log expression is linear in z, the last dimension left out."""

    def __init__(self, rotation=None, cells=slice(None), n_genes=N_GENES, with_library=False):
        rng = np.random.default_rng(0)
        self.loc = rng.normal(size=(N_CELLS, N_LATENT))[cells]
        self.weights = rng.normal(size=(N_LATENT, n_genes)) * np.array([[1.0], [0.5], [0.25], [0]])
        if rotation is not None:
            self.loc, self.weights = self.loc @ rotation, rotation.T @ self.weights
        loc = torch.tensor(self.loc).float()
        if with_library:
            loc = torch.cat([loc, torch.full((len(loc), 1), 3.0)], dim=1)
        self.q0 = Independent(Normal(loc, torch.ones_like(loc)), 1)

    def latent(self, z):
        return z[:, :N_LATENT]

    def likelihood(self, z):
        logits = z[:, :N_LATENT] @ torch.tensor(self.weights).float()
        library = torch.full((len(z), 1), 3.0)
        return NegativeBinomial(
            logits=logits, log_library=library, log_theta=torch.tensor(LOG_THETA)
        )


def expected(target):
    """Effects on the genes, and axes and squared singular values by an eigendecomposition."""
    expression = log_softmax(target.loc @ target.weights, axis=1)
    mu = np.exp(expression + 3)
    weight = (mu / (1 + mu / np.exp(LOG_THETA))).mean(axis=0)
    joint = np.cov(target.loc.T, expression.T, bias=True)
    effects = joint[:N_LATENT, N_LATENT:]
    values, vectors = np.linalg.eigh(effects * weight @ effects.T)
    return effects, values[::-1], vectors[:, ::-1]


@pytest.mark.parametrize("with_library", [False, True])
def test_axes_of_known_covariances(with_library):
    target = LogLinear(with_library=with_library)
    effects, values, vectors = expected(target)
    directions, strength = canonical_axes([target])
    np.testing.assert_allclose(strength, values, rtol=1e-4, atol=1e-6 * values[0])
    np.testing.assert_allclose(directions.T @ directions, np.eye(N_LATENT), atol=1e-12)
    np.testing.assert_allclose(np.abs(np.sum(directions * vectors, axis=0)), 1, atol=1e-4)
    assert (((directions.T @ effects) ** 3).sum(axis=1) > 0).all()


def test_axes_turn_with_the_latent_space():
    directions, strength = canonical_axes([LogLinear()])
    turned, again = canonical_axes([LogLinear(ROTATION)])
    np.testing.assert_allclose(again, strength, rtol=1e-4, atol=1e-6 * strength[0])
    np.testing.assert_allclose(ROTATION @ turned, directions, atol=1e-3)


def test_minibatches_do_not_matter():
    whole = canonical_axes([LogLinear()])
    parts = [LogLinear(cells=cells) for cells in (slice(0, 7), slice(7, 250), slice(250, None))]
    for found, want in zip(canonical_axes(parts), whole, strict=True):
        np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-4)


def test_fewer_genes_than_dimensions():
    directions, strength = canonical_axes([LogLinear(n_genes=3)])
    np.testing.assert_allclose(directions.T @ directions, np.eye(N_LATENT), atol=1e-12)
    assert (np.diff(strength) <= 0).all()
    assert strength[-1] == 0

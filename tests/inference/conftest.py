"""Cells of a linear-Gaussian model, whose log p(x), posterior and gaps are known."""

import math

import pytest
import torch
from torch.distributions import Independent, Normal

from lucidvi.inference import LinearGaussianTarget

NOISE = 0.5
CONDITIONS = {"well": 1.5, "badly": 1e3}

#: What an encoder makes of the best diagonal normal: mean and standard deviation.
ENCODERS = {
    "exact": lambda loc, scale: (loc, scale),
    "biased": lambda loc, scale: (loc + scale, 1.3 * scale),
    "narrow": lambda loc, scale: (loc, 0.3 * scale),
}


@pytest.fixture(scope="session")
def linear_gaussian():
    """Return a function that makes a target of simulated cells.

    ``condition`` says how different the directions of the posterior are, ``encoder`` how the
    first guess differs from the best diagonal normal.
    """

    def make(n_latent=3, condition="well", encoder="biased", n_cells=50, n_features=60):
        generator = torch.Generator().manual_seed(n_latent)

        def normal(*shape):
            return torch.randn(*shape, generator=generator, dtype=torch.float64)

        left = torch.linalg.qr(normal(n_features, n_latent))[0]
        right = torch.linalg.qr(normal(n_latent, n_latent))[0]
        log_ratio = math.log10(CONDITIONS[condition]) / 2
        sizes = torch.logspace(0, log_ratio, n_latent, dtype=torch.float64)
        loadings = 0.7 * left * sizes @ right.T
        x = normal(n_cells, n_latent) @ loadings.T + NOISE * normal(n_cells, n_features)
        best = LinearGaussianTarget(x, loadings, NOISE).q0.base_dist
        loc, scale = ENCODERS[encoder](best.loc, best.scale)
        return LinearGaussianTarget(x, loadings, NOISE, Independent(Normal(loc, scale), 1))

    return make

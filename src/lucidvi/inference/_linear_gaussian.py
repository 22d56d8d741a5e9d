"""A model whose posterior and marginal likelihood are known, to check the algorithms with."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor
from torch.distributions import (
    Distribution,
    Independent,
    MultivariateNormal,
    Normal,
    kl_divergence,
)

from lucidvi.inference._normal import NormalPosterior
from lucidvi.inference._target import Target
from lucidvi.nn import select_cells


class LinearGaussianTarget(Target):
    r"""Cells of a linear model with normal noise.

    .. math:: z \sim \mathrm{Normal}(0, I), \quad x \sim \mathrm{Normal}(A z, \sigma^2 I)

    so that with :math:`P = I + A^\top A / \sigma^2`

    .. math::
        z \mid x &\sim \mathrm{Normal}(P^{-1} A^\top x / \sigma^2, P^{-1}) \\
        x &\sim \mathrm{Normal}(0, A A^\top + \sigma^2 I)

    Parameters
    ----------
    x
        Data, shape ``(n_cells, n_features)``.
    loadings
        The matrix :math:`A`, shape ``(n_features, n_latent)``.
    noise
        Standard deviation :math:`\sigma`.
    q0
        First guess of the posterior, batch shape ``(n_cells,)``; by default the best normal
        with a diagonal covariance.
    """

    def __init__(
        self,
        x: Tensor,
        loadings: Tensor,
        noise: float,
        q0: Distribution | None = None,
    ) -> None:
        self.x, self.loadings, self.noise = x, loadings, noise
        self.n_state = loadings.shape[1]
        self.width = len(loadings)
        zeros = x.new_zeros(len(x), self.n_state)
        self.prior = Independent(Normal(zeros, torch.ones_like(zeros), validate_args=False), 1)
        self.q0 = self.best_diagonal if q0 is None else q0

    def log_joint(self, z: Tensor) -> Tensor:
        """See :meth:`Target.log_joint`."""
        px = Normal(z @ self.loadings.T, self.noise, validate_args=False)
        return px.log_prob(self.x).sum(dim=-1) + self.prior.log_prob(z)

    def select(self, cells: Tensor) -> LinearGaussianTarget:
        """See :meth:`Target.select`."""
        q0 = select_cells(self.q0, cells)
        return LinearGaussianTarget(self.x[cells], self.loadings, self.noise, q0)

    @cached_property
    def precision(self) -> Tensor:
        """Precision of every cell's posterior, shape ``(n_latent, n_latent)``."""
        identity = torch.eye(self.n_state, dtype=self.x.dtype)
        return identity + self.loadings.T @ self.loadings / self.noise**2

    @cached_property
    def posterior(self) -> MultivariateNormal:
        """The exact posterior, batch shape ``(n_cells,)``."""
        right = self.x @ self.loadings / self.noise**2
        loc = torch.linalg.solve(self.precision, right.T).T
        return MultivariateNormal(loc, precision_matrix=self.precision.expand(len(loc), -1, -1))

    @cached_property
    def best_diagonal(self) -> Independent:
        """The normal with a diagonal covariance that has the largest ELBO."""
        loc = self.posterior.loc
        scale = self.precision.diagonal().rsqrt().expand_as(loc)
        return Independent(Normal(loc, scale), 1)

    @cached_property
    def log_px(self) -> Tensor:
        """The exact log marginal likelihood, in nats, shape ``(n_cells,)``."""
        covariance = self.loadings @ self.loadings.T
        covariance = covariance + self.noise**2 * torch.eye(self.width, dtype=self.x.dtype)
        return MultivariateNormal(torch.zeros_like(self.x), covariance).log_prob(self.x)

    @property
    def amortization_gap(self) -> Tensor:
        """ELBO of the best diagonal normal above that of ``q0``, in nats, ``(n_cells,)``."""
        return self._gap(self.q0) - self.approximation_gap

    @property
    def approximation_gap(self) -> Tensor:
        """Log marginal likelihood above the best diagonal normal's ELBO, ``(n_cells,)``."""
        return self._gap(self.best_diagonal)

    def _gap(self, q: Distribution) -> Tensor:
        return kl_divergence(NormalPosterior.from_distribution(q).distribution, self.posterior)

"""Hamiltonian Monte Carlo on the path from a proposal to a target, for many chains at once."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.distributions import Distribution

from lucidvi.inference._target import Target


@dataclass(frozen=True)
class Point:
    """Where the chains are: all that the densities on the path need, at any temperature.

    Shapes are ``(n_chains, n_cells)``, those of ``z`` and of the gradients have ``n_latent``
    as a third axis.
    """

    z: Tensor
    log_start: Tensor
    log_joint: Tensor
    start_gradient: Tensor
    joint_gradient: Tensor

    def log_density(self, beta: float) -> Tensor:
        r"""Evaluate :math:`(1 - \beta) \log q(z) + \beta \log p(x, z)`."""
        return (1 - beta) * self.log_start + beta * self.log_joint

    def gradient(self, beta: float) -> Tensor:
        """Return the gradient of :meth:`log_density` by ``z``."""
        return (1 - beta) * self.start_gradient + beta * self.joint_gradient

    def where(self, condition: Tensor, other: Point) -> Point:
        """Return these points where the condition, ``(n_chains, n_cells)``, holds, else others."""
        values = {}
        for field in fields(Point):
            mine, theirs = getattr(self, field.name), getattr(other, field.name)
            mask = condition if mine.ndim == condition.ndim else condition.unsqueeze(-1)
            values[field.name] = torch.where(mask, mine, theirs)
        return Point(**values)


@dataclass(frozen=True)
class Path:
    r"""Geometric path :math:`q(z)^{1 - \beta} \, p(x, z)^{\beta}` and a walk along it.

    Parameters
    ----------
    target
        The end of the path.
    start
        The distribution :math:`q`, of batch shape ``(n_cells,)``.
    n_leapfrog
        Leapfrog steps of a transition.
    """

    target: Target
    start: Distribution
    n_leapfrog: int

    @property
    def metric(self) -> Tensor:
        """Factor of the start's covariance, in whose coordinates the steps are taken."""
        if hasattr(self.start, "scale_tril"):
            return self.start.scale_tril
        return self.start.stddev.diag_embed()

    def at(self, z: Tensor) -> Point:
        """Evaluate both ends of the path at ``z``, shape ``(n_chains, n_cells, n_latent)``."""
        log_joint, joint_gradient = self.target.evaluate_with_gradient(z)
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            log_start = self.start.log_prob(z)
            (start_gradient,) = torch.autograd.grad(log_start.sum(), z)
        return Point(z.detach(), log_start.detach(), log_joint, start_gradient, joint_gradient)

    def transition(self, point: Point, beta: float, step: Tensor) -> tuple[Point, Tensor]:
        r"""Move by one HMC transition that leaves the density at :math:`\beta` as it is.

        Parameters
        ----------
        point
            Where the chains are.
        beta
            Temperature, from 0 (start) to 1 (target).
        step
            Step size of each cell, in standard deviations of the start, shape ``(n_cells,)``.

        Returns
        -------
        The new points, and the probability of acceptance, ``(n_chains, n_cells)``.

        References
        ----------
        Neal, Handbook of Markov Chain Monte Carlo (2011), MCMC using Hamiltonian dynamics.
        """
        metric, size = self.metric, step.unsqueeze(-1)
        momentum = torch.randn_like(point.z)
        kinetic = momentum.square().sum(dim=-1) / 2
        moved = point
        for _ in range(self.n_leapfrog):
            momentum = momentum + size / 2 * _whitened(metric, moved.gradient(beta))
            moved = self.at(moved.z + size * torch.einsum("nij,snj->sni", metric, momentum))
            momentum = momentum + size / 2 * _whitened(metric, moved.gradient(beta))
        energy = moved.log_density(beta) - point.log_density(beta)
        log_ratio = energy + kinetic - momentum.square().sum(dim=-1) / 2
        acceptance = log_ratio.clamp(max=0).exp().nan_to_num(0.0)
        accepted = torch.rand_like(acceptance) < acceptance
        return moved.where(accepted, point), acceptance


def _whitened(metric: Tensor, gradient: Tensor) -> Tensor:
    return torch.einsum("nij,sni->snj", metric, gradient)

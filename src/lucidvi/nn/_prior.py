"""Prior p(z)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.distributions import Normal


class StandardNormal:
    r"""Prior :math:`z \sim \mathrm{Normal}(0, I)`."""

    def __call__(self, z: Tensor) -> Normal:
        """Prior of latent states of the shape of ``z``, ``(..., n_cells, n_latent)``."""
        return Normal(torch.zeros_like(z), torch.ones_like(z), validate_args=False)

    def kl(self, qz: Normal) -> Tensor:
        r"""Kullback-Leibler divergence of a posterior from the prior, in nats.

        .. math:: \tfrac{1}{2} \sum_k (\mu_k^2 + \sigma_k^2 - 1) - \log \sigma_k

        Parameters
        ----------
        qz
            Posterior, of batch shape ``(n_cells, n_latent)``.

        Returns
        -------
        Shape ``(n_cells,)``.
        """
        return _NormalKL.apply(qz.loc, qz.scale)


class _NormalKL(torch.autograd.Function):
    """In one node of the graph, since a training step's small operations add up."""

    @staticmethod
    def forward(ctx: Any, loc: Tensor, scale: Tensor) -> Tensor:
        ctx.save_for_backward(loc, scale)
        twice = torch.addcmul(loc.square(), scale, scale) - 1
        return twice.sub_(scale.log(), alpha=2).sum(dim=-1) / 2

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        loc, scale = ctx.saved_tensors
        gradient = gradient.unsqueeze(-1)
        return gradient * loc, gradient * (scale - scale.reciprocal())

"""Prior p(z)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Normal

from lucidvi.kernels import standard_normal_kl


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
        return standard_normal_kl(qz.loc, qz.scale)

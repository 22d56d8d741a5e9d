"""The standard normal prior."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Distribution, Normal

from lucidvi.kernels import standard_normal_kl
from lucidvi.nn._prior import Covariates, Encode, Prior


class StandardNormal(Prior):
    r"""Prior :math:`z \sim \mathrm{Normal}(0, I)`."""

    is_rotation_invariant = True
    is_standard_normal = True

    def forward(self, z: Tensor, covariates: Covariates, encode: Encode) -> Normal:
        """See :meth:`Prior.forward`."""
        return Normal(torch.zeros_like(z), torch.ones_like(z), validate_args=False)

    def kl(self, qz: Distribution, pz: Distribution, z: Tensor) -> Tensor:
        r"""See :meth:`Prior.kl`. Of a normal posterior it is.

        .. math:: \tfrac{1}{2} \sum_k (\mu_k^2 + \sigma_k^2 - 1) - \log \sigma_k
        """
        if type(qz) is Normal:
            return standard_normal_kl(qz.loc, qz.scale)
        return super().kl(qz, pz, z)

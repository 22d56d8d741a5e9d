"""The objective that lets each dimension say a little for nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from scvi.module.base import LossOutput
from torch import Tensor
from torch.distributions import Distribution, Normal, kl_divergence

from lucidvi._ranks import mean_of_all
from lucidvi.data import Minibatch
from lucidvi.errors import DataError
from lucidvi.module import KL_Z
from lucidvi.train.objectives._objective import Objective, Step


@dataclass(frozen=True)
class FreeBits(Objective):
    r"""Negative ELBO with a KL term that costs nothing up to a floor a dimension.

    .. math::
        -\mathrm{E}_q[\log p(x \mid z)]
        + w \sum_k \max\left(\lambda, \overline{\mathrm{KL}}_k\right)

    with :math:`\overline{\mathrm{KL}}_k`, the KL of dimension :math:`k` averaged over the
    minibatch, the floor :math:`\lambda` (``nats``) and the weight :math:`w` of the KL term. A
    dimension below the floor gets no gradient of the KL term.

    Dimensions have a KL of their own where posterior and prior are independent normals: with the
    diagonal posterior and the prior ``"standard_normal"`` or ``"conditional"``. Otherwise all are
    one group, whose KL has the floor :math:`\lambda` times their number, which cannot tell whether
    one dimension says it all.

    The terms that are recorded (``elbo_train``, ``kl_local_train``) and the loss of the
    validation cells are those of the ELBO, without a floor.

    Parameters
    ----------
    nats
        Floor of a dimension.

    References
    ----------
    Kingma et al., NIPS (2016), Improved variational inference with inverse autoregressive flow.
    """

    nats: float = 0.5

    def __post_init__(self) -> None:
        """Check the floor."""
        if not 0 <= self.nats < math.inf:
            raise DataError(
                f"`free_bits` is {self.nats}; it is the KL in nats that a dimension has for "
                "nothing, zero or more (0.1 to 1 is usual).",
                remedy='model.train(plan_kwargs={"free_bits": 0.5})',
            )

    def __call__(self, step: Step, minibatch: Minibatch) -> tuple[dict[str, Any], LossOutput]:
        """See :meth:`Objective.__call__`."""
        inference, generative, losses = step.forward(minibatch, loss_kwargs=step.loss_kwargs)
        passed = step.plain_module.read(minibatch, inference, generative)
        qz, pz = passed.posterior.latent, passed.prior.latent
        kl, floor = grouped_kl(qz, pz, losses.kl_local[KL_Z])
        kl = mean_of_all(kl, len(losses.kl_local[KL_Z]))
        missing = (self.nats * floor - kl).clamp(min=0).sum()
        losses.loss = losses.loss + step.loss_kwargs.get("kl_weight", 1.0) * missing
        return generative, losses


def grouped_kl(qz: Distribution, pz: Distribution, kl_z: Tensor) -> tuple[Tensor, Tensor]:
    """Mean KL over the cells of each group of dimensions, and how many each group has.

    Parameters
    ----------
    qz, pz
        Posterior and prior of the cells.
    kl_z
        KL of each cell, nats, shape ``(n_cells,)``.

    Returns
    -------
    Each of shape ``(n_latent,)`` where dimensions are independent, or ``(1,)``.
    """
    if type(qz) is Normal and type(pz) is Normal:
        kl = kl_divergence(qz, pz).mean(dim=0)
        return kl, torch.ones_like(kl)
    n_latent = qz.batch_shape[-1] if not qz.event_shape else qz.event_shape[-1]
    return kl_z.mean().reshape(1), kl_z.new_full((1,), float(n_latent))

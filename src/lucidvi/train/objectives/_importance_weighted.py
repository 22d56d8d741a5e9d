"""The importance-weighted objective."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from scvi.module.base import LossOutput
from torch import Tensor
from torch.distributions import Distribution

from lucidvi.data import Minibatch
from lucidvi.errors import DataError
from lucidvi.module import loss_output
from lucidvi.nn import log_density, stop_gradient
from lucidvi.train.objectives._objective import Objective, Step


@dataclass(frozen=True)
class ImportanceWeighted(Objective):
    r"""Importance-weighted bound, with the doubly reparameterized gradient.

    .. math::
        \mathcal{L} = \log \frac{1}{K} \sum_{k=1}^{K} w_k, \quad
        \log w_k = \log p(x \mid z_k) + \beta \log \frac{p(z_k)}{q(z_k \mid x)}, \quad
        z_k \sim q(z \mid x)

    with the weight :math:`\beta` of the KL term. With the normalized weights
    :math:`\tilde w_k`, its gradient is

    .. math::
        \nabla_\theta \mathcal{L} &= \sum_k \tilde w_k \nabla_\theta \log w_k \\
        \nabla_\phi \mathcal{L} &= \sum_k \left((1 - \beta) \tilde w_k + \beta \tilde w_k^2\right)
            \frac{\partial \log w_k}{\partial z_k} \nabla_\phi z_k

    by the generative model's weights :math:`\theta` and the encoder's :math:`\phi`; the second
    does not lose its signal as :math:`K` grows.

    Parameters
    ----------
    n_samples
        Draws :math:`K` of a cell, at least two.

    References
    ----------
    Burda et al., ICLR (2016), Importance weighted autoencoders. Tucker et al., ICLR (2019),
    Doubly reparameterized gradient estimators for Monte Carlo objectives.
    """

    n_samples: int = 5

    def __post_init__(self) -> None:
        """Check the number of draws."""
        if self.n_samples < 2:
            raise DataError(
                f"`n_samples` of the importance-weighted objective is {self.n_samples}; it must "
                "be at least 2. With one draw it is the ELBO.",
                remedy='plan_kwargs={"objective": "elbo"}, or "iwae" for five draws.',
            )

    def __call__(self, step: Step, minibatch: Minibatch) -> tuple[dict[str, Any], LossOutput]:
        """See :meth:`Objective.__call__`."""
        inference, generative = step.forward(
            minibatch, inference_kwargs={"n_samples": self.n_samples}, compute_loss=False
        )
        beta = float(step.loss_kwargs.get("kl_weight", 1.0))
        passed = step.plain_module.read(minibatch, inference, generative)
        q, p = passed.posterior, passed.prior
        log_px_z = step.plain_module.log_likelihoods(passed)
        kl_z = _divergence(q.latent, p.latent, passed.z)
        log_weights, kl_l = step.plain_module.weighted(log_px_z) - beta * kl_z, 0 * kl_z
        drawn = [(passed.z, beta)]
        if q.log_exposures is not None:
            kl_l = _divergence(q.log_exposures, p.log_exposures, passed.log_exposures)
            log_weights = log_weights - kl_l
            drawn.append((passed.log_exposures, 1.0))
        shares = log_weights.detach().softmax(dim=0)
        for latent, weight in drawn:
            _scale_gradient(latent, (1 - weight) + weight * shares)
        bound = log_weights.detach().logsumexp(dim=0) - math.log(self.n_samples)
        # The bound's value, with the gradient of the weights' mean.
        surrogate = (shares * log_weights).sum(dim=0)
        losses = loss_output(
            -(surrogate + (bound - surrogate).detach()).mean(),
            {key: value.mean(dim=0) for key, value in log_px_z.items()},
            kl_z.mean(dim=0),
            kl_l.mean(dim=0),
        )
        return generative, losses


def _divergence(q: Distribution, p: Distribution, latent: Tensor) -> Tensor:
    """Log ratio of the posterior, with its parameters fixed, and the prior, at the draws."""
    return log_density(stop_gradient(q), latent) - log_density(p, latent)


def _scale_gradient(latent: Tensor, factor: Tensor) -> None:
    """Multiply the gradient that draws hand on to the encoder, by ``(n_samples, n_cells)``."""
    if latent.requires_grad:  # not where the encoder is frozen
        latent.register_hook(lambda gradient: gradient * factor.unsqueeze(-1))

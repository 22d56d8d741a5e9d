"""Negative binomial likelihood."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import scvi.distributions
import torch
from torch import Tensor
from torch.distributions import constraints

from lucidvi.distributions._base import LOG_THETA_BOUND, CountLikelihood, draw_poisson, missing


class NegativeBinomial(CountLikelihood, scvi.distributions.NegativeBinomial):
    r"""Negative binomial with mean :math:`\mu` and inverse dispersion :math:`\theta`.

    .. math::
        \log p(x) = \log\Gamma(x + \theta) - \log\Gamma(\theta) - \log\Gamma(x + 1)
            + x \log\frac{\mu}{\theta + \mu} - \theta \log\left(1 + \frac{\mu}{\theta}\right)

    so that the variance is :math:`\mu + \mu^2 / \theta`.

    Parameters
    ----------
    logits, log_library, log_scale
        The mean, see :class:`CountLikelihood`.
    log_theta
        Log inverse dispersion, of a shape that broadcasts to ``(..., n_cells, n_genes)``.
        Clamped to ``[-20, 20]``.

    References
    ----------
    Lopez et al., Nature Methods 15 (2018), Deep generative modeling for single-cell
    transcriptomics.
    """

    family: ClassVar[str] = "nb"
    parameters: ClassVar[tuple[str, ...]] = ("log_theta",)
    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {
        "log_scale": constraints.real,
        "log_library": constraints.real,
        "log_theta": constraints.real,
    }

    def __init__(
        self,
        logits: Tensor | None = None,
        log_library: Tensor | None = None,
        log_theta: Tensor | None = None,
        *,
        log_scale: Tensor | None = None,
    ) -> None:
        super().__init__(logits, log_library, log_scale=log_scale)
        if log_theta is None:
            raise missing("log_theta")
        self._log_theta = log_theta.clamp(-LOG_THETA_BOUND, LOG_THETA_BOUND)

    @property
    def log_theta(self) -> Tensor:
        """Log inverse dispersion, shape ``(..., n_cells, n_genes)``."""
        return self._log_theta.expand(self.log_mu.shape)

    @property
    def theta(self) -> Tensor:
        """Inverse dispersion, linear, shape ``(..., n_cells, n_genes)``."""
        return self._log_theta.exp().expand(self.log_mu.shape)

    def likelihood_parameters(self) -> dict[str, Tensor]:
        """Mean and inverse dispersion, linear."""
        return {**super().likelihood_parameters(), "dispersions": self.theta}

    @property
    def _shape_parameters(self) -> tuple[Tensor, ...]:
        return (self._log_theta,)

    @torch.inference_mode()
    def sample(self, sample_shape: Sequence[int] | None = None) -> Tensor:
        """Draw counts as a Poisson with a gamma distributed rate.

        Parameters
        ----------
        sample_shape
            Leading shape of the draws.

        Returns
        -------
        Counts, float, shape ``(*sample_shape, ..., n_cells, n_genes)``; rates above 1e8 are
        drawn from at 1e8.
        """
        shape = torch.Size(sample_shape or ()) + self.log_mu.shape
        theta = self.theta.expand(shape)
        place = torch.device("cpu") if theta.device.type == "mps" else theta.device
        gamma = torch._standard_gamma(theta.to(place)).to(theta.device)
        # On the log scale, since a small shape makes gamma variates that underflow.
        return draw_poisson((gamma.log() + self.log_mu - self._log_theta).exp())

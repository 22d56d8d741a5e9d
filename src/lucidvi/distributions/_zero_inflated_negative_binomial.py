"""Zero-inflated negative binomial likelihood."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import scvi.distributions
import torch
from torch import Tensor
from torch.distributions import constraints

from lucidvi.distributions._base import missing
from lucidvi.distributions._negative_binomial import NegativeBinomial


class ZeroInflatedNegativeBinomial(
    NegativeBinomial, scvi.distributions.ZeroInflatedNegativeBinomial
):
    r"""Negative binomial that is replaced by a zero with probability :math:`\pi`.

    .. math::
        \log p(0) &= \log(\pi + (1 - \pi)\,\mathrm{NB}(0)) \\
        \log p(x) &= \log(1 - \pi) + \log \mathrm{NB}(x), \quad x > 0

    Parameters
    ----------
    logits, log_library, log_theta, log_scale
        See :class:`NegativeBinomial`.
    zi_logits
        Log odds of :math:`\pi`, of a shape that broadcasts to ``(..., n_cells, n_genes)``.

    References
    ----------
    Lopez et al., Nature Methods 15 (2018), Deep generative modeling for single-cell
    transcriptomics.
    """

    family: ClassVar[str] = "zinb"
    parameters: ClassVar[tuple[str, ...]] = ("log_theta", "zi_logits")
    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {
        **NegativeBinomial.arg_constraints,
        "zi_logits": constraints.real,
    }

    def __init__(
        self,
        logits: Tensor | None = None,
        log_library: Tensor | None = None,
        log_theta: Tensor | None = None,
        zi_logits: Tensor | None = None,
        *,
        log_scale: Tensor | None = None,
    ) -> None:
        super().__init__(logits, log_library, log_theta, log_scale=log_scale)
        if zi_logits is None:
            raise missing("zi_logits")
        self.zi_logits = zi_logits

    @property
    def variance(self) -> Tensor:
        r""":math:`(1 - \pi) \mu (1 + \mu / \theta + \pi \mu)`, linear."""
        mu = self.mu
        return (1 - self.zi_probs) * mu * (1 + mu / self.theta + self.zi_probs * mu)

    def likelihood_parameters(self) -> dict[str, Tensor]:
        """Mean and inverse dispersion before inflation, and the probability of inflation."""
        return {**super().likelihood_parameters(), "dropout": self.zi_probs}

    @property
    def _shape_parameters(self) -> tuple[Tensor, ...]:
        return (self._log_theta, self.zi_logits)

    @torch.inference_mode()
    def sample(self, sample_shape: Sequence[int] | None = None) -> Tensor:
        """Draw counts, see :meth:`NegativeBinomial.sample`, and set them to zero by chance."""
        counts = super().sample(sample_shape)
        return counts.masked_fill_(torch.rand_like(counts) <= self.zi_probs, 0.0)

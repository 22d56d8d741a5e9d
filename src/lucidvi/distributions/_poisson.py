"""Poisson likelihood."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import scvi.distributions
import torch
from torch import Tensor
from torch.distributions import constraints

from lucidvi.distributions._base import CountLikelihood, draw_poisson


class Poisson(CountLikelihood, scvi.distributions.Poisson):
    r"""Poisson with mean :math:`\mu`.

    .. math:: \log p(x) = x \log\mu - \mu - \log\Gamma(x + 1)

    Parameters
    ----------
    logits, log_library, log_scale
        The mean, see :class:`CountLikelihood`.
    """

    family: ClassVar[str] = "poisson"
    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {
        "log_scale": constraints.real,
        "log_library": constraints.real,
    }

    @property
    def rate(self) -> Tensor:
        """The mean (linear), under the name that torch gives it."""
        return self.mu

    @torch.inference_mode()
    def sample(self, sample_shape: Sequence[int] | None = None) -> Tensor:
        """Draw counts, float, shape ``(*sample_shape, ..., n_cells, n_genes)``.

        Rates above 1e8 are drawn from at 1e8.
        """
        shape = torch.Size(sample_shape or ()) + self.log_mu.shape
        return draw_poisson(self.rate.expand(shape))

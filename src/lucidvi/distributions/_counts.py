"""What likelihoods of counts share: fused log likelihoods, from the terms of zeros and counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.distributions import constraints

from lucidvi import kernels
from lucidvi.distributions._likelihood import Likelihood
from lucidvi.distributions._nonzero import sample_nonzero

#: Largest Poisson rate that is drawn from; float32 has no exact integers of this size.
RATE_MAX = 1e8


class CountLikelihood(Likelihood):
    r"""Likelihood of counts.

    A family states :attr:`at_zero` and :attr:`at_count`. Most counts are zeros, and
    :math:`\log p(0)` needs no gamma function, so the two are evaluated apart. Where the device has
    a compiled kernel for the family (:mod:`lucidvi.kernels`), that is used in their place.
    """

    is_counts: ClassVar[bool] = True
    #: Log probability of a zero, in nats, from the log mean and :attr:`parameters`.
    at_zero: ClassVar[Callable[..., Tensor]]
    #: Log probability of counts, in nats, from the counts, the log mean and :attr:`parameters`,
    #: all float64 and of one shape.
    at_count: ClassVar[Callable[..., Tensor]]
    #: Ratio of the probability of a count plus one to that of the count, for counts from 1 on,
    #: from what :attr:`at_count` takes; draws are faster with it, and right without.
    growth: ClassVar[Callable[..., Tensor] | None] = None
    support = constraints.nonnegative_integer

    def log_likelihood(self, x: Tensor) -> Tensor:
        """Sum of :meth:`log_prob` over the genes, in nats, shape ``(..., n_cells)``.

        Computed by the fused kernel of the device, with its gradients.

        Parameters
        ----------
        x
            Counts (linear), CSR of shape ``(n_cells, n_genes)``, or as in :meth:`log_prob`.
        """
        log_mean, log_library, softmax = self._unnormalized, self.log_library, self._softmax
        if self._log_mean is not None:
            log_mean, log_library, softmax = self._log_mean, torch.zeros_like(log_library), False
        return kernels.log_likelihood(
            type(self), log_mean, log_library, x, *self.parameter_values, softmax=softmax
        )

    def log_prob(self, value: Tensor) -> Tensor:
        """Log probability of each count, in nats, shape ``(..., n_cells, n_genes)``.

        Parameters
        ----------
        value
            Counts (linear), dense, of a shape that broadcasts with the parameters', or CSR.
        """
        return kernels.log_prob(type(self), value, self.log_mean, *self.parameter_values)

    @torch.inference_mode()
    def sample_nonzero(self) -> tuple[Tensor, Tensor, Tensor]:
        """See :meth:`Likelihood.sample_nonzero`; see :mod:`lucidvi.distributions._nonzero`."""
        return sample_nonzero(self)

    def cumulative(self, x: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """See :meth:`Likelihood.cumulative`; probabilities up to each count are added up."""
        shape = (self.log_mean + x).shape
        tensors = [t.expand(shape).flatten() for t in (self.log_mean, *self.parameter_values)]
        counts = x.expand(shape).flatten().double()
        below, at_most = torch.zeros_like(counts), torch.zeros_like(counts)
        left = torch.arange(len(counts), device=counts.device)
        for count in range(int(counts.max()) + 1):
            left = left[counts[left] >= count]
            some = [tensor[left].double() for tensor in tensors]
            term = self.at_count(torch.full_like(some[0], count), *some).exp()
            at_most[left] += term
            below[left] += torch.where(counts[left] > count, term, 0.0)
        return tuple(  # type: ignore[return-value]
            part.clamp(max=1.0).reshape(shape).cpu().numpy() for part in (below, at_most)
        )


def draw_poisson(rate: Tensor) -> Tensor:
    """Draw counts, of rates up to ``RATE_MAX``; on the CPU where the device cannot (MPS)."""
    place = torch.device("cpu") if rate.device.type == "mps" else rate.device
    return torch.poisson(rate.clamp(max=RATE_MAX).to(place)).to(rate.device)


def to_numpy(tensor: Tensor, shape: torch.Size | None = None) -> np.ndarray:
    """Return a tensor as a float64 array, of a shape that it broadcasts to."""
    array = tensor.detach().cpu().double().numpy()
    return array if shape is None else np.broadcast_to(array, shape)

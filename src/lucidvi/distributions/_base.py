"""What all count likelihoods share: a mean held in log space, exact terms at the non-zeros."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

#: Bounds of ``log_theta``. Above, the negative binomial is a Poisson to eight digits; below, a
#: spike at zero. Its gradient is zero to float32 either way.
LOG_THETA_BOUND = 20.0

#: Largest ``log_mu`` that is exponentiated, a mean of 1e13 counts. Sums of such means over genes
#: and cells, and the squares of their gradients that Adam keeps, are still float32 numbers.
LOG_MU_MAX = 30.0

#: Largest Poisson rate that is drawn from; float32 has no exact integers of this size.
RATE_MAX = 1e8


class CountLikelihood(Distribution):
    r"""Likelihood of counts whose mean is held as logarithms.

    The mean is :math:`\mu = \ell \, \rho`, with the exposure (library) :math:`\ell` of the cell
    and its normalized expression :math:`\rho = \mathrm{softmax}(\mathrm{logits})`. All of it is
    kept and combined as logarithms, so neither a rare gene nor a deep cell leaves the range of
    float32.

    Most counts are zeros, and :math:`\log p(0)` needs no gamma function. So it is computed
    densely in the parameters' precision, and :math:`\log p(x)` at the non-zero counts alone, in
    float64: differences of log-gamma functions lose all digits in float32 once their arguments
    reach 1e6.

    Parameters
    ----------
    logits
        Unnormalized log expression, shape ``(..., n_cells, n_genes)``.
    log_library
        Log exposure, shape ``(..., n_cells, 1)``.
    log_scale
        Log normalized expression, shape ``(..., n_cells, n_genes)``, in place of ``logits``
        where it is not a softmax.

    Raises
    ------
    ValueError
        If not exactly one of ``logits`` and ``log_scale`` is given.
    """

    #: Names of the parameters besides the mean that the decoder has to provide.
    parameters: ClassVar[tuple[str, ...]] = ()
    support = constraints.nonnegative_integer

    def __init__(
        self,
        logits: Tensor | None = None,
        log_library: Tensor | None = None,
        *,
        log_scale: Tensor | None = None,
    ) -> None:
        self.log_scale, log_library = log_mean_parts(logits, log_library, log_scale)
        # One for each draw, so that parameters can be joined along the axis of the cells.
        self.log_library = log_library.expand(*self.log_scale.shape[:-1], 1)
        self.log_mu = self.log_scale + self.log_library
        Distribution.__init__(self, batch_shape=self.log_mu.shape, validate_args=False)

    @property
    def scale(self) -> Tensor:
        """Normalized expression, linear, shape ``(..., n_cells, n_genes)``."""
        return self.log_scale.exp()

    @property
    def mu(self) -> Tensor:
        """Mean of the counts before zero inflation, linear, ``(..., n_cells, n_genes)``."""
        return self.log_mu.clamp(max=LOG_MU_MAX).exp()

    @mu.setter
    def mu(self, mu: Tensor) -> None:
        # scvi-tools' importance weights put another cell's exposure into a stored distribution.
        self.log_mu = mu.log()

    def get_normalized(self, key: str) -> Tensor:
        """Return ``mu`` or ``scale`` (linear) by name, as scvi-tools' mixins ask for them."""
        if key not in ("mu", "scale"):
            raise ValueError(f"`key` is {key!r}; it must be 'mu' or 'scale'.")
        return getattr(self, key)

    def likelihood_parameters(self) -> dict[str, Tensor]:
        """Parameters by the names of ``get_likelihood_parameters``, linear."""
        return {"mean": self.mu}

    def log_likelihood(self, x: Tensor) -> Tensor:
        """Sum of :meth:`log_prob` over the genes, in nats, shape ``(..., n_cells)``."""
        return self.log_prob(x).sum(dim=-1)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log probability of each count, in nats, shape ``(..., n_cells, n_genes)``.

        Parameters
        ----------
        value
            Counts (linear), dense, of a shape that broadcasts with the parameters'.
        """
        value, at_zero = torch.broadcast_tensors(value, self._log_prob_zero())
        index = value.nonzero(as_tuple=True)
        at_counts = self._log_prob_count(value[index], index)
        return at_zero.index_put(index, at_counts.to(at_zero.dtype))

    @abstractmethod
    def _log_prob_zero(self) -> Tensor:
        """Log probability of a zero, shape ``(..., n_cells, n_genes)``."""

    @abstractmethod
    def _log_prob_count(self, count: Tensor, index: tuple[Tensor, ...]) -> Tensor:
        """Log probability of ``count``, shape ``(n_counts,)``, at the places ``index``."""


def draw_poisson(rate: Tensor) -> Tensor:
    """Draw counts, of rates up to ``RATE_MAX``; on the CPU where the device cannot (MPS)."""
    place = torch.device("cpu") if rate.device.type == "mps" else rate.device
    return torch.poisson(rate.clamp(max=RATE_MAX).to(place)).to(rate.device)


def log_mean_parts(
    logits: Tensor | None, log_library: Tensor | None, log_scale: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Log normalized expression and log exposure, however the mean was given."""
    if log_library is not None and (logits is None) != (log_scale is None):
        if logits is not None:
            return logits.log_softmax(dim=-1), log_library
        if log_scale is not None:
            return log_scale, log_library
    raise ValueError("Give `log_library` and exactly one of `logits` and `log_scale`.")


def take(parameter: Tensor, index: tuple[Tensor, ...]) -> Tensor:
    """Entries of a parameter at the places of a tensor that it broadcasts to, in float64.

    Parameters
    ----------
    parameter
        Tensor of a shape that broadcasts to that of the tensor indexed.
    index
        One index a dimension of that tensor, each of shape ``(n,)``.

    Returns
    -------
    Shape ``(n,)``; float64 where the device has it (MPS has not).
    """
    own = index[len(index) - parameter.ndim :]
    own = tuple(
        i if size > 1 else torch.zeros_like(i)
        for i, size in zip(own, parameter.shape, strict=True)
    )
    entries = parameter[own]
    return entries if entries.device.type == "mps" else entries.double()

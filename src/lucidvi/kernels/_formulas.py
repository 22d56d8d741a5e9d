"""Log probabilities of a zero and of a count, in plain torch: the reference of all kernels.

Most counts are zeros, and log p(0) needs no gamma function. So it is computed densely in the
parameters' precision, and log p(x) at the non-zero counts alone, in float64: differences of
log-gamma functions lose all digits in float32 once their arguments reach 1e6.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

from lucidvi.kernels._csr import is_csr, row_index

#: Largest ``log_mu`` that is exponentiated, a mean of 1e13 counts. Sums of such means over genes
#: and cells, and the squares of their gradients that Adam keeps, are still float32 numbers.
LOG_MU_MAX = 30.0


def poisson_zero(log_mu: Tensor) -> Tensor:
    """``-mu``."""
    return -log_mu.clamp(max=LOG_MU_MAX).exp()


def poisson_count(x: Tensor, log_mu: Tensor) -> Tensor:
    """``x log mu - mu - log x!``."""
    log_mu = log_mu.clamp(max=LOG_MU_MAX)
    return x * log_mu - log_mu.exp() - torch.lgamma(x + 1)


def nb_zero(log_mu: Tensor, log_theta: Tensor) -> Tensor:
    """``-theta log(1 + mu / theta)``."""
    return -log_theta.exp() * softplus(log_mu - log_theta)


def nb_count(x: Tensor, log_mu: Tensor, log_theta: Tensor) -> Tensor:
    """``log(Gamma(x + theta) / Gamma(theta) x!) + x log(mu / (theta + mu)) + log p(0)``."""
    theta = log_theta.exp()
    return (
        torch.lgamma(x + theta)
        - torch.lgamma(theta)
        - torch.lgamma(x + 1)
        + x * (log_mu - torch.logaddexp(log_theta, log_mu))
        - theta * softplus(log_mu - log_theta)
    )


def poisson_growth(x: Tensor, log_mu: Tensor) -> Tensor:
    """``p(x + 1) / p(x) = mu / (x + 1)``."""
    return log_mu.exp() / (x + 1)


def nb_growth(x: Tensor, log_mu: Tensor, log_theta: Tensor, *_: Tensor) -> Tensor:
    """``p(x + 1) / p(x) = (x + theta) / (x + 1) mu / (mu + theta)``.

    Of counts above zero it is also that of a zero-inflated one.
    """
    return (x + log_theta.exp()) / (x + 1) * torch.sigmoid(log_mu - log_theta)


def zinb_zero(log_mu: Tensor, log_theta: Tensor, zi_logits: Tensor) -> Tensor:
    """``log(pi + (1 - pi) NB(0))``, with log odds of inflation ``zi_logits``."""
    return softplus(nb_zero(log_mu, log_theta) - zi_logits) + logsigmoid(zi_logits)


def zinb_count(x: Tensor, log_mu: Tensor, log_theta: Tensor, zi_logits: Tensor) -> Tensor:
    """``log(1 - pi) + log NB(x)``."""
    return nb_count(x, log_mu, log_theta) + logsigmoid(-zi_logits)


class Family(Protocol):
    """A family of distributions of counts, as kernels see it; a class or an object."""

    #: Its name, by which kernels know whether they have compiled code for it.
    family: str

    #: Log probability of a zero, from the log mean and the other parameters.
    at_zero: Callable[..., Tensor]
    #: Log probability of counts, from these and the parameters, float64 and of one shape.
    at_count: Callable[..., Tensor]


def log_prob(family: Family, x: Tensor, log_mu: Tensor, *parameters: Tensor) -> Tensor:
    """Log probability of each count, in nats.

    Parameters
    ----------
    family
        What states the two formulas.
    x
        Counts (linear): dense, of a shape that broadcasts with that of ``log_mu``, or CSR,
        ``(n_cells, n_genes)``.
    log_mu
        Log mean, shape ``(..., n_cells, n_genes)``.
    *parameters
        Further parameters that the family needs, broadcasting with ``log_mu``.

    Returns
    -------
    Shape ``(..., n_cells, n_genes)``.
    """
    log_prob = family.at_zero(log_mu, *parameters)
    if is_csr(x):
        index: tuple[Tensor, ...] = (row_index(x), x.col_indices())
        counts = x.values()
    else:
        x, log_prob = torch.broadcast_tensors(x, log_prob)
        index = x.nonzero(as_tuple=True)
        counts = x[index]
    taken = [take(parameter, index) for parameter in (log_mu, *parameters)]
    counts = counts.to(taken[0].dtype)
    at_counts = family.at_count(counts, *taken)
    if is_csr(x):  # zeros may be stored, too
        at_counts = torch.where(counts == 0, family.at_zero(*taken), at_counts)
    log_prob = log_prob.clone()
    everywhere: Any = (..., *index)
    log_prob[everywhere] = at_counts.to(log_prob.dtype)
    return log_prob


def take(parameter: Tensor, index: tuple[Tensor, ...]) -> Tensor:
    """Entries of a parameter at the places of a tensor that it broadcasts to, in float64.

    Parameters
    ----------
    parameter
        Tensor of a shape that broadcasts to that of the tensor indexed.
    index
        One index for each of that tensor's last dimensions, each of shape ``(n,)``.

    Returns
    -------
    Shape ``(..., n)``; float64 where the device has it (MPS has not).
    """
    own = index[max(0, len(index) - parameter.ndim) :]
    sizes = parameter.shape[parameter.ndim - len(own) :]
    places = [i if n > 1 else torch.zeros_like(i) for i, n in zip(own, sizes, strict=True)]
    everywhere: Any = (..., *places)
    entries = parameter[everywhere]
    return entries if entries.device.type == "mps" else entries.double()

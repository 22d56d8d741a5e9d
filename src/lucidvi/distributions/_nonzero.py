r"""Draws of counts of which most are zero: which ones are not, and then how large these are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lucidvi import kernels

#: Steps between the numbers that ``torch.rand`` draws in float32.
RESOLUTION = 2.0**-24
#: Largest mean whose counts are found one after the other, from 1 on.
SMALL_MEAN = 4.0
#: Probability, as a share of that of a count, which is left aside: below the digits of float64.
NOTHING_LEFT = 1e-17


def sample_nonzero(likelihood: Any) -> tuple[Tensor, Tensor, Tensor]:
    r"""Draw counts, and return those that are not zero.

    With a uniform :math:`u`, a count is zero unless :math:`u < 1 - p(0)`. Otherwise it is, by
    inversion, the smallest :math:`k` with :math:`p(1) + \dots + p(k) > u`. Since counts are whole
    numbers, :math:`1 - p(0) \le \mu`. So what is done for all entries is to compare :math:`u` with
    the mean; probabilities are evaluated at those few where it is below.

    Parameters
    ----------
    likelihood
        A :class:`~lucidvi.distributions.CountLikelihood` of shape ``(n_cells, n_genes)``.

    Returns
    -------
    Cells and genes of the counts that are not zero, and these, each of shape ``(n,)``, by cells.
    """
    mean = likelihood.mu
    u = torch.rand_like(mean)
    index = _places(u <= mean)
    # Its further digits decide where `u` is within a step of the probability.
    u = u[index].double()
    u += RESOLUTION * torch.rand_like(u)
    taken = [kernels.take(values, index) for values in likelihood.parameter_values]
    taken.insert(0, mean[index].double().log())
    rows, columns, u, *taken = _kept(
        u < -torch.expm1(likelihood.at_zero(*taken)), (*index, u, *taken)
    )
    counts = torch.empty_like(u)
    small = taken[0].exp() <= SMALL_MEAN
    for some, draw in ((small, _by_inversion), (~small, _by_rejection)):
        place, *values = _kept(some, (torch.arange(len(u), device=u.device), u, *taken))
        if len(place):
            counts[place] = draw(likelihood, values[0], values[1:])
    return rows, columns, counts.to(mean.dtype)


def _kept(mask: Tensor, values: Sequence[Tensor]) -> list[Tensor]:
    """Return the entries of several tensors where a mask holds, which is looked at once."""
    place = mask.nonzero().squeeze(1)
    return [tensor.index_select(0, place) for tensor in values]


def _places(mask: Tensor) -> tuple[Tensor, ...]:
    """Rows and columns where a mask holds; numpy finds few of many places faster."""
    if mask.device.type != "cpu":
        return mask.nonzero(as_tuple=True)
    rows, columns = np.divmod(np.flatnonzero(mask.numpy()), mask.shape[1])
    return torch.from_numpy(rows), torch.from_numpy(columns)


def _by_inversion(likelihood: Any, u: Tensor, parameters: list[Tensor]) -> Tensor:
    """Find counts from 1 on, for ``u`` between 0 and the probability of these."""
    counts = torch.ones_like(u)
    left, mean, count = torch.arange(len(u), device=u.device), parameters[0].exp(), 1
    probability = likelihood.at_count(torch.ones_like(u), *parameters).exp()
    total = probability
    while True:
        is_past_mean = mean < count
        further = (u >= total) & ~((probability <= NOTHING_LEFT * total) & is_past_mean)
        values = (left, u, total, mean, probability, *parameters)
        left, u, total, mean, probability, *parameters = _kept(further, values)
        if len(left) == 0:
            return counts
        last, count = torch.full_like(u, count), count + 1
        if likelihood.growth is None:
            probability = likelihood.at_count(last + 1, *parameters).exp()
        else:
            probability = probability * likelihood.growth(last, *parameters)
        total = total + probability
        counts[left] = count


def _by_rejection(likelihood: Any, u: Tensor, parameters: list[Tensor]) -> Tensor:
    """Draw counts until they are above zero."""
    counts = torch.zeros_like(u)
    left = torch.arange(len(u), device=u.device)
    names = list(likelihood.parameters)
    while len(left):
        log_mean, *others = (values[left].unsqueeze(0) for values in parameters)
        px = type(likelihood)(
            log_scale=log_mean,
            log_library=torch.zeros_like(log_mean[:, :1]),
            **dict(zip(names, others, strict=True)),
        )
        counts[left] = px.sample().squeeze(0)
        left = left[counts[left] == 0]
    return counts

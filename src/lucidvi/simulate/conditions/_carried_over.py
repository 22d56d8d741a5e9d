"""Counts of the same cells under another expectation, with the noise that they had."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lucidvi.distributions import Likelihood

#: Below this a mean is zero, so that ratios are finite.
MEAN_MIN = 1e-30


def carried_over(x: Tensor, before: Likelihood, after: Likelihood) -> Tensor:
    r"""Change observed counts as far as the expectation changes, and no further.

    A count is a Poisson draw of a rate :math:`\lambda`, gamma distributed under a negative
    binomial. What is known of it, :math:`p(\lambda \mid x)`, is kept, and the rate is multiplied
    by the ratio of the means :math:`r = \mu^\text{after} / \mu^\text{before}`:

    .. math::
        x' \mid x &\sim \mathrm{Binomial}(x, r), & r \le 1 \\
        x' \mid x &= x + \mathrm{Poisson}((r - 1) \lambda), \quad \lambda \sim p(\lambda \mid x),
            & r > 1

    If ``x`` is a draw from ``before``, ``x'`` is a draw of the same family with the mean of
    ``after`` and the inverse dispersion of ``before``. If the means are equal, it is ``x``.

    Parameters
    ----------
    x
        Counts, dense, shape ``(n_cells, n_genes)``.
    before, after
        Their likelihood, and the one to carry them over to, of the same shape. Of a zero-inflated
        one the inflation enters through the mean.
    """
    ratio = after.mean / before.mean.clamp(min=MEAN_MIN)
    added = before.further(x, torch.ones_like(x[:, :1]))
    added = added.scaled((ratio - 1).clamp(min=0).log())
    return torch.binomial(x, ratio.clamp(max=1)) + added.sample()


def drawn_anew(x: Tensor, before: Likelihood, after: Likelihood) -> Tensor:
    """Draw counts of ``after``, whatever was observed."""
    return after.sample()


#: The values of ``noise``.
NOISE: dict[str, Callable[[Tensor, Likelihood, Likelihood], Tensor]] = {
    "kept": carried_over,
    "new": drawn_anew,
}

"""Prior of the latent library size: of small batches, with what the others tell."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scvi import REGISTRY_KEYS

from lucidvi._compat import init_library_size
from lucidvi.errors import UnknownModeError

#: Cells from which on a batch's own variance is taken as it is.
ENOUGH_CELLS = 10
#: Share of the counting noise of a total that its variance has at least.
SHARE_OF_NOISE = 0.1


def library_prior(manager: Any, n_batch: int) -> tuple[NDArray[Any], NDArray[Any]]:
    r"""Mean and variance of the log library of each batch, each of shape ``(1, n_batch)``.

    The mean is that of the log total counts of its cells, :math:`m_b`. The variance is theirs
    too, as in scvi-tools, in batches of at least 10 cells. A smaller batch of :math:`n_b` cells
    with variance :math:`s_b^2` is filled up to 10 with the variance within batches, pooled over
    all of them:

    .. math::
        v_b = \frac{n_b s_b^2 + (10 - n_b)\, v}{10}, \quad
        v = \frac{\sum_b n_b s_b^2}{\sum_b (n_b - 1)}

    so that one cell has the pooled variance, nearly, and nothing jumps at 10. Where each batch
    is one cell, :math:`v` is the variance of all cells.

    Where totals are all but equal (cells sampled down to one total, a single cell), the variance
    is a tenth of the counting noise of a Poisson total, :math:`v_b \ge 0.1\, e^{-m_b}`: a prior
    of variance zero would be infinitely sure.

    Parameters
    ----------
    manager
        Manager of the data.
    n_batch
        Number of batches. One without cells has mean 0 and variance 1, which nothing uses.
    """
    means, variances = init_library_size(manager, n_batch)
    batch = np.asarray(manager.get_from_registry(REGISTRY_KEYS.BATCH_KEY)).ravel().astype(int)
    sizes = np.bincount(batch, minlength=n_batch)
    return means, shrunken(means, variances, sizes)


def shrunken(
    means: NDArray[Any], variances: NDArray[Any], sizes: NDArray[np.integer]
) -> NDArray[Any]:
    """Return the variances of :func:`library_prior`.

    Parameters
    ----------
    means, variances
        Of the log totals of each batch's cells, each of shape ``(1, n_batch)``.
    sizes
        Cells in each batch, ``(n_batch,)``.
    """
    small, present = sizes < ENOUGH_CELLS, sizes > 0
    freedom = (sizes[present] - 1).sum()
    if freedom > 0:
        pooled = (sizes * variances)[0, present].sum() / freedom
    else:
        pooled = np.var(means[0, present])
    filled = (sizes * variances + (ENOUGH_CELLS - sizes) * pooled) / ENOUGH_CELLS
    result = np.where(small, filled, variances)
    result = np.maximum(result, SHARE_OF_NOISE * np.exp(-means))
    return np.where(present, result, variances).astype(variances.dtype)


def with_latent_library(method: Callable[..., Any]) -> Callable[..., Any]:
    """Let a method of scvi-tools say what to ask for where the library is not latent."""
    plain = inspect.unwrap(method)  # its decorators refuse what has counts of its own
    signature = inspect.signature(plain)

    @wraps(plain)
    def answer(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return plain(self, *args, **kwargs)
        except RuntimeError as error:
            if "`give_mean`" not in str(error):
                raise
            raise UnknownModeError(
                "The library size of this model is observed, so it has no posterior whose mean "
                "`give_mean=True` asks for.",
                remedy=f"model.{method.__name__}(give_mean=False)",
            ) from error

    del answer.__wrapped__
    answer.__signature__ = signature  # type: ignore[attr-defined]
    return answer

"""How much of what a model explains in training cells it explains in others."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from lucidvi.audit.subject import Comparison


@dataclass(frozen=True)
class Overfitting:
    """Training against held-out cells; NaN where it is not known which are which.

    Parameters
    ----------
    share, error
        Share of what is explained in training cells that is not in held-out ones, and its
        standard error.
    elbo_train, elbo_held_out
        Mean ELBOs, nats a cell.
    explained
        Mean ELBO of training cells above a model without latent state, nats a cell.
    """

    share: float = math.nan
    error: float = math.nan
    elbo_train: float = math.nan
    elbo_held_out: float = math.nan
    explained: float = math.nan


def overfitting(compared: Comparison) -> Overfitting:
    r"""Compare training and held-out cells by what is explained.

    Explained is the ELBO above the log likelihood of a model without latent state. Its mean
    difference is taken at equal depth and equal log likelihood without latent state, by least
    squares on both, since cells differ by far more than the sets do.

    Parameters
    ----------
    compared
        See :class:`Comparison`.
    """
    explained_fit = compared.elbo_fit - compared.null_fit
    explained = np.concatenate([explained_fit, compared.elbo_evaluated - compared.null_evaluated])
    null = np.concatenate([compared.null_fit, compared.null_evaluated])
    log_total = np.concatenate([compared.log_total_fit, compared.log_total_evaluated])
    is_fit = np.arange(len(null)) < len(explained_fit)
    held_equal = np.stack([null, log_total, log_total**2], axis=1)
    held_equal = (held_equal - held_equal.mean(axis=0)) / held_equal.std(axis=0).clip(min=1e-12)
    design = np.column_stack([is_fit, np.ones(len(null)), held_equal])
    inverse = np.linalg.pinv(design)
    coefficients = inverse @ explained
    left = explained - design @ coefficients
    # Cells of one set may vary more than those of the other (White's standard error).
    error = math.sqrt(float(np.square(inverse[0] * left).sum()))
    mean = float(explained_fit.mean())
    return Overfitting(
        share=float(coefficients[0]) / mean if mean > 0 else math.nan,
        error=error / mean if mean > 0 else math.nan,
        elbo_train=float(compared.elbo_fit.mean()),
        elbo_held_out=float(compared.elbo_evaluated.mean()),
        explained=mean,
    )

"""Weights that change while a model trains, as functions of how far it has come."""

from __future__ import annotations


def linear_warmup(progress: float, fraction: float) -> float:
    """Rise from zero to one over the first ``fraction`` of the training.

    It is the same curve for a thousand cells and for ten million: what counts is the share of
    the steps, not of epochs, of which large data sets see few.

    Parameters
    ----------
    progress
        Share of the training's steps that is done, the present one included, in ``(0, 1]``.
    fraction
        Share of the training that the rise takes; 0 is no rise at all.

    Returns
    -------
    Weight in ``[0, 1]``; exactly 1 from ``progress = fraction`` on, so always at the last step.
    """
    return 1.0 if progress >= fraction else progress / fraction

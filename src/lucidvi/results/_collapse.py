"""Latent dimensions in use: what the check of them finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from lucidvi.results._finding import Finding


@dataclass(frozen=True, kw_only=True)
class Collapse(Finding):
    """Which dimensions are in use.

    Axes are those of the latent space; directions are orthogonal to each other and ordered by the
    expression that they move, see :func:`lucidvi.inference.information_metric`.

    Parameters
    ----------
    n_latent
        Dimension of the latent space.
    active_units
        Directions that count by what they are worth beyond those before them: the dimension of
        the data, as far as the model sees it. A dimension that is a curve of the others is none.
    used_units
        Directions that count by what they are worth for themselves: dimensions that the model
        uses, at least as many.
    suggested_n_latent
        Dimension to train with next.
    variance_units
        Axes whose posterior mean has a variance above 0.01 (Burda et al.).
    prior
        Kind of the model's prior, to which all that follows is.
    kl
        KL of each axis' posterior to the prior of that axis, nats a cell, shape ``(n_latent,)``;
        NaN, as all that is about the prior, where the density of the prior is not known.
    total_kl
        KL of the whole posterior to the prior, nats a cell. It is the sum of the above where the
        axes are independent in both.
    mean_variance
        Variance over the cells of each axis' posterior mean, shape ``(n_latent,)``.
    sensitivity
        Fisher information of the counts about each axis, shape ``(n_latent,)``: twice the nats
        by which the expected expression of a cell changes for a small step, a squared step.
    directions
        The directions, as columns, shape ``(n_latent, n_latent)``.
    worth
        Nats of held-out log p(x given z) a cell that are lost when each direction is set to the
        cells' mean, shape ``(n_latent,)``.
    worth_error
        Standard errors of these, shape ``(n_latent,)``.
    worth_beyond
        The same when each direction is set to what those before it tell, the mean of the nearest
        cells, shape ``(n_latent,)``.
    least_worth, least_worth_beyond
        Nats a cell from which on a direction counts, of the two.
    variance_share
        Share of the explained variance of expression, on a scale on which counts have unit
        variance, of each direction, shape ``(n_latent,)``.
    mutual_information, mutual_information_upper
        Bounds of the encoder's I(x; z), nats: the lower one is never above the log of the number
        of cells. With a prior that depends on covariates, of cells whose covariates are equal.
    aggregate_kl_lower, aggregate_kl
        Bounds of the KL of the aggregate posterior to the prior, nats: the mean KL less the
        above.
    holes
        Share of the prior's mass that no cell covers: where the aggregate posterior is thinner
        than where 99 % of the cells are.
    """

    name: ClassVar[str] = "collapse"
    title: ClassVar[str] = "How many latent dimensions are in use?"
    explanation: ClassVar[str] = (
        "A dimension that the decoder ignores (posterior collapse) or that says nothing about the "
        "cells is no use downstream. Here each direction of the latent space is set to its mean, "
        "and what that loses of the likelihood of the cells' counts is its worth. The directions "
        "are those that move expression most, not the axes, since the latent space may be "
        "rotated. A model often bends a few dimensions of the data into more of its own; so a "
        "direction is also set to what the directions before it tell, and what that loses is its "
        "worth beyond these, which counts the dimensions of the data. Directions that move only "
        "few cells, such as those of a rare cell type, are "
        "worth little on average and may not be counted. Mutual information and the aggregate "
        "posterior tell how much the latent space knows of a cell and how well the model's own "
        "prior describes the cells; holes matter only where cells are drawn from the prior."
    )
    reference: ClassVar[str] = (
        "Burda et al., ICLR (2016), Importance weighted autoencoders. Hoffman and Johnson, NIPS "
        "workshop (2016), ELBO surgery. Lucas et al., NeurIPS (2019), Don't blame the ELBO."
    )

    n_latent: int
    active_units: int
    used_units: int
    suggested_n_latent: int
    variance_units: int
    prior: str
    kl: np.ndarray
    total_kl: float
    mean_variance: np.ndarray
    sensitivity: np.ndarray
    directions: np.ndarray
    worth: np.ndarray
    worth_error: np.ndarray
    worth_beyond: np.ndarray
    least_worth: float
    least_worth_beyond: float
    variance_share: np.ndarray
    mutual_information: float
    mutual_information_upper: float
    aggregate_kl_lower: float
    aggregate_kl: float
    holes: float

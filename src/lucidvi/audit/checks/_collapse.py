"""How many dimensions of the latent space carry information, and whether the cells fill it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from lucidvi.audit.checks._against_prior import AgainstPrior, against_prior
from lucidvi.audit.cures._cures import Cures
from lucidvi.audit.subject._priors import CellPriors
from lucidvi.results import Criterion, Finding, judge

#: A direction counts if at least this share of what all directions are worth is its own. In
#: simulations with 2, 4, 5 and 10 dimensions (linear and not, of equal and unequal strength, 10,
#: 30 and 50 latent dimensions) directions without a true counterpart had up to 1.0 % of what is
#: worth something beyond the directions before, those with one 3.0 % and more.
WORTH_SHARE = 0.02
#: ... and if it is worth this many nats a cell; less cannot be told from nothing.
WORTH_MIN = 0.5
#: Share of dimensions in use up to which the latent space is called over-wide.
USED_MIN = 0.4
#: Variance of the posterior mean from which on Burda et al. call a unit active.
BURDA = 0.01
#: Dimensions to leave above those in use, in the `n_latent` that is suggested.
SPARE = 2


@dataclass(frozen=True, kw_only=True)
class Collapse(Finding):
    """Which dimensions are in use.

    Axes are those of the latent space; directions are orthogonal to each other and ordered by the
    expression that they move, see :func:`lucidvi.audit.information_metric`.

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
    own_worth
        The same when each direction is set to what those before it tell, the mean of the nearest
        cells, shape ``(n_latent,)``.
    least_worth, least_own_worth
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
        "own worth, which counts the dimensions of the data. Directions that move only few "
        "cells, such as those of a rare cell type, are "
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
    own_worth: np.ndarray
    least_worth: float
    least_own_worth: float
    variance_share: np.ndarray
    mutual_information: float
    mutual_information_upper: float
    aggregate_kl_lower: float
    aggregate_kl: float
    holes: float


def collapse(
    loc: np.ndarray,
    scale: np.ndarray,
    metric: np.ndarray,
    directions: np.ndarray,
    losses: np.ndarray,
    own_losses: np.ndarray,
    *,
    priors: CellPriors | None = None,
    without_prior: str = "",
    seed: int = 0,
    cures: Cures | None = None,
) -> Collapse:
    r"""Count the dimensions that are in use.

    Parameters
    ----------
    loc
        Means of the cells' posteriors, shape ``(n_cells, n_latent)``.
    scale
        Their standard deviations, of the same shape, or factors of their covariances, lower
        triangular, shape ``(n_cells, n_latent, n_latent)``.
    metric
        Fisher information of the counts about :math:`z`, mean over cells, shape
        ``(n_latent, n_latent)``; see :func:`lucidvi.audit.information_metric`.
    directions
        Its eigenvectors as columns, by falling eigenvalue.
    losses
        Nats of log p(x given z) that each held-out cell loses when each direction is set to the
        cells' mean, shape ``(n_held_out, n_latent)``.
    own_losses
        The same when each is set to what the directions before it tell.
    priors
        The model's priors of the cells; by default the standard normal.
    without_prior
        Why nothing is held against the prior; empty if it is.
    seed
        Of the draws for mutual information and holes.
    cures
        What to do in the terms of a model; by default in those of a SCVI.
    """
    n_latent = loc.shape[1]
    cures = cures or Cures()
    worth = losses.mean(axis=0)
    error = losses.std(axis=0) / np.sqrt(len(losses))
    variance = np.einsum("ik,ij,jk->k", directions, metric, directions)
    variance = variance * (loc @ directions).var(axis=0)
    used, active = (int(active_directions(lost).sum()) for lost in (losses, own_losses))
    active = min(active, used)
    suggested = suggest_n_latent(used, n_latent)
    fewer = cures.of("fewer_dimensions", n_latent=suggested)
    collapsed = cures.of("collapsed")
    if without_prior:
        against = AgainstPrior.unknown(n_latent, without_prior)
    else:
        against = against_prior(loc, scale, priors, seed)
    return Collapse(
        criteria=(
            _used(used, active, n_latent, fewer if used else collapsed),
            _worth(worth, collapsed),
            against.criterion,
        ),
        n_latent=n_latent,
        active_units=active,
        used_units=used,
        suggested_n_latent=suggested,
        variance_units=int((loc.var(axis=0) > BURDA * against.spread).sum()),
        prior=against.name,
        kl=against.kl,
        total_kl=against.total_kl,
        mean_variance=loc.var(axis=0),
        sensitivity=np.diag(metric),
        directions=directions,
        worth=worth,
        worth_error=error,
        own_worth=own_losses.mean(axis=0),
        least_worth=least_worth(worth),
        least_own_worth=least_worth(own_losses.mean(axis=0)),
        variance_share=variance / max(variance.sum(), np.finfo(float).tiny),
        mutual_information=against.mutual_information,
        mutual_information_upper=against.mutual_information_upper,
        aggregate_kl_lower=against.aggregate_kl_lower,
        aggregate_kl=against.aggregate_kl,
        holes=against.holes,
    )


def active_directions(losses: np.ndarray) -> np.ndarray:
    """Say which directions count, by what cells lose without them, shape ``(n_latent,)``."""
    worth, error = losses.mean(axis=0), losses.std(axis=0) / np.sqrt(len(losses))
    return (worth >= least_worth(worth)) & (worth > 2 * error)


def least_worth(worth: np.ndarray) -> float:
    """Return the nats a cell from which on a direction counts, given what each is worth."""
    return max(WORTH_MIN, WORTH_SHARE * float(worth.clip(min=0).sum()))


def suggest_n_latent(n_used: int, n_latent: int) -> int:
    """Return the dimension to train with next: some spare, or more where all are in use."""
    if n_used == n_latent:
        return 2 * n_latent
    return min(n_latent, n_used + SPARE)


def _used(n_used: int, n_active: int, n_latent: int, cure: str) -> Criterion:
    return judge(
        "used",
        n_used / n_latent,
        f"{n_used} of {n_latent} latent dimensions are in use, and the data have about "
        f"{n_active} of their own.",
        warn=USED_MIN,
        fail=0.0,
        worse="lower",
        cure=cure,
    )


def _worth(worth: np.ndarray, cure: str) -> Criterion:
    total = float(worth.sum())
    return judge(
        "worth",
        total,
        f"The latent dimensions explain {total:.1f} nats of a cell's counts, one by one.",
        fail=WORTH_MIN,
        worse="lower",
        cure=cure,
    )

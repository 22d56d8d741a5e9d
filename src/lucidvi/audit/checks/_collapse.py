"""How many dimensions of the latent space carry information, and whether the cells fill it."""

from __future__ import annotations

import numpy as np

from lucidvi.audit.checks._against_prior import AgainstPrior, against_prior
from lucidvi.audit.cures import Cures
from lucidvi.audit.subject import CellPriors, Subject, active_directions, inapplicable, least_worth
from lucidvi.audit.subject._directions import WORTH_MIN
from lucidvi.inference import canonical
from lucidvi.results import Collapse, Criterion, judge

#: Share of dimensions in use up to which the latent space is called over-wide.
USED_MIN = 0.4
#: Variance of the posterior mean from which on Burda et al. call a unit active.
BURDA = 0.01
#: Dimensions to leave above those in use, in the `n_latent` that is suggested.
SPARE = 2


def collapse(
    loc: np.ndarray,
    scale: np.ndarray,
    metric: np.ndarray,
    directions: np.ndarray,
    losses: np.ndarray,
    losses_beyond: np.ndarray,
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
        Standard deviations of the posteriors, of the same shape, or factors of their covariances,
        lower triangular, shape ``(n_cells, n_latent, n_latent)``.
    metric
        Fisher information of the counts about :math:`z`, mean over cells, shape
        ``(n_latent, n_latent)``; see :func:`lucidvi.inference.information_metric`.
    directions
        Eigenvectors of ``metric`` as columns, by falling eigenvalue.
    losses
        Nats of log p(x given z) that each held-out cell loses when each direction is set to the
        cells' mean, shape ``(n_held_out, n_latent)``.
    losses_beyond
        The same when each is set to what the directions before it tell.
    priors
        The model's priors of the cells; by default the standard normal.
    without_prior
        Why nothing is held against the prior; empty if it is.
    seed
        Seed of the draws for mutual information and holes.
    cures
        What makes the code that mends a problem; by default for a model of default arguments.
    """
    n_latent = loc.shape[1]
    cures = cures or Cures()
    worth = losses.mean(axis=0)
    error = losses.std(axis=0) / np.sqrt(len(losses))
    variance = np.einsum("ik,ij,jk->k", directions, metric, directions)
    variance = variance * (loc @ directions).var(axis=0)
    used, active = (int(active_directions(lost).sum()) for lost in (losses, losses_beyond))
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
        worth_beyond=losses_beyond.mean(axis=0),
        least_worth=least_worth(worth),
        least_worth_beyond=least_worth(losses_beyond.mean(axis=0)),
        variance_share=variance / max(variance.sum(), np.finfo(float).tiny),
        mutual_information=against.mutual_information,
        mutual_information_upper=against.mutual_information_upper,
        aggregate_kl_lower=against.aggregate_kl_lower,
        aggregate_kl=against.aggregate_kl,
        holes=against.holes,
    )


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


def check(subject: Subject) -> Collapse:
    """Count the dimensions of a model that are in use."""
    return collapse(
        subject.latent.loc,
        subject.latent.factor,
        subject.metric.mean(axis=0),
        canonical(subject.metric)[1],
        *subject.losses,
        priors=subject.priors,
        without_prior=inapplicable(subject.module),
        seed=subject.seed,
        cures=subject.cures,
    )

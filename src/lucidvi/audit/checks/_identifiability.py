"""Which axes of the latent space mean something, and why."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.stats import ortho_group

from lucidvi.audit.cures import Cures, Making
from lucidvi.audit.subject import Subject
from lucidvi.inference import canonical
from lucidvi.results import Criterion, Finding, Identifiability, Skipped, judge

N_ROTATIONS, N_RESAMPLED = 200, 100
#: A direction is distinct if resampled cells give it again, with this absolute cosine, and if it
#: moves more or less expression than its neighbours, by this ratio: in simulations whose true
#: dimensions are of equal strength ratios were up to 1.09, in those of unequal 1.22 and more.
STABLE, RATIO_MIN = 0.9, 1.1
#: Share of the directions in use that have to be distinct.
DISTINCT_MIN = 0.5
#: Share of random rotations that fit as well, as in a test.
ROTATION_WARN = 0.05
#: Mean posterior variance below which the counts determine an axis.
DETERMINED = 0.5

#: Why the axes are not compared with random rotations.
OTHER_PRIOR = (
    "The prior, {prior}, prefers some axes itself, so that it is not the posteriors alone that a "
    "rotation makes worse."
)


def identifiability(
    metrics: np.ndarray,
    covariances: np.ndarray,
    n_active: int,
    *,
    prior_variance: np.ndarray | float = 1.0,
    seed: int = 0,
    turning: str | None = "",
    not_turned: str = "",
    cures: Cures | None = None,
) -> Identifiability:
    r"""Say how well the axes of a latent space are defined.

    A cell with the posterior precision :math:`P` loses with the best posterior of independent
    axes, after the rotation :math:`R`,

    .. math:: \tfrac{1}{2} \left(\sum_k \log (R^\top P R)_{kk} - \log \det P\right)

    nats, to second order in the noise; the mean over the cells, for random rotations and for
    none, is compared.

    Parameters
    ----------
    metrics
        Fisher information of each cell's counts about :math:`z`, shape
        ``(n_metric, n_latent, n_latent)``.
    covariances
        Full posterior covariances of cells, shape ``(n_cells, n_latent, n_latent)``.
    n_active
        Directions in use.
    prior_variance
        Variance of each number of the latent state under each cell's prior, shape
        ``(n_cells, n_latent)``.
    seed
        Seed of rotations and resampling.
    turning
        Code that turns the latent states to canonical axes; None if these are the model's, so
        that there is nothing to warn of.
    not_turned
        Why the model's axes are not compared with random rotations; empty if they are.
    cures
        What makes the code that mends a problem; by default for a model of default arguments.
    """
    cures = cures or Cures(Making(can_turn=False))
    rng = np.random.default_rng((seed, 1))
    n_latent = metrics.shape[-1]
    eigenvalues, directions = canonical(metrics)
    stability = axis_stability(metrics, directions, rng)
    precisions = np.linalg.inv(covariances)
    raw = diagonal_loss(precisions, np.eye(n_latent))
    rotations = ortho_group.rvs(n_latent, size=N_ROTATIONS, random_state=rng)
    losses = np.array([diagonal_loss(precisions, r) - raw for r in rotations])
    ratio = eigenvalues[:-1] / eigenvalues[1:].clip(min=1e-12)
    apart = np.concatenate([[True], ratio >= RATIO_MIN, [True]])
    distinct = (stability >= STABLE) & apart[:-1] & apart[1:]
    n_distinct = int(distinct[:n_active].sum())
    correlation = typical_correlation(covariances)
    left = np.diagonal(covariances, axis1=1, axis2=2) / prior_variance
    in_use = left.mean(axis=0) < DETERMINED
    pairs = correlation[np.ix_(in_use, in_use)][np.triu_indices(in_use.sum(), 1)]
    criteria = [_axes(n_distinct, n_active, cures.of("read_together"))]
    if not_turned:
        criteria.append(Criterion.skipped("rotation", not_turned))
    elif turning is not None:
        criteria.append(_rotation(losses, turning or cures.of("canonical_axes")))
    return Identifiability(
        criteria=tuple(criteria),
        rotation_loss=float(losses.mean()),
        rotation_loss_canonical=diagonal_loss(precisions, directions) - raw,
        posterior_correlation=float(np.sqrt((pairs**2).mean())) if len(pairs) else 0.0,
        distinct_axes=n_distinct,
        n_axes=n_active,
        eigenvalues=eigenvalues,
        eigenvalue_ratio=ratio,
        distinct=distinct,
        axis_stability=stability,
        rotation_losses=losses,
        correlation=correlation,
        directions=directions,
    )


def turning_cure(module: Any, cures: Cures | None = None) -> str | None:
    """Return how to turn the latent space of a module, see :func:`identifiability`."""
    if getattr(module, "rotation", None) is not None:
        return None
    can_turn = getattr(module, "is_rotation_invariant", False)
    cures = cures or Cures(Making(can_turn=can_turn))
    return cures.of("canonical_axes")


def why_not_turned(module: Any) -> str:
    """Say why a module's axes are not compared with random rotations; empty if they can be."""
    prior = getattr(module, "prior", None)  # scvi-tools' modules have no name for theirs
    if getattr(prior, "is_rotation_invariant", True):
        return ""
    return OTHER_PRIOR.format(prior=type(prior).__name__)


def diagonal_loss(precisions: np.ndarray, rotation: np.ndarray) -> float:
    """Nats a cell that independent axes lose after a rotation, see :func:`identifiability`."""
    rotated = np.einsum("ik,nij,jk->nk", rotation, precisions, rotation, optimize=True)
    return float(0.5 * (np.log(rotated).sum(axis=1) - np.linalg.slogdet(precisions)[1]).mean())


def axis_stability(
    metrics: np.ndarray, directions: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Median absolute cosine of each direction with that of resampled cells, ``(n_latent,)``."""
    n = len(metrics)
    weights = rng.multinomial(n, np.full(n, 1 / n), size=N_RESAMPLED) / n
    means = np.tensordot(weights, metrics, axes=1)
    vectors = np.linalg.eigh(means)[1][:, :, ::-1]
    return np.median(np.abs(np.einsum("ik,rik->rk", directions, vectors)), axis=0)


def typical_correlation(covariances: np.ndarray) -> np.ndarray:
    """Root mean square over cells of each correlation, shape ``(n_latent, n_latent)``."""
    scale = np.sqrt(np.diagonal(covariances, axis1=1, axis2=2))
    correlations = covariances / (scale[:, :, None] * scale[:, None, :])
    return np.sqrt((correlations**2).mean(axis=0))


def _axes(n_distinct: int, n_active: int, cure: str) -> Criterion:
    share = n_distinct / n_active if n_active else 1.0
    return judge(
        "axes",
        share,
        f"{n_distinct} of {n_active} directions in use move distinct amounts of expression"
        + ("." if n_distinct == n_active else "; the others could be any mixture of each other."),
        warn=DISTINCT_MIN,
        worse="lower",
        cure=cure,
    )


def _rotation(losses: np.ndarray, cure: str) -> Criterion:
    better = float((losses <= 0).mean())
    return judge(
        "rotation",
        better,
        f"{better:.0%} of random rotations of the latent space would fit as well as its axes "
        f"do; a rotation loses {losses.mean():.2f} nats a cell on average, and that is all that "
        "makes these axes special.",
        warn=ROTATION_WARN,
        cure=cure,
    )


def check(subject: Subject) -> Finding:
    """Say which axes of a model mean something."""
    if subject.n_latent < 2:
        return Skipped.of(Identifiability, "One latent dimension has nothing to rotate.")
    refined = subject.refined
    return identifiability(
        subject.metric,
        refined.covariance,
        subject.n_used,
        prior_variance=subject.prior_variance[refined.positions],
        seed=subject.seed,
        turning=turning_cure(subject.module, subject.cures),
        not_turned=why_not_turned(subject.module),
        cures=subject.cures,
    )

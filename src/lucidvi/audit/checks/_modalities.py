"""What each modality tells of the latent space, whether they agree, and how they are imputed."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import numpy as np
import pandas as pd
from scipy.spatial.distance import cdist

from lucidvi.audit.cures import Cures
from lucidvi.audit.subject import (
    N_CELLS_MIN,
    CellPriors,
    Imputed,
    Subject,
    entropy,
    imputed,
    told_by,
    who_has,
)
from lucidvi.distributions import BY_BATCH, Likelihood
from lucidvi.results import Criterion, Finding, Modalities, Posteriors, Skipped, judge

#: Share of the latent space's variance that a modality tells by itself.
TOLD_WARN = 0.1
#: Factor by which two modalities differ beyond what the uncertainties that they state allow for.
DIFFER_WARN = 2.0
#: Least variance that two modalities are taken to allow for, of the prior's.
LEAST_STATED = 1e-6
#: How far the share of counts within intervals of 90 % is from that.
COVERAGE, COVERAGE_WARN, COVERAGE_FAIL = 0.9, 0.05, 0.2
#: The question of a likelihood whether counts vary more than it says.
DISPERSION = "dispersion"
#: Most cells whose distances are compared.
N_COMPARED = 2000


def modalities(
    has: pd.DataFrame,
    whole: Posteriors,
    alone: Mapping[str, Posteriors],
    left_out: Mapping[str, Posteriors],
    imputations: Mapping[str, Imputed],
    *,
    wider: Mapping[str, str] | None = None,
    priors: CellPriors | None = None,
    cures: Cures | None = None,
) -> Modalities:
    r"""Compare what is told of the same cells by all of their modalities, and by some.

    The share that a modality tells of a number :math:`z_k` of the state is the squared correlation
    over cells of :math:`\mathrm E[z_k \mid x_m]` with :math:`\mathrm E[z_k \mid x]`, and the share
    that goes without it one less that of :math:`\mathrm E[z_k \mid x_{-m}]`; those of all numbers
    are weighted by the variances over cells.

    Were posteriors right, the means from two modalities :math:`a, b`, which know nothing of each
    other but the state, would differ with the variance

    .. math::
        \operatorname{Var}(\mu_a - \mu_b)
            = \sigma_a^2 + \sigma_b^2 - 2 \sigma_a^2 \sigma_b^2 / s^2

    where :math:`s^2` is the prior's: both are drawn to the same prior mean. ``differ`` is the root
    of the ratio of both sides, averaged over cells and over directions, which count by the
    variance of the means between cells: along others there is nothing to differ about.

    Parameters
    ----------
    has
        Which cells have which modality, shape ``(n_cells, n_modalities)``.
    whole
        Posteriors from all that the cells have.
    alone, left_out
        Posteriors from a modality alone, and from all others, by its name.
    imputations
        What the others say of a modality, by its name; of those that can be imputed.
    wider
        Likelihoods by which counts of a modality would vary more, by its name, where there are.
    priors
        Priors of the cells; by default not looked at, and standard normal.
    cures
        What makes the code that mends a problem; by default for a model of default arguments.
    """
    cures = cures or Cures()
    both = has.to_numpy() & (has.sum(axis=1) > 1).to_numpy()[:, None]
    rows = {name: np.flatnonzero(both[:, place]) for place, name in enumerate(has.columns)}
    rows = {name: of_cells for name, of_cells in rows.items() if len(of_cells) > 1}
    told = pd.DataFrame(
        {name: _told(rows[name], whole, alone[name], left_out[name], priors) for name in rows}
    ).T.rename_axis("modality")
    told["n_cells"] = told["n_cells"].astype(int)
    agreement = _agreement(has, whole, alone, priors)
    features = pd.concat([_by_feature(name, found) for name, found in imputations.items()])
    imputation = _imputation(imputations, features)
    return Modalities(
        criteria=(
            _unread(told, cures.of("modalities_apart")),
            _apart(agreement, cures.of("modalities_apart")),
            _off(imputation, wider or {}, cures),
        ),
        least_told=float(told["alone"].min()),
        most_differ=float(agreement["differ"].max()),
        coverage_90=float(imputation["coverage_90"][_farthest(imputation)]),
        told=told,
        axes=_axes(rows, whole, alone, left_out),
        agreement=agreement,
        imputation=imputation,
        features=features.reset_index(drop=True),
    )


# -- what is told -------------------------------------------------------------------------------


def _told(
    rows: np.ndarray,
    whole: Posteriors,
    alone: Posteriors,
    left_out: Posteriors,
    priors: CellPriors | None,
) -> dict[str, float]:
    """Return a row of ``told``, of the cells that have a modality and another."""
    loc = whole.loc[rows]
    weight = loc.var(axis=0)
    return {
        "n_cells": len(rows),
        "alone": _weighted(explained(loc, alone.loc[rows]), weight),
        "left_out": _weighted(1 - explained(loc, left_out.loc[rows]), weight),
        "nats_alone": np.nan if priors is None else float(kl_to_prior(alone, priors)[rows].mean()),
        "nats_left_out": float(kl_between(whole.select(rows), left_out.select(rows)).mean()),
    }


def _weighted(shares: np.ndarray, weight: np.ndarray) -> float:
    return float((shares * weight).sum() / weight.sum()) if weight.sum() > 0 else 0.0


def explained(values: np.ndarray, by: np.ndarray) -> np.ndarray:
    """Share of each column's variance that the same column of another array explains linearly."""
    values, by = values - values.mean(axis=0), by - by.mean(axis=0)
    total = np.square(values).sum(axis=0) * np.square(by).sum(axis=0)
    product = np.square((values * by).sum(axis=0))
    return np.divide(product, total, out=np.zeros(len(total)), where=total > 0)


def kl_to_prior(posteriors: Posteriors, priors: CellPriors) -> np.ndarray:
    """KL of posteriors to the cells' priors, nats, shape ``(n_cells,)``."""
    rng = np.random.default_rng(0)
    cross = priors.expected_log_prob(posteriors.loc, posteriors.factor, rng)
    return -entropy(posteriors.factor) - cross


def kl_between(one: Posteriors, other: Posteriors) -> np.ndarray:
    """KL of normals to others, nats, shape ``(n_cells,)``."""
    precision = np.linalg.inv(other.covariance)
    step = other.loc - one.loc
    moved = np.einsum("ni,nij,nj->n", step, precision, step)
    trace = np.einsum("nij,nji->n", precision, one.covariance)
    log_ratio = 2 * (entropy(other.factor) - entropy(one.factor))
    return 0.5 * (trace + moved - one.n_latent + log_ratio)


def _axes(
    rows: Mapping[str, np.ndarray],
    whole: Posteriors,
    alone: Mapping[str, Posteriors],
    left_out: Mapping[str, Posteriors],
) -> pd.DataFrame:
    """Return the table of the numbers of the state."""
    anywhere = np.unique(np.concatenate(list(rows.values())))
    columns = {("variance", "all"): whole.loc[anywhere].var(axis=0)}
    for name, of_cells in rows.items():
        loc = whole.loc[of_cells]
        columns["alone", name] = explained(loc, alone[name].loc[of_cells])
        columns["left_out", name] = 1 - explained(loc, left_out[name].loc[of_cells])
    return pd.DataFrame(columns).rename_axis("axis")


# -- whether they agree -------------------------------------------------------------------------


def _agreement(
    has: pd.DataFrame,
    whole: Posteriors,
    alone: Mapping[str, Posteriors],
    priors: CellPriors | None,
) -> pd.DataFrame:
    """Return the table of the pairs of modalities."""
    pairs = {}
    for one, other in combinations(has.columns, 2):
        both = np.flatnonzero(has[one] & has[other])
        if len(both) < N_CELLS_MIN:
            continue
        first, second = alone[one].select(both), alone[other].select(both)
        variance = np.ones_like(first.loc) if priors is None else priors.variance[both]
        worth = np.cov(whole.loc[both] / np.sqrt(variance), rowvar=False)
        some = np.linspace(0, len(both) - 1, min(N_COMPARED, len(both))).astype(int)
        pairs[one, other] = {
            "n_cells": len(both),
            "differ": differ(first, second, np.atleast_2d(worth), variance),
            "foscttm": foscttm(first.loc[some], second.loc[some]),
        }
    table = pd.DataFrame(pairs, index=["n_cells", "differ", "foscttm"]).T
    table.index = pd.MultiIndex.from_tuples(list(pairs), names=["modality", "other"])
    return table.astype({"n_cells": int})


def differ(
    one: Posteriors, other: Posteriors, worth: np.ndarray, prior_variance: np.ndarray
) -> float:
    """By how much means differ, over what the posteriors allow for; see :func:`modalities`.

    Parameters
    ----------
    one, other
        Posteriors of the same cells.
    worth
        Covariance of the cells' means, shape ``(n_latent, n_latent)``, by which steps count.
    prior_variance
        Of each number of a state, shape ``(n_cells, n_latent)``.
    """
    root = np.sqrt(prior_variance)
    steps = (one.loc - other.loc) / root
    first, second = (q.covariance / (root[:, :, None] * root[:, None, :]) for q in (one, other))
    shrunken = first @ second
    allowed = (first + second - shrunken - np.swapaxes(shrunken, 1, 2)).mean(axis=0)
    stated = max(float((worth * allowed).sum()), LEAST_STATED * float(np.trace(worth)))
    found = float(np.einsum("ni,ij,nj->n", steps, worth, steps).mean())
    return float(np.sqrt(found / stated)) if stated > 0 else 1.0


def foscttm(one: np.ndarray, other: np.ndarray) -> float:
    """Share of the other cells' states that are nearer than the cell's own, both ways."""
    distance = cdist(one, other)
    own, others = np.diag(distance), max(1, len(one) - 1)
    return float(
        np.mean([(distance < own[:, None]).sum(), (distance < own[None]).sum()])
        / (len(one) * others)
    )


# -- how they are imputed -----------------------------------------------------------------------


def _by_feature(modality: str, found: Imputed) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "modality": modality,
            "feature": found.feature,
            "coverage_90": within(found.residuals, COVERAGE, axis=0),
            "correlation": _correlations(found.observed, found.predicted),
        }
    )


def within(residuals: np.ndarray, level: float, axis: int | None = None) -> np.ndarray:
    """Share of residuals that lie in the central interval; of those that are not NaN."""
    inside = np.where(np.isnan(residuals), np.nan, np.abs(residuals - 0.5) <= level / 2)
    n = (~np.isnan(inside)).sum(axis=axis)
    return np.nansum(inside, axis=axis) / np.where(n > 0, n, np.nan)


def _correlations(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Correlation of the columns of two arrays, NaN where there is none."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return pd.DataFrame(one).corrwith(pd.DataFrame(other)).to_numpy()


def _imputation(imputations: Mapping[str, Imputed], features: pd.DataFrame) -> pd.DataFrame:
    table = pd.DataFrame(
        {
            name: {
                "n_cells": len(found.residuals),
                "n_features": found.residuals.shape[1],
                "coverage_50": float(within(found.residuals, 0.5)),
                "coverage_90": float(within(found.residuals, COVERAGE)),
                "correlation": features.loc[features["modality"] == name, "correlation"].median(),
            }
            for name, found in imputations.items()
        }
    ).T.rename_axis("modality")
    return table.astype({"n_cells": int, "n_features": int})


def _farthest(imputation: pd.DataFrame) -> str:
    """Name of the modality whose share of counts within intervals is farthest from 90 %."""
    return str((imputation["coverage_90"] - COVERAGE).abs().idxmax())


# -- the verdicts -------------------------------------------------------------------------------


def _unread(told: pd.DataFrame, cure: str) -> Criterion:
    least = told["alone"].idxmin()
    shares = ", ".join(f"{name} {share:.0%}" for name, share in told["alone"].items())
    return judge(
        "told",
        told.loc[least, "alone"],
        f"Of how cells differ in the latent space, a modality by itself tells: {shares}.",
        warn=TOLD_WARN,
        worse="lower",
        cure=cure,
    )


def _apart(agreement: pd.DataFrame, cure: str) -> Criterion:
    if not len(agreement):
        return Criterion.skipped("agreement", f"Fewer than {N_CELLS_MIN} cells have any two.")
    worst = agreement["differ"].idxmax()
    most = agreement.loc[worst]
    return judge(
        "agreement",
        most["differ"],
        f"What {worst[0]} and {worst[1]} tell of the same cell differs by {most['differ']:.1f} "
        f"times what the uncertainties that they state allow for; {most['foscttm']:.1%} of other "
        "cells are nearer (50% by chance).",
        warn=DIFFER_WARN,
        cure=cure,
    )


def _off(imputation: pd.DataFrame, wider: Mapping[str, str], cures: Cures) -> Criterion:
    worst = _farthest(imputation)
    covered = float(imputation.loc[worst, "coverage_90"])
    shares = ", ".join(f"{name} {share:.0%}" for name, share in imputation["coverage_90"].items())
    return judge(
        "coverage",
        abs(covered - COVERAGE),
        f"Of counts predicted from other modalities, this share lies in its interval of "
        f"{COVERAGE:.0%}: {shares}.",
        warn=COVERAGE_WARN,
        fail=COVERAGE_FAIL,
        cure=cures.of(
            "imputation_off",
            modality=worst,
            wider=wider.get(worst, ""),
            coverage=covered,
        ),
    )


def wider_than(likelihood: type[Likelihood]) -> str:
    """Name of a likelihood with a dispersion, for one without; empty for others."""
    asked = [q for q in likelihood.questions if q.name == DISPERSION]
    return next((q.better for q in asked if not q.better.endswith(BY_BATCH)), "")


# -- of a model ---------------------------------------------------------------------------------


def check(subject: Subject) -> Finding:
    """Look at cells of several modalities with all of them, with each, and without each."""
    names = list(subject.modalities)
    if len(names) < 2:
        return Skipped.of(Modalities, "The model has one modality.")
    has = who_has(subject)
    several = (has.sum(axis=1) > 1).to_numpy()
    chosen = subject.sample.evaluated[several[subject.sample.evaluated]]
    if len(chosen) < N_CELLS_MIN:
        chosen = np.flatnonzero(several)
    if len(chosen) < N_CELLS_MIN:
        reason = f"Fewer than {N_CELLS_MIN} cells have more than one modality."
        return Skipped.of(Modalities, reason)
    unchosen = np.ones(len(has), dtype=bool)
    unchosen[chosen] = False
    has[unchosen] = False
    views: dict[frozenset[str], Posteriors] = {}

    def seen(some: list[str]) -> Posteriors:
        key = frozenset(some)
        if key not in views:
            views[key] = told_by(subject, some)
        return views[key]

    imputable = [name for name in names if has[name].sum() >= N_CELLS_MIN]
    if not imputable:
        return Skipped.of(Modalities, f"Fewer than {N_CELLS_MIN} cells have any two.")
    return modalities(
        has,
        subject.latent,
        {name: seen([name]) for name in names},
        {name: seen([other for other in names if other != name]) for name in names},
        {name: imputed(subject, name, np.flatnonzero(has[name])) for name in imputable},
        wider={name: wider_than(m.likelihood) for name, m in subject.modalities.items()},
        priors=subject.priors,
        cures=subject.cures,
    )

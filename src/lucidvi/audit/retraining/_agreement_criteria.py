"""What the agreement between runs is held against, and what to do where it is too little."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lucidvi.audit.checks._collapse import SPARE
from lucidvi.audit.cures import Cures
from lucidvi.results import Criterion, judge

#: Agreement by chance above which the cells are too few to compare directions.
CHANCE_MAX = 0.5
#: Measures that need two groups of cells.
OF_GROUPS = ("fold_changes", "top_genes")


@dataclass(frozen=True)
class Threshold:
    """How a measure is judged.

    Parameters
    ----------
    statement
        Text with places for the mean, the smallest value and chance: ``{mean}``, ``{least}``,
        ``{chance}``; and ``{raw}`` for the mean of ``raw_axes``.
    warn, fail
        Thresholds of the mean on a scale on which chance is 0 and full agreement 1.
    cure
        Name of what to do, see :data:`lucidvi.audit.cures._cures.CURES`.
    """

    statement: str
    warn: float
    fail: float | None
    cure: str


#: By measure, the most telling one first. Five default trainings of each of three real data sets
#: are `ok`: means of neighbours 0.39 to 0.64, clusters 0.73 to 0.88, subspaces 0.91 and more,
#: canonical axes 0.86 and more, fold changes 0.97 and more. After one epoch clusters have 0.51;
#: with 100 cells and 30 dimensions neighbours have 0.17, axes 0.43; where cells differ by noise
#: alone, neighbours 0.05 (`benchmarks/stability.md`).
THRESHOLDS: dict[str, Threshold] = {
    "neighbours": Threshold(
        "Two trainings have {mean:.0%} of a cell's nearest neighbours in common (at least "
        "{least:.0%}; by chance {chance:.1%}).",
        0.2,
        0.1,
        "unstable",
    ),
    "clusters": Threshold(
        "Clusters of two trainings agree with an adjusted Rand index of {mean:.2f} (at least "
        "{least:.2f}; by chance 0).",
        0.6,
        0.3,
        "fewer_clusters",
    ),
    "subspace": Threshold(
        "The directions in use span the same space with a canonical correlation of {mean:.2f} (at "
        "least {least:.2f}; by chance {chance:.2f}).",
        0.6,
        0.3,
        "unstable_dimensions",
    ),
    "canonical_axes": Threshold(
        "Single axes match with a correlation of {raw:.2f} as they are, and of {mean:.2f} as "
        "canonical directions (at least {least:.2f}; by chance {chance:.2f}).",
        0.6,
        None,
        "read_together",
    ),
    "fold_changes": Threshold(
        "Fold changes of all genes between {groups} have a rank correlation of {mean:.2f} (at "
        "least {least:.2f}; by chance 0).",
        0.8,
        0.5,
        "certain_genes",
    ),
    "top_genes": Threshold(
        "The genes that differ most between {groups} are the same for {mean:.0%} (at least "
        "{least:.0%}; by chance {chance:.0%}).",
        0.6,
        0.3,
        "certain_genes",
    ),
}


def criteria_of(
    values: Mapping[str, np.ndarray],
    chance: Mapping[str, float],
    used: np.ndarray,
    n_latent: int,
    groups: Sequence[str],
    cures: Cures,
) -> tuple[Criterion, ...]:
    """Judge means over pairs of runs.

    Parameters
    ----------
    values
        By measure, shape ``(n_pairs,)``.
    chance
        Mean of each measure for runs that have nothing in common, by name of the measure.
    used
        Directions in use of each run.
    n_latent
        Dimension of the latent space.
    groups
        Names of the two groups of cells, or none.
    cures
        What to do in the terms of a model.
    """
    texts = {
        "raw": np.mean(values["raw_axes"]),
        "groups": " and ".join(map(repr, groups)),
    }
    suggested = int(np.median(used)) + SPARE
    advice = {
        "unstable": cures.of("unstable"),
        "fewer_clusters": cures.of("fewer_clusters"),
        "read_together": cures.of("read_together"),
        "certain_genes": cures.of("certain_genes", groups=tuple(groups)),
    }
    advice["unstable_dimensions"] = (
        cures.of("unstable_dimensions", n_latent=suggested)
        if suggested < n_latent
        else advice["unstable"]
    )
    return tuple(
        _criterion(name, threshold, values[name], chance[name], texts, advice)
        for name, threshold in THRESHOLDS.items()
    )


def _criterion(
    name: str,
    threshold: Threshold,
    values: np.ndarray,
    chance: float,
    texts: Mapping[str, object],
    advice: Mapping[str, str],
) -> Criterion:
    if name in OF_GROUPS and not texts["groups"]:
        return Criterion.skipped(name, "There are no two groups of cells to compare.")
    if np.isnan(values).any():
        statement = "In some training no latent direction is in use, so there are none to compare."
        warn, fail = threshold.warn, threshold.fail
        return judge(name, np.nan, statement, warn=warn, fail=fail, cure=advice["unstable"])
    if chance > CHANCE_MAX:
        reason = f"The cells are too few: chance alone would give {chance:.2f}."
        return Criterion.skipped(name, reason)
    mean = float(values.mean())
    return judge(
        name,
        (mean - chance) / (1 - chance),
        threshold.statement.format(mean=mean, least=values.min(), chance=chance, **texts),
        warn=threshold.warn,
        fail=threshold.fail,
        worse="lower",
        cure=advice[threshold.cure],
    )

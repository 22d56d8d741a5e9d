"""How far the encoder's posteriors are from each cell's own best one."""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.neighbors import NearestNeighbors

from lucidvi.audit.cures import Cures
from lucidvi.audit.subject import MISSING, Subject
from lucidvi.results import Amortization, Criterion, GroupGap, judge

#: Share of what can be explained that the encoder misses.
MISSED_WARN, MISSED_FAIL = 0.1, 0.3
#: Error in standard deviations from which on the uncertainty that the encoder states is less than
#: half of what it is: :math:`\\sqrt{1 + e^2} = 2`.
ERROR_WARN = 3**0.5
#: Error of one label or batch over that of all cells, its least error, and fewest cells of one.
GROUP_WARN, GROUP_ERROR_MIN, GROUP_MIN = 1.5, 1.0, 15
#: Axes that the counts have to determine on average for the error to mean anything.
DETERMINED_MIN = 0.5
#: Share of neighbours that change beyond those that change by the posterior's uncertainty.
NEIGHBOURS_WARN = 0.05
#: Neighbours of a cell that are compared.
N_NEIGHBOURS = 15


def amortization(
    amortization_gap: np.ndarray,
    approximation_gap: np.ndarray,
    explained: np.ndarray,
    loc: np.ndarray,
    refined_loc: np.ndarray,
    refined_scale: np.ndarray,
    *,
    names: pd.Index,
    label: np.ndarray,
    batch: np.ndarray,
    prior_variance: np.ndarray | float = 1.0,
    seed: int = 0,
    cures: Cures | None = None,
) -> Amortization:
    r"""Judge the encoder by its gap to refined posteriors.

    A posterior whose mean is off by one standard deviation along each of :math:`\gamma` axes
    loses :math:`\gamma / 2` nats, so that a gap corresponds to an error of

    .. math::
        \sqrt{2 \cdot \mathrm{gap} / \gamma}, \quad \gamma = \sum_k 1 - \sigma_k^2 / s_k^2

    standard deviations, with the number :math:`\gamma` of axes that the counts determine, where
    :math:`s_k^2` is the variance under the prior.

    Parameters
    ----------
    amortization_gap, approximation_gap
        Nats, shape ``(n_cells,)``.
    explained
        ELBO of the refined posteriors above the log likelihood at the mean latent state, nats,
        shape ``(n_cells,)``.
    loc, refined_loc
        Means of the encoder's and of the refined posteriors, shape ``(n_cells, n_latent)``.
    refined_scale
        Standard deviations of the latter, shape ``(n_cells, n_latent)``.
    names
        Names of the cells.
    label, batch
        Label and batch of each cell, shape ``(n_cells,)``.
    prior_variance
        Variance of each number of the latent state under each cell's prior, shape
        ``(n_cells, n_latent)``.
    seed
        Seed of the draws with which neighbours by chance are determined.
    cures
        What makes the code that mends a problem; by default for a model of default arguments.

    References
    ----------
    MacKay, Neural Computation 4 (1992), Bayesian interpolation (the well-determined parameters).
    """
    cure = (cures or Cures()).of("encoder_is_off")
    determined = (1 - refined_scale**2 / prior_variance).clip(min=0).sum(axis=1)
    rng = np.random.default_rng((seed, 1))
    draw = refined_loc + refined_scale * rng.normal(size=refined_loc.shape)
    refined = neighbours(refined_loc)
    changed = share_changed(neighbours(loc), refined)
    by_chance = share_changed(neighbours(draw), refined)
    groups = [
        group
        for by, of_cell in (("label", label), ("batch", batch))
        if len(np.unique(of_cell)) > 1
        for group in _groups(by, of_cell, amortization_gap, approximation_gap, determined)
    ]
    error = error_in_sd(amortization_gap, determined)
    gap, most = float(amortization_gap.mean()), float(explained.mean())
    missed = gap / most if most > gap else float(most > 0)
    return Amortization(
        criteria=(
            _missed(missed, gap, cure),
            _error(error, cure),
            _worst_group(groups, error, cure),
            _neighbours(float(changed.mean()), float(by_chance.mean()), cure),
        ),
        mean_amortization_gap=gap,
        mean_approximation_gap=float(approximation_gap.mean()),
        missed_share=missed,
        error_in_sd=error,
        neighbours_changed=float(changed.mean()),
        neighbours_changed_by_chance=float(by_chance.mean()),
        cells=pd.DataFrame(
            {
                "amortization_gap": amortization_gap,
                "approximation_gap": approximation_gap,
                "neighbours_changed": changed,
                "label": label,
                "batch": batch,
            },
            index=pd.Index(names, name="cell"),
        ),
        groups=tuple(groups),
    )


def error_in_sd(gap: np.ndarray, determined: np.ndarray) -> float:
    """Typical error in standard deviations, see :func:`amortization`; NaN if none is known."""
    if determined.mean() < DETERMINED_MIN:
        return float("nan")
    return float(np.sqrt(2 * max(0.0, gap.sum()) / determined.sum()))


def neighbours(z: np.ndarray) -> np.ndarray:
    """Positions of each cell's nearest neighbours, shape ``(n_cells, n_neighbours)``."""
    k = max(1, min(N_NEIGHBOURS, (len(z) - 1) // 10))
    return NearestNeighbors(n_neighbors=k).fit(z).kneighbors(return_distance=False)


def share_changed(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Share of each cell's neighbours that are not among those before, shape ``(n_cells,)``."""
    pairs = zip(before, after, strict=True)
    return np.array([1 - np.isin(new, old).mean() for old, new in pairs])


def _groups(
    by: str,
    of_cell: np.ndarray,
    amortization_gap: np.ndarray,
    approximation_gap: np.ndarray,
    determined: np.ndarray,
) -> list[GroupGap]:
    def gap_of(group: str) -> GroupGap:
        in_group = of_cell == group
        return GroupGap(
            by,
            str(group),
            int(in_group.sum()),
            float(amortization_gap[in_group].mean()),
            float(approximation_gap[in_group].mean()),
            error_in_sd(amortization_gap[in_group], determined[in_group]),
        )

    return [gap_of(group) for group in np.unique(of_cell)]


def _missed(missed: float, gap: float, cure: str) -> Criterion:
    return judge(
        "missed",
        missed,
        f"The encoder misses {missed:.1%} of what the latent state can explain of a cell's "
        f"counts ({gap:.1f} nats).",
        warn=MISSED_WARN,
        fail=MISSED_FAIL,
        cure=cure,
    )


def _error(error: float, cure: str) -> Criterion:
    if np.isnan(error):
        return Criterion.skipped("error", "The counts determine none of the latent axes.")
    return judge(
        "error",
        error,
        f"The encoder's guesses are off by {error:.2f} standard deviations of the posterior, so "
        f"the uncertainty that it states is {1 / np.hypot(1, error):.0%} of what it is.",
        warn=ERROR_WARN,
        cure=cure,
    )


def _worst_group(groups: list[GroupGap], error: float, cure: str) -> Criterion:
    large = [
        group
        for group in groups
        if group.n_cells >= GROUP_MIN
        and not np.isnan(group.error_in_sd)
        and group.group != MISSING
    ]
    if not large:
        return Criterion.skipped("group", "There are no batches or labels to compare.")
    most = max(large, key=lambda group: group.error_in_sd)
    return judge(
        "group",
        most.error_in_sd / max(error, GROUP_ERROR_MIN / GROUP_WARN),
        f"The {most.by} {most.group!r} is encoded worst: off by {most.error_in_sd:.2f} standard "
        f"deviations, {most.amortization_gap:.1f} nats a cell (all cells: {error:.2f}).",
        warn=GROUP_WARN,
        cure=cure,
    )


def _neighbours(changed: float, by_chance: float, cure: str) -> Criterion:
    return judge(
        "neighbours",
        changed - by_chance,
        f"{changed:.0%} of nearest neighbours change when each cell gets its own best posterior; "
        f"{by_chance:.0%} change within the posterior's own uncertainty.",
        warn=NEIGHBOURS_WARN,
        cure=cure,
    )


def check(subject: Subject) -> Amortization:
    """Measure how far the encoder of a model is off."""
    refined, sample = subject.refined, subject.sample
    positions = refined.positions
    return amortization(
        refined.amortization_gap,
        refined.approximation_gap,
        refined.explained,
        subject.latent.select(positions).loc,
        refined.diagonal.loc,
        refined.diagonal.scale,
        names=refined.diagonal.names,
        label=sample.label[positions],
        batch=sample.batch[positions],
        prior_variance=subject.prior_variance[positions],
        seed=subject.seed,
        cures=subject.cures,
    )

"""What the latent space tells of batch and sequencing depth, which it should not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.neighbors import NearestNeighbors

from lucidvi.audit.cures import Cures
from lucidvi.audit.subject import Subject
from lucidvi.results import Confounding, Criterion, judge

N_NEIGHBOURS, N_PERMUTATIONS = 30, 200
#: Share of a mean square that is rounding.
ROUNDING = 1e-20
#: Largest p-value with which an excess counts.
P_MAX = 0.01
#: Excess of the accuracy over chance.
BATCH_WARN, BATCH_FAIL = 0.2, 0.5
#: Excess of the explained variance over chance. Some of it is biology, since cells of one type
#: differ in size: in well-trained models of three real data sets it is up to 0.43.
LIBRARY_WARN = 0.5
#: Share of the latent space's variance that depth explains: from the second on it is what places
#: cells, more than one of five equal dimensions would.
SHARE_WARN, SHARE_FAIL = 0.1, 0.2


def confounding(
    z: np.ndarray,
    batch: np.ndarray,
    log_total: np.ndarray,
    label: np.ndarray,
    *,
    seed: int = 0,
    cures: Cures | None = None,
) -> Confounding:
    """Tell batch and library size from each cell's nearest neighbours, against permutations.

    Neighbours do not depend on what is permuted, so that a permutation costs no more than a vote.
    A cell is not its own neighbour, which makes the vote a cross-validated one.

    Parameters
    ----------
    z
        Posterior means, shape ``(n_cells, n_latent)``.
    batch, label
        Names, shape ``(n_cells,)``; equal ones where there are none.
    log_total
        Log of the total counts, shape ``(n_cells,)``.
    seed
        Seed of the permutations.
    cures
        What makes the code that mends a problem; by default for a model of default arguments.
    """
    cures = cures or Cures()
    k = max(1, min(N_NEIGHBOURS, (len(z) - 1) // 10))
    near = NearestNeighbors(n_neighbors=k).fit(z).kneighbors(return_distance=False)
    names, codes = np.unique(batch, return_inverse=True)
    rng = np.random.default_rng((seed, 1))
    orders = [within(label, rng) for _ in range(N_PERMUTATIONS)]
    recall = batch_recall(near, codes, len(names))
    batch_null = np.array([batch_recall(near, codes[o], len(names)).mean() for o in orders])
    r2 = neighbour_r2(near, log_total)
    library_null = np.array([neighbour_r2(near, log_total[o]) for o in orders])
    with_labels = len(np.unique(label)) > 1
    of_batch = Excess.of(float(recall.mean()), batch_null)
    of_library = Excess.of(r2, library_null)
    share = latent_share(z, log_total, label)
    return Confounding(
        criteria=(
            _batch(of_batch, len(names), cures.of("batch_shows")),
            _library(of_library, with_labels, cures.of("depth_shows")),
            _share(share, with_labels, cures.of("depth_shows")),
        ),
        batch_accuracy=of_batch.value if len(names) > 1 else np.nan,
        batch_chance=of_batch.chance if len(names) > 1 else np.nan,
        batch_excess=of_batch.excess if len(names) > 1 else np.nan,
        batch_p=of_batch.p if len(names) > 1 else np.nan,
        library_r2=r2,
        library_chance=of_library.chance,
        library_excess=of_library.excess,
        library_p=of_library.p,
        library_latent_share=share,
        batch_null=batch_null,
        library_null=library_null,
        batch_recall=pd.Series(recall, pd.Index(names.astype(str), name="batch"), name="recall"),
        within_labels=with_labels,
    )


@dataclass(frozen=True)
class Excess:
    """A score against its permutations: their mean, the share of the way from it to 1, p."""

    value: float
    chance: float
    excess: float
    p: float

    @classmethod
    def of(cls, value: float, null: np.ndarray) -> Excess:
        """Compare a score, 1 at most, with those of permutations."""
        chance = float(null.mean())
        excess = (value - chance) / (1 - chance) if chance < 1 else 0.0
        return cls(value, chance, excess, float((1 + (null >= value).sum()) / (1 + len(null))))


def within(label: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a random order that exchanges cells of the same label only."""
    order = np.arange(len(label))
    for name in np.unique(label):
        members = np.flatnonzero(label == name)
        order[members] = rng.permutation(members)
    return order


def batch_recall(near: np.ndarray, codes: np.ndarray, n_batches: int) -> np.ndarray:
    """Share of each batch's cells whose neighbours vote for it.

    Votes count by the size of the batch that they are for, so that a large one does not win
    everywhere.
    """
    size = np.bincount(codes, minlength=n_batches)
    votes = np.stack([(codes[near] == b).mean(axis=1) for b in range(n_batches)], axis=1)
    voted = (votes / size).argmax(axis=1)
    return np.bincount(codes, weights=voted == codes, minlength=n_batches) / size


def neighbour_r2(near: np.ndarray, value: np.ndarray) -> float:
    """Share of the variance of a value that the mean of the neighbours' explains."""
    total = np.square(value - value.mean()).sum()
    left = np.square(value - value[near].mean(axis=1)).sum()
    return float(1 - left / total) if varies(total, value) else 0.0


def varies(square: float, value: np.ndarray) -> bool:
    """Whether a sum of squared deviations is more than the rounding of equal values."""
    return square > ROUNDING * len(value) * (1 + float(np.square(value).mean()))


def latent_share(z: np.ndarray, value: np.ndarray, label: np.ndarray) -> float:
    """Share of the variance of z, within labels, that a value explains linearly."""
    codes = np.unique(label, return_inverse=True)[1]
    both, raw = np.column_stack([z, value]), value
    size = np.bincount(codes)
    means = np.stack([np.bincount(codes, weights=column) / size for column in both.T], axis=1)
    both = both - means[codes]
    z, value = both[:, :-1], both[:, -1]
    total, square = np.square(z).sum(), np.square(value).sum()
    both_vary = total > 0 and varies(square, raw)
    return float(np.square(value @ z).sum() / (total * square)) if both_vary else 0.0


def _batch(score: Excess, n_batches: int, cure: str) -> Criterion:
    if n_batches < 2:
        return Criterion.skipped("batch", "The model knows of one batch only.")
    return judge(
        "batch",
        score.excess if score.p <= P_MAX else 0.0,
        f"A cell's batch is told from its neighbours with a balanced accuracy of "
        f"{score.value:.2f}; chance is {score.chance:.2f} (p = {score.p:.3f}).",
        warn=BATCH_WARN,
        fail=BATCH_FAIL,
        cure=cure,
    )


def _library(score: Excess, with_labels: bool, cure: str) -> Criterion:
    chance = "permuted within cell types" if with_labels else "permuted"
    return judge(
        "library",
        score.excess if score.p <= P_MAX else 0.0,
        f"Neighbours explain {max(0, score.value):.0%} of the variance of sequencing depth; "
        f"{max(0, score.chance):.0%} when {chance} (p = {score.p:.3f}).",
        warn=LIBRARY_WARN,
        cure=cure,
    )


def _share(share: float, with_labels: bool, cure: str) -> Criterion:
    place = " within cell types" if with_labels else ""
    return judge(
        "library_share",
        share,
        f"Sequencing depth explains {share:.0%} of the variance of the latent space{place}.",
        warn=SHARE_WARN,
        fail=SHARE_FAIL,
        cure=cure,
    )


def check(subject: Subject) -> Confounding:
    """Ask whether batch and depth show in the latent space of a model."""
    return confounding(
        subject.latent.loc,
        subject.sample.batch,
        np.log(subject.total.clip(min=1)),
        subject.sample.label,
        seed=subject.seed,
        cures=subject.cures,
    )

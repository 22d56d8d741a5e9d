r"""Two groups of cells compared gene by gene, at pairs of draws of their expression.

What scvi-tools' ``get_bayes_factors`` computes from two matrices of draws by genes is computed
here from pairs of drawn states: these are decoded a few at a time, and what is asked of a gene is
summed up. So the memory does not grow with the draws, and only the states that were chosen are
drawn, of the cells that they belong to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lucidvi._compat import credible_intervals, estimate_delta
from lucidvi.errors import DataError
from lucidvi.model.expression._pairs import Pairs

#: Added to probabilities before their log is taken.
EPS = 1e-8
#: Of the pseudocount, for the log fold changes that are described and not tested.
SHARE_OF_PSEUDOCOUNT = 1e-3
#: Values, of genes x pairs, that are described at once.
BLOCK = 2**21


@dataclass(frozen=True)
class Options:
    """How groups are compared; see ``get_bayes_factors`` of scvi-tools.

    Parameters
    ----------
    mode, delta, pseudocounts, threshold_counts, test_mode, cred_interval_lvls
        What is asked of the draws.
    n_samples_overall, use_permutation, m_permutation
        How many draws of each group, and how they are paired.
    batchid1, batchid2, use_observed_batches
        Batches to decode the groups as.
    """

    mode: str = "vanilla"
    delta: float | None = 0.25
    n_samples_overall: int = 5000
    use_permutation: bool = False
    m_permutation: int = 10000
    pseudocounts: float | None = None
    threshold_counts: float = 0.01
    test_mode: str = "three"
    cred_interval_lvls: Sequence[float] | None = None
    batchid1: Sequence[Any] | None = None
    batchid2: Sequence[Any] | None = None
    use_observed_batches: bool = True

    def batches(self, given: Sequence[Any] | None, names: Sequence[Any]) -> list[Any]:
        """Return the batches to decode a group as, by name; None for each cell's own."""
        if not self.use_observed_batches:
            return list(names if given is None else given)
        if given is not None:
            raise DataError(
                "Inconsistent batch policy: `batchid1` and `batchid2` say which batches to decode "
                "the groups as, and `batch_correction=False` that each cell is decoded as one of "
                "its own.",
                remedy="batch_correction=True",
            )
        return [None]


# -- what is asked of the pairs ---------------------------------------------------------------


def compare(pairs: Pairs, options: Options, is_silent: tuple[Any, Any]) -> dict[str, Any]:
    """Compare two groups at pairs of draws.

    Parameters
    ----------
    pairs
        The pairs.
    options
        How they are compared.
    is_silent
        Which genes are not expressed in the first and in the second group, each ``(n_genes,)``;
        looked at by ``mode="change"`` without ``pseudocounts``.

    Returns
    -------
    Columns of the table of ``differential_expression``, by name, each of shape ``(n_genes,)``.
    """
    if options.mode == "vanilla":
        return _which_is_higher(pairs, options)
    return _change(pairs, options, is_silent)


class RunningMean:
    """A mean of rows that come some at a time, float64, on the CPU."""

    def __init__(self) -> None:
        self._total: Any = 0.0
        self._n = 0

    def add(self, rows: Tensor) -> None:
        """Count some rows in, shape ``(n, n_genes)``."""
        self._total = self._total + rows.sum(dim=0).double().cpu()
        self._n += len(rows)

    def value(self) -> NDArray[np.float64]:
        """Return the mean, shape ``(n_genes,)``."""
        return (self._total / self._n).numpy()


def greater(first: Tensor, second: Tensor) -> Tensor:
    """Whether each value is greater, as 0 and 1 of the same type, which are summed up faster."""
    return torch.gt(first, second, out=torch.empty_like(first))


def by_probability(
    proba_m1: NDArray[np.float64], scale1: NDArray[Any], scale2: NDArray[Any]
) -> dict[str, Any]:
    """Return the columns of ``mode="vanilla"``."""
    return {
        "proba_m1": proba_m1,
        "proba_m2": 1.0 - proba_m1,
        "bayes_factor": np.log(proba_m1 + EPS) - np.log(1.0 - proba_m1 + EPS),
        "scale1": scale1.astype(np.float32),
        "scale2": scale2.astype(np.float32),
    }


def _means(
    pairs: Pairs, options: Options, of_pairs: tuple[RunningMean, RunningMean]
) -> dict[str, Any]:
    """Mean expression of both groups over their draws."""
    if options.use_permutation:  # pairs are then chosen among the draws
        of_pairs = RunningMean(), RunningMean()
        for side, total in zip((pairs.first, pairs.second), of_pairs, strict=True):
            for batch, rows in side.rows.items():
                for block in side.states.blocks(0, len(rows)):
                    total.add(side.decode(batch, rows[block]))
    first, second = (total.value().astype(np.float32) for total in of_pairs)
    return {"scale1": first, "scale2": second}


def _which_is_higher(pairs: Pairs, options: Options) -> dict[str, Any]:
    higher, scales = RunningMean(), (RunningMean(), RunningMean())
    for first, second in pairs.decoded():
        higher.add(greater(first, second))
        scales[0].add(first)
        scales[1].add(second)
    means = _means(pairs, options, scales)
    return by_probability(higher.value(), means["scale1"], means["scale2"])


def _change(pairs: Pairs, options: Options, is_silent: tuple[Any, Any]) -> dict[str, Any]:
    pseudocounts, scales = options.pseudocounts, None
    if pseudocounts is None:
        pseudocounts, scales = _pseudocount(pairs, is_silent)
    delta = options.delta
    if delta is None:
        mean = RunningMean()
        for first, second in pairs.decoded():
            mean.add(_log_fold(first, second, pseudocounts))
        delta = estimate_delta(lfc_means=mean.value())
    n_genes = pairs.first.n_features
    changes = np.empty((n_genes, len(pairs)), dtype=np.float32)
    up, down, totals, start = RunningMean(), RunningMean(), (RunningMean(), RunningMean()), 0
    for first, second in pairs.decoded():
        change = _log_fold(first, second, pseudocounts)
        up.add((change >= delta).to(change))
        down.add((change < -delta).to(change))
        if scales is None:
            totals[0].add(first)
            totals[1].add(second)
        described = _log_fold(first, second, SHARE_OF_PSEUDOCOUNT * pseudocounts)
        changes[:, start : start + len(first)] = described.T.cpu().numpy()
        start += len(first)
    proba_m1, proba_m2 = up.value(), down.value()
    proba_de = proba_m1 + proba_m2
    if options.test_mode != "two":
        proba_de = np.maximum(proba_m1, proba_m2)
    return {
        "proba_de": proba_de,
        "proba_not_de": 1.0 - proba_de,
        "bayes_factor": np.log(proba_de + EPS) - np.log(1.0 - proba_de + EPS),
        **_means(pairs, options, scales or totals),
        "pseudocounts": pseudocounts,
        "delta": delta,
        **_described(changes, options.cred_interval_lvls or ()),
    }


def _log_fold(first: Tensor, second: Tensor, pseudocounts: float) -> Tensor:
    return (first + pseudocounts).log2() - (second + pseudocounts).log2()


def _pseudocount(
    pairs: Pairs, is_silent: tuple[Any, Any]
) -> tuple[float, tuple[RunningMean, RunningMean]]:
    """Find the pseudocount from genes that are not expressed, as scvi-tools does; and the means.

    It is the 90 % quantile of the largest expression of each of them, divided by the number of
    genes, in the group where that is larger.
    """
    largest: list[Any] = [None, None]
    scales = RunningMean(), RunningMean()
    for decoded in pairs.decoded():
        for side, expression in enumerate(decoded):
            scales[side].add(expression)
            top = expression.amax(dim=0).cpu()
            largest[side] = top if largest[side] is None else torch.maximum(largest[side], top)
    eps = [
        np.quantile(top.numpy()[silent], q=0.9) if silent.any() else 1e-10
        for top, silent in zip(largest, is_silent, strict=True)
    ]
    return float(max(1e-10, max(eps) / len(largest[0]))), scales


def _described(changes: NDArray[np.float32], levels: Sequence[float]) -> dict[str, Any]:
    """Describe log fold changes, shape ``(n_genes, n_pairs)``, some genes at a time."""
    n_genes, n_pairs = changes.shape
    columns: dict[str, list[Any]] = {}
    size = max(1, BLOCK // n_pairs)
    for start in range(0, n_genes, size):
        some = changes[start : start + size]
        described = {
            "mean": some.mean(axis=1),
            "median": np.median(some, axis=1),
            "std": some.std(axis=1),
            "min": some.min(axis=1),
            "max": some.max(axis=1),
        }
        for level in levels:
            ends = credible_intervals(some.T, confidence_level=level)
            described[f"confidence_interval_{str(level)[:5]}_min"] = ends[:, 0]
            described[f"confidence_interval_{str(level)[:5]}_max"] = ends[:, 1]
        for name, values in described.items():
            columns.setdefault(f"lfc_{name}", []).append(values)
    return {name: np.concatenate(parts) for name, parts in columns.items()}

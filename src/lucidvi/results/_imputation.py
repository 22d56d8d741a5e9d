"""What cells would have shown of a modality that was not measured in them, or not looked at."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from lucidvi._brief import brief


@dataclass(frozen=True, eq=False, repr=False)
class Imputation:
    """Values of a modality, from the posterior of the states given others, with intervals.

    Parameters
    ----------
    modality
        Which.
    from_modalities
        What the states were inferred from.
    mean
        Means of the counts, linear, cells by features.
    lower, upper
        Bounds of the central intervals of counts that would be drawn, same shape; None without
        intervals. Counts are whole numbers, so that an interval holds at least its share.
    level
        Probability that a count lies within its bounds; None without intervals.
    """

    modality: str
    from_modalities: tuple[str, ...]
    mean: pd.DataFrame
    lower: pd.DataFrame | None = None
    upper: pd.DataFrame | None = None
    level: float | None = None

    def coverage(self, counts: pd.DataFrame) -> pd.Series:
        """Share of known counts that lie within their intervals, by feature.

        Parameters
        ----------
        counts
            Counts of some of the cells and features, by name; NaN where nothing was measured.

        Returns
        -------
        Share by feature, NaN of one that was not measured in any of the cells.
        """
        if self.lower is None or self.upper is None:
            raise ValueError("without intervals there is no coverage: impute(..., intervals=0.9)")
        lower, upper = (
            bound.loc[counts.index, counts.columns] for bound in (self.lower, self.upper)
        )
        within = ((counts >= lower) & (counts <= upper)).astype(float)
        return within.where(counts.notna()).mean()

    def __repr__(self) -> str:
        n_cells, n_features = self.mean.shape
        what = f"{n_cells:,} cells x {n_features:,} features of {self.modality!r}"
        return brief(self, what)


def central(draws: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Bounds of the central interval of draws, along the last axis.

    Parameters
    ----------
    draws
        Draws, sorted along the last axis, shape ``(..., n_draws)``.
    level
        Probability of the interval.
    """
    n = draws.shape[-1]
    tail = (1 - level) / 2
    low = max(int(np.ceil(tail * n)), 1) - 1
    high = max(int(np.ceil((1 - tail) * n)), 1) - 1
    return draws[..., low], draws[..., high]

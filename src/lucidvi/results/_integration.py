"""Scores of embeddings of the same cells."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

#: The group of columns with the means of the others and the total.
TOTALS = "total"


@dataclass(frozen=True, eq=False)
class Integration:
    """Scores of embeddings of the same cells; ``print`` it, or draw it by ``lucidvi.pl``.

    Parameters
    ----------
    scores
        A row for each embedding and a column for each metric, grouped in ``"bio conservation"``
        and ``"batch correction"``; in the group ``"total"`` their means and
        0.6 bio + 0.4 batch. All lie between 0 and 1, and higher is better.
    seconds
        Seconds that each embedding of all cells took, NaN where it is not known.
    labels_key, batch_key
        Columns of ``obs``.
    n_cells, n_labels, n_batches
        What was scored.
    notes
        What was left out, and why.
    """

    scores: pd.DataFrame
    seconds: pd.Series
    labels_key: str
    batch_key: str | None
    n_cells: int
    n_labels: int
    n_batches: int
    notes: tuple[str, ...]

    @property
    def total(self) -> pd.Series:
        """Total of each embedding; without batches, the mean of bio conservation."""
        return self.scores[TOTALS].iloc[:, -1]

    def __str__(self) -> str:
        title = f"{self.n_cells:,} cells, {self.n_labels} labels ({self.labels_key!r})"
        if self.batch_key:
            title += f", {self.n_batches} batches ({self.batch_key!r})"
        table = self.scores.T.map("{:.3f}".format)
        seconds = ["" if np.isnan(value) else f"{value:.1f}" for value in self.seconds]
        table.loc[("seconds", ""), :] = seconds
        table.index.names = [None, None]
        return "\n".join([title, table.to_string(), *self.notes])

    __repr__ = __str__

"""What all planned experiments have in common: their sizes, donors and results."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray

from lucidvi.checks import check_choice, check_whole
from lucidvi.errors import DataError
from lucidvi.inference import POSTERIORS
from lucidvi.model import SCVI, Cells
from lucidvi.simulate.comparisons._groups import donors_of

#: Columns of the table that say the size of the experiment.
SIZE = ("cells", "donors", "depth")


@dataclass(frozen=True, eq=False)
class DesignResult:
    """Power and false discovery rate by the size of an experiment.

    Parameters
    ----------
    table
        A row for each size: ``cells`` of a donor, ``donors`` of a group, ``depth`` relative to the
        data; ``power``, the share of the changed genes (or labels) that are found, and ``fdr``,
        the share of the findings that are false, as means over ``n_repeats``, with their standard
        errors ``power_se`` and ``fdr_se``.
    request
        Every argument.
    donor_sd
        Standard deviation of donors' log expression for each gene that was taken, or of their log
        abundance for each label.
    changing
        What changes, in words.
    assumptions
        What has to hold, in whole sentences.
    labels
        Of a plan for abundance, a row for each label that changes and size: its ``power``,
        ``power_se`` and ``n_repeats``; its ``share`` of the data's cells; and of its cells at that
        depth the share ``called`` by its name.
    """

    table: pd.DataFrame
    request: dict[str, Any]
    donor_sd: pd.Series
    changing: str
    assumptions: tuple[str, ...]
    labels: pd.DataFrame | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return all as plain values."""
        return {
            "table": self.table.to_dict("records"),
            "request": self.request,
            "donor_sd": self.donor_sd.to_dict(),
            "changing": self.changing,
            "assumptions": list(self.assumptions),
            "labels": None if self.labels is None else self.labels.to_dict("records"),
        }

    def __repr__(self) -> str:
        table = self.table.round(3).to_string(max_rows=6)
        asked = f"{self.changing}, effect={self.request['effect']}, test={self.request['test']!r}"
        return f"DesignResult({asked}, rate={self.request['rate']})\n{table}"


def grid_of(cells: Any, donors: Any, depth: Any) -> tuple[tuple[int, int, float], ...]:
    """Check the sizes, and return all their combinations."""
    for name, values in zip(SIZE, (cells, donors, depth), strict=True):
        if np.ndim(values) != 1 or len(values) == 0:
            raise DataError(f"`{name}` is {values!r}.", remedy=f"Give a list: {name}=[...].")
    for n in cells:
        check_whole("cells", n, least=1)
    for n in donors:
        check_whole("donors", n, least=2)
    for r in depth:
        if not (np.isfinite(r) and r > 0):
            raise DataError(
                f"`depth` has {r!r}.",
                remedy="Give positive, finite numbers, 1.0 for the depth of the data.",
            )
    return tuple((int(c), int(d), float(r)) for r, d, c in itertools.product(depth, donors, cells))


def check_planned(
    effect: Any, rate: Any, n_repeats: Any, seed: Any, posterior: Any, nothing: str
) -> None:
    """Check what all plans take besides sizes; ``nothing`` asks for no effect at all."""
    if not np.isfinite(effect) or effect == 0:
        raise DataError(
            f"`effect` is {effect!r}.",
            remedy="Give a log2 fold change, such as 1.0 for twice; to see what is found where "
            f"nothing changes, `{nothing}`.",
        )
    if not 0 < rate < 1:
        raise DataError(f"`rate` is {rate!r}.", remedy="Give a number between 0 and 1.")
    check_whole("n_repeats", n_repeats, least=1)
    check_whole("seed", seed)
    check_choice("posterior", posterior, POSTERIORS)


def planned_cells(model: SCVI, among: Any, donors: Sequence[int]) -> Cells:
    """Return the cells to draw from, or raise if they are too few."""
    given = (among, None) if isinstance(among, AnnData) else (None, among)
    chosen = Cells.of(model, *given)
    if len(chosen) < 2 * max(donors):
        raise DataError(
            f"`among` has {len(chosen):,} cells, fewer than the {2 * max(donors):,} donors that "
            "`donors` asks for in two groups.",
            remedy="Take more cells, or fewer donors.",
        )
    return chosen


def donor_codes(chosen: Cells, donor_key: str | None, donor_sd: Any) -> NDArray[np.integer] | None:
    """Return the codes of the cells' donors if these tell how far donors differ."""
    if (donor_key is None) == (donor_sd is None):
        raise DataError(
            f"`donor_key` is {donor_key!r} and `donor_sd` is {donor_sd!r}.",
            remedy="Name the column of the donors, or say how far they differ; 0 if not at all.",
        )
    codes = None
    if donor_key is not None:
        codes = donors_of(chosen.adata, donor_key)[chosen.positions]
        if (np.bincount(codes) > 1).sum() < 2:
            raise DataError(
                f"`donor_key` is {donor_key!r}, and fewer than two donors have two cells among "
                f"the {len(chosen):,}.",
                remedy="Give `donor_sd=` instead.",
            )
    return codes


def given_spread(donor_sd: Any, n: int, what: str) -> NDArray[np.float64]:
    spread = np.asarray(donor_sd, dtype=float)
    if spread.shape not in ((), (n,)) or not (np.isfinite(spread) & (spread >= 0)).all():
        raise DataError(
            f"`donor_sd` is {donor_sd!r}.",
            remedy=f"Give a number that is not negative, or {n:,} of them, one a {what}.",
        )
    return np.full(n, spread)


def table_of(
    grid: tuple[tuple[int, int, float], ...], values: NDArray[np.float64]
) -> pd.DataFrame:
    """Means over the repeats, of values of shape ``(n_repeats, n_sizes, 2)``."""
    n = len(values)
    mean = values.mean(axis=0)
    error = values.std(axis=0, ddof=1) / np.sqrt(n) if n > 1 else np.full(mean.shape, np.nan)
    table = pd.DataFrame(grid, columns=list(SIZE))
    for i, name in enumerate(("power", "fdr")):
        table[name], table[f"{name}_se"] = mean[:, i], error[:, i]
    return table.assign(n_repeats=n)

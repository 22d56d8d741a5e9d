"""What is planned: the sizes of an experiment, and what it is to find."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from lucidvi.checks import check_share, check_whole, is_number
from lucidvi.errors import DataError


class Size(NamedTuple):
    """Size of an experiment, which is a row of every table of results.

    Parameters
    ----------
    n_cells
        Number of cells of each donor.
    n_donors
        Number of donors of each of the two groups.
    depth_factor
        Library sizes, as a multiple of the data's.
    """

    n_cells: int
    n_donors: int
    depth_factor: float


@dataclass(frozen=True)
class Design:
    """Experiments of two groups of donors, at all combinations of some sizes.

    Parameters
    ----------
    n_cells
        Numbers of cells of each donor.
    n_donors
        Numbers of donors of each group, at least two.
    depth_factor
        Library sizes, as multiples of the data's.
    effect
        Log2 fold change, in the second group, of whatever changes.
    fdr
        False discovery rate at which findings are called, by Benjamini and Hochberg.

    Raises
    ------
    lucidvi.errors.DataError
        If a number is out of its range.

    Examples
    --------
    >>> from lucidvi.simulate import Design
    >>> len(Design(n_cells=[50, 100], n_donors=[4, 8]).sizes)
    4
    """

    n_cells: Sequence[int]
    n_donors: Sequence[int]
    depth_factor: Sequence[float] = (1.0,)
    effect: float = 1.0
    fdr: float = 0.05

    def __post_init__(self) -> None:
        self._set("n_cells", int, lambda name, n: check_whole(name, n, least=1))
        self._set("n_donors", int, lambda name, n: check_whole(name, n, least=2))
        self._set("depth_factor", float, _check_depth_factor)
        if not is_number(self.effect) or self.effect == 0:
            raise DataError(
                f"`effect` is {self.effect!r}.",
                remedy="Give a log2 fold change, such as 1.0 for twice; to see what is found "
                "where nothing changes, say `share=0` (of genes) or `changed=[]` (of labels).",
            )
        check_share("fdr", self.fdr, between=True)

    @property
    def sizes(self) -> tuple[Size, ...]:
        """All sizes: the cells change fastest, then the donors, then the depth."""
        combinations = itertools.product(self.depth_factor, self.n_donors, self.n_cells)
        return tuple(Size(n_cells, n_donors, r) for r, n_donors, n_cells in combinations)

    @property
    def log_effect(self) -> float:
        """The effect as a natural logarithm."""
        return float(self.effect) * np.log(2)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain values."""
        return {
            "n_cells": list(self.n_cells),
            "n_donors": list(self.n_donors),
            "depth_factor": list(self.depth_factor),
            "effect": float(self.effect),
            "fdr": float(self.fdr),
        }

    def _set(self, name: str, kind: type, check: Callable[[str, Any], None]) -> None:
        """Check a list, and keep it as a tuple of plain numbers."""
        values = getattr(self, name)
        if np.ndim(values) != 1 or len(values) == 0:
            raise DataError(f"`{name}` is {values!r}.", remedy=f"Give a list: {name}=[...].")
        for value in values:
            check(name, value)
        object.__setattr__(self, name, tuple(map(kind, values)))


def _check_depth_factor(name: str, value: Any) -> None:
    if not (is_number(value) and value > 0):
        raise DataError(
            f"`{name}` has {value!r}.",
            remedy="Give positive, finite numbers, 1.0 for the depth of the data.",
        )

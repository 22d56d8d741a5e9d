"""What was registered of an AnnData, to tell later whether it is still the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from anndata import AnnData

from lucidvi.data._columns import named_columns
from lucidvi.data._remedies import Reader, column_of, place_of
from lucidvi.data.checks._counts import check_counts
from lucidvi.data.checks._digest import digests_of_rows, digests_of_values
from lucidvi.data.covariates._equality import category_text, readable
from lucidvi.data.matrices._layers import layer_names, matrix_of
from lucidvi.data.matrices._stored import is_in_memory
from lucidvi.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Cells, evenly spaced, whose counts are looked at where nothing is read cell by cell.
N_SAMPLED = 64

KEEP_COUNTS = (
    'load the counts again; before you normalise, keep them: adata.layers["counts"] = '
    'adata.X.copy(); SCVI.setup_anndata(adata, layer="counts")'
)


@dataclass(frozen=True)
class Snapshot:
    """Digests of the counts and copies of the columns, as they were when they were checked.

    Parameters
    ----------
    shape
        Number of cells and of genes.
    digests
        One number a cell, see :mod:`lucidvi.data.checks._digest`, shape ``(n_cells,)``; None for
        data without counts.
    columns
        Columns of ``obs`` by the argument of ``setup_anndata`` that names them.
    setup_args
        Arguments of ``setup_anndata``.
    """

    shape: tuple[int, int]
    digests: NDArray[np.uint64] | None
    columns: dict[tuple[str, str], Any]
    setup_args: Mapping[str, Any]

    @classmethod
    def of(
        cls, adata: AnnData, setup_args: Mapping[str, Any], digests: NDArray[np.uint64] | None
    ) -> Snapshot:
        """Take a snapshot of checked data.

        Parameters
        ----------
        adata
            The data.
        setup_args, digests
            See the class.
        """
        columns = {}
        if isinstance(adata.obs, pd.DataFrame):
            for argument, name in named_columns(setup_args):
                columns[argument, name] = readable(adata.obs[name]).array.copy()
        return cls(tuple(adata.shape), digests, columns, dict(setup_args))

    def check(
        self, adata: AnnData, rows: NDArray[np.integer], ignored: tuple[str, ...] = ()
    ) -> None:
        """Raise if some of the cells are no longer what was checked.

        Parameters
        ----------
        adata
            The data as they are. Counts that are not in memory are compared as they are read,
            by :meth:`check_values`.
        rows
            Positions of the cells.
        ignored
            Arguments of ``setup_anndata`` whose columns do not matter.

        Raises
        ------
        lucidvi.errors.DataError
            It names what changed, the first cell, and the remedy.
        """
        self._check_shape(adata)
        if self.digests is not None:
            matrix = matrix_of(adata, self.setup_args.get("layer"))
            if is_in_memory(matrix):
                self._compare(adata, rows, digests_of_rows(matrix, rows), matrix)
        for (argument, name), before in self.columns.items():
            if argument not in ignored and name in adata.obs:
                self._check_column(adata, name, before, rows)

    def check_values(self, adata: AnnData, rows: NDArray[np.integer], values: Any) -> None:
        """Raise if cells that have been read from a file are not those that were checked.

        Parameters
        ----------
        adata, rows
            See :meth:`check`.
        values
            Counts of the cells, NumPy array or sparse matrix of scipy.
        """
        if self.digests is not None:
            self._compare(adata, rows, digests_of_values(values), None)

    def values(self, ignored: tuple[str, ...] = ()) -> dict[str, Any]:
        """Return digests of the counts and columns, by place.

        Parameters
        ----------
        ignored
            Arguments of ``setup_anndata`` whose columns do not matter.
        """
        columns = {
            column_of(name): column
            for (argument, name), column in self.columns.items()
            if argument not in ignored
        }
        return {self._place: self.digests, **columns}

    @property
    def sample(self) -> NDArray[np.integer]:
        """Positions of a few cells, evenly spaced."""
        n_cells = self.shape[0]
        return np.linspace(0, n_cells - 1, min(n_cells, N_SAMPLED)).astype(np.int64)

    @property
    def _place(self) -> str:
        return place_of(self.setup_args.get("layer"))

    def _check_shape(self, adata: AnnData) -> None:
        for what, before, now in zip(("cells", "genes"), self.shape, adata.shape, strict=True):
            if before != now:
                subset = "adata[cells].copy()" if what == "cells" else "adata[:, genes].copy()"
                raise DataError(
                    f"adata has {now:,} {what}, but had {before:,} when it was set up: {what} "
                    "were filtered in place.",
                    remedy=f"{self._again}; or, before, filter a copy: {subset}",
                )

    def _compare(
        self, adata: AnnData, rows: NDArray[np.integer], now: NDArray[np.uint64], matrix: Any
    ) -> None:
        assert self.digests is not None
        if (now == self.digests[rows]).all():
            return
        if matrix is not None:  # of all cells, not only of those that were looked at
            rows = np.arange(self.shape[0])
            now = digests_of_rows(matrix, rows)
        changed = rows[now != self.digests[rows]]
        where = f"{adata.obs_names[changed[0]]!s} (row {changed[0]})"
        if matrix is not None and (np.sort(now) == np.sort(self.digests)).all():
            raise DataError(
                "The cells of adata are in another order than when it was set up: the first that "
                f"has another one's counts is {where}.",
                remedy=f"reorder a copy, adata[order].copy(); or {self._again}",
            )
        cause = self._cause(adata)
        raise DataError(
            f"{self._place} has changed since it was set up: {len(changed):,} of {len(rows):,} "
            f"cells have other values, the first is {where}. {cause}".rstrip(),
            remedy=self._restore(adata, rows) or (KEEP_COUNTS if cause else self._again),
        )

    @property
    def _again(self) -> str:
        setup = Reader(self.setup_args).setup()
        return f"set up again and make a new model: {setup}; model = SCVI(adata)"

    def _cause(self, adata: AnnData) -> str:
        """Say what the values look like, if they are no counts any more."""
        try:
            is_count_data = self.setup_args.get("is_count_data", True) is not False
            check_counts(adata, self.setup_args.get("layer"), is_count_data)
        except DataError as error:
            return error.problem
        return ""

    def _restore(self, adata: AnnData, rows: NDArray[np.integer]) -> str:
        """Return code that brings the counts back, if they are still there."""
        assert self.digests is not None
        layer = self.setup_args.get("layer")
        for name, code, matrix in _matrices(adata):
            if name != layer and is_in_memory(matrix) and tuple(matrix.shape) == self.shape:
                some = rows[:N_SAMPLED]
                if (digests_of_rows(matrix, some) == self.digests[some]).all():
                    return f"{self._place} = {code}.copy()"
        return ""

    def _check_column(
        self, adata: AnnData, name: str, before: Any, rows: NDArray[np.integer]
    ) -> None:
        now = readable(adata.obs[name]).array
        if _differ(before, now, rows).size == 0:
            return
        changed = _differ(before, now, np.arange(self.shape[0]))
        first = int(changed[0])
        raise DataError(
            f"{column_of(name)} has changed since it was set up: {changed.size:,} of "
            f"{self.shape[0]:,} cells have another value, the first is "
            f"{adata.obs_names[first]!s}, which was {before[first]!s} and is {now[first]!s}.",
            remedy=f"put the column back, or {self._again}",
        )


def _matrices(adata: AnnData) -> Iterator[tuple[str | None, str, Any]]:
    yield None, "adata.X", adata.X
    for name in layer_names(adata):
        yield name, place_of(name), adata.layers[name]
    raw = adata.raw
    if raw is not None and raw.var_names.is_unique and adata.var_names.isin(raw.var_names).all():
        yield "raw", "adata.raw[:, adata.var_names].X", raw[:, adata.var_names].X


def _differ(before: Any, now: Any, rows: NDArray[np.integer]) -> NDArray[np.integer]:
    """Return which of some cells have other values in a column, as positions in ``rows``."""
    if isinstance(before, pd.Categorical) and isinstance(now, pd.Categorical):
        if before.categories.equals(now.categories):
            return np.flatnonzero(before.codes[rows] != now.codes[rows])
    elif isinstance(before, pd.arrays.NumpyExtensionArray) and before.dtype.kind in "iufb":
        values = now.to_numpy() if before.dtype == now.dtype else None
        if values is not None:
            return np.flatnonzero(before.to_numpy()[rows] != values[rows])
    old, new = (np.asarray(array.take(rows), dtype=object) for array in (before, now))
    different = np.flatnonzero(old != new)
    # The same number or name may have become text, and text a category.
    return different[[category_text(old[i]) != category_text(new[i]) for i in different]]

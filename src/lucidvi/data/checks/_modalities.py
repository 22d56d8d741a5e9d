"""Whether the counts of further modalities are counts, and whether they are still the same."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from anndata import AnnData
from scvi.data.fields import BaseAnnDataField

from lucidvi.data._remedies import Reader, quoted
from lucidvi.data.checks._counts import check_counts
from lucidvi.data.checks._digest import digests_of_rows, digests_of_values
from lucidvi.data.matrices._stored import is_in_memory
from lucidvi.data.modalities._fields import PanelField
from lucidvi.data.modalities._panels import Panels
from lucidvi.data.modalities._registered import JoinedModality, anndata_of, read_modalities
from lucidvi.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: How errors call the matrix of an AnnData that was made of one modality.
X = r"adata\.X\b"


def relocated(error: DataError, pattern: str, place: str) -> DataError:
    """Return an error that calls something by another name, in its code too.

    Parameters
    ----------
    error
        What is wrong.
    pattern
        Regular expression of the name that it uses.
    place
        Code by which a user reaches what is meant.
    """

    def renamed(text: str) -> str:
        return re.sub(pattern, lambda _: place, text)

    return type(error)(
        renamed(error.problem),
        remedy=renamed(error.remedy),
        code=[renamed(line) for line in error.code],
        counts_in=error.counts_in,
    )


def counts_of_modality(matrix: Any, obs_names: pd.Index, features: pd.Index) -> AnnData:
    """Return cells of one modality alone, with the matrix as it is.

    Parameters
    ----------
    matrix
        Counts, shape ``(n_cells, n_features)``.
    obs_names, features
        Names of cells and of features.
    """
    obs, var = (pd.DataFrame(index=pd.Index(names)) for names in (obs_names, features))
    return anndata_of(matrix, obs, var)


def modalities_of(adata: AnnData, fields: Iterable[BaseAnnDataField]) -> dict[str, JoinedModality]:
    """Return the modalities that fields read, by the registry key of their counts.

    Parameters
    ----------
    adata
        The cells.
    fields
        Fields of a manager.
    """
    names = [field.name for field in fields if isinstance(field, PanelField)]
    if not names:
        return {}
    every = read_modalities(adata)
    return {every[name].field: every[name] for name in names}


def may_be_empty(modality: JoinedModality | None) -> NDArray[np.bool_] | None:
    """Return which cells need not have a count, shape ``(n_cells,)``; None where all need one.

    Parameters
    ----------
    modality
        The modality; None where there is but one.
    """
    if modality is None:
        return None
    absent = ~modality.panels.present
    return absent if modality.needs_counts else np.ones_like(absent)


def check_modality(adata: AnnData, modality: JoinedModality) -> NDArray[np.uint64]:
    """Check the counts of a modality beside the main one, and return the digests of its cells.

    Parameters
    ----------
    adata
        The cells.
    modality
        The modality.

    Raises
    ------
    DataError
        See :func:`~lucidvi.data.check_counts`.
    """
    matrix = modality.counts(adata)
    cells = counts_of_modality(matrix, adata.obs_names, modality.features)
    try:
        return check_counts(
            cells, reader=Reader(is_bound=True), may_be_empty=may_be_empty(modality)
        )
    except DataError as error:
        raise relocated(error, X, modality.place) from None


@dataclass(frozen=True)
class ModalitySnapshot:
    """What was measured, and digests of the further modalities' counts, as they were checked.

    Parameters
    ----------
    digests
        One number a cell, by the registry key of the counts, shape ``(n_cells,)``.
    panels
        What was measured, by the name of the modality, the main one's too.
    """

    digests: Mapping[str, NDArray[np.uint64]]
    panels: Mapping[str, Panels]

    @classmethod
    def of(cls, adata: AnnData, modalities: Mapping[str, JoinedModality]) -> ModalitySnapshot:
        """Check the counts of the modalities beside the main one, and take a snapshot.

        Parameters
        ----------
        adata
            The cells.
        modalities
            The modalities, by the registry key of their counts.
        """
        digests = {
            field: check_modality(adata, modality)
            for field, modality in modalities.items()
            if not modality.is_main
        }
        panels = {
            one.name: Panels(one.panels.codes.copy(), one.panels.table.copy())
            for one in modalities.values()
        }
        return cls(digests, panels)

    def check(self, adata: AnnData, rows: NDArray[np.integer]) -> None:
        """Raise if some of the cells are no longer what was checked.

        Parameters
        ----------
        adata
            The data as they are.
        rows
            Positions of the cells.

        Raises
        ------
        lucidvi.errors.DataError
            It names what changed, the first cell, and the remedy.
        """
        if not self.panels:
            return
        now = read_modalities(adata)
        for name, panels in self.panels.items():
            modality = now[name]
            changed = rows[modality.panels.codes[rows] != panels.codes[rows]]
            if len(changed) or not np.array_equal(modality.panels.table, panels.table):
                place = f"adata.obs[{quoted(modality.column)}]"
                raise _changed(adata, place, rows, changed if len(changed) else rows)
            matrix = modality.counts(adata)
            if modality.field in self.digests and is_in_memory(matrix):
                self._compare(adata, modality, rows, digests_of_rows(matrix, rows))

    def check_values(
        self, adata: AnnData, rows: NDArray[np.integer], values: Any, field: str
    ) -> None:
        """Raise if cells that have been read from a file are not those that were checked.

        Parameters
        ----------
        adata, rows
            See :meth:`check`.
        values
            Counts of the cells, NumPy array or sparse matrix of scipy.
        field
            Registry key of the counts.
        """
        modality = next(m for m in read_modalities(adata).values() if m.field == field)
        self._compare(adata, modality, rows, digests_of_values(values))

    def _compare(
        self,
        adata: AnnData,
        modality: JoinedModality,
        rows: NDArray[np.integer],
        now: NDArray[np.uint64],
    ) -> None:
        different = now != self.digests[modality.field][rows]
        if different.any():
            raise _changed(adata, modality.place, rows, rows[different])


def _changed(
    adata: AnnData, place: str, rows: NDArray[np.integer], changed: NDArray[np.integer]
) -> DataError:
    return DataError(
        f"{place} has changed since it was set up: {len(changed):,} of {len(rows):,} cells that "
        f"were looked at have other values, the first is {adata.obs_names[changed[0]]!s} (row "
        f"{changed[0]}).",
        remedy="put the values back, or set up again and make a new model.",
    )

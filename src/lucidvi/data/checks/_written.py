"""What a manager has written into an AnnData, to put it back where another did or it is gone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from anndata import AnnData
from scvi.data.fields import BaseAnnDataField

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: How the names of columns that scvi-tools writes begin.
PREFIX = "_scvi"


@dataclass(frozen=True)
class WrittenColumns:
    """Codes of categories and covariates, as fields wrote them.

    They cannot be made again from the columns that they stand for: categories may since have
    come into another order, or numbers have become text that is sorted in another way.

    Parameters
    ----------
    columns
        Columns of ``obs``, by name.
    tables
        Data frames in ``obsm``, by name.
    """

    columns: dict[str, NDArray[Any]]
    tables: dict[str, pd.DataFrame]

    @classmethod
    def of(cls, adata: AnnData, fields: Sequence[BaseAnnDataField]) -> WrittenColumns:
        """Copy what fields have written.

        Parameters
        ----------
        adata
            The data that the fields were registered with.
        fields
            Fields of a manager.
        """
        columns, tables = {}, {}
        if isinstance(adata.obs, pd.DataFrame):
            for field in fields:
                if field.is_empty or not str(field.attr_key).startswith(PREFIX):
                    continue
                if field.attr_name == "obs":
                    columns[field.attr_key] = adata.obs[field.attr_key].to_numpy().copy()
                elif isinstance(adata.obsm.get(field.attr_key), pd.DataFrame):
                    tables[field.attr_key] = adata.obsm[field.attr_key].copy()
        return cls(columns, tables)

    def are_in(self, adata: AnnData, rows: NDArray[np.integer]) -> bool:
        """Whether an AnnData still holds them.

        Parameters
        ----------
        adata
            The data as they are.
        rows
            Positions of the cells that are looked at.
        """
        return all(
            name in adata.obs and _equal(adata.obs[name], values, rows)
            for name, values in self.columns.items()
        ) and all(
            name in adata.obsm and _equal(adata.obsm[name], table.to_numpy(), rows)
            for name, table in self.tables.items()
        )

    def put_back(self, adata: AnnData) -> None:
        """Write them again.

        Parameters
        ----------
        adata
            The data that they were written into, with the same cells in the same order.
        """
        for name, values in self.columns.items():
            adata.obs[name] = values.copy()
        for name, table in self.tables.items():
            adata.obsm[name] = table.set_axis(adata.obs_names, axis="index")


def _equal(now: Any, before: NDArray[Any], rows: NDArray[np.integer]) -> bool:
    return np.array_equal(np.asarray(now)[rows], before[rows])

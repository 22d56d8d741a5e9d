"""Rows of an AnnData as scvi-tools reads them, in the order that was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy import sparse
from scvi.data import AnnTorchDataset

from lucidvi.data.matrices._stored import StoredCounts
from lucidvi.data.modalities._fields import panel_key
from lucidvi.data.modalities._registered import registered_modalities
from lucidvi.data.stores import Annotations


class OrderedAnnTorchDataset(AnnTorchDataset):
    """Dataset of scvi-tools whose rows come back in the order asked for, whatever holds them.

    Files are read in increasing order of rows. scvi-tools sorts the indices for that and leaves
    the rows sorted; here they are put back, and rows asked for twice come twice.
    """

    def __getitem__(self, indexes: int | Sequence[int] | np.ndarray | slice) -> dict[str, Any]:
        """Return the rows of each registered array, by registry key.

        Counts that come from a file are compared with those that were checked.
        """
        rows: Any = indexes if isinstance(indexes, slice) else np.atleast_1d(indexes)
        taken = {
            key: self._rows(key, rows, dtype)
            for key, dtype in self.keys_and_dtypes.items()
            if key not in self._panels
            and not isinstance(self.data[key], str)  # how an AnnData was minified
        }
        index = torch.as_tensor(np.arange(len(self))[rows])
        return taken | {key: x.numpy() for key, x in self._measured.take(index).items()}

    @cached_property
    def _panels(self) -> dict[str, str]:
        """Registry keys of what was measured, and those of the counts."""
        return {panel_key(field): field for field in registered_modalities(self.adata_manager)}

    @cached_property
    def _measured(self) -> Annotations:
        """What was measured of the modalities that are asked for."""
        modalities = registered_modalities(self.adata_manager)
        fields = [self._panels[key] for key in self.keys_and_dtypes if key in self._panels]
        return Annotations.of({}, {field: modalities[field].panels for field in fields})

    def _rows(self, key: str, rows: Any, dtype: type) -> np.ndarray | torch.Tensor:
        data = self.data[key]
        values = data.iloc[rows].to_numpy() if isinstance(data, pd.DataFrame) else data[rows]
        values = values.astype(dtype, copy=False)
        if isinstance(data, StoredCounts) and not data.is_in_memory:
            self.adata_manager.check_values(np.arange(len(self))[rows], values, key)
        if not sparse.issparse(values):
            return values
        if not self.load_sparse_tensor:
            return values.toarray()
        values.sum_duplicates()  # a gene that is stored twice in a row would be two to torch
        starts, genes, counts = map(torch.as_tensor, (values.indptr, values.indices, values.data))
        return torch.sparse_csr_tensor(starts, genes, counts, size=values.shape)

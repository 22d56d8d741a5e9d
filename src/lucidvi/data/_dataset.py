"""Rows of an AnnData as scvi-tools reads them, in the order that was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy import sparse
from scvi.data import AnnTorchDataset

from lucidvi.data.matrices._stored import StoredCounts


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
        return {
            key: self._rows(self.data[key], rows, dtype)
            for key, dtype in self.keys_and_dtypes.items()
            if not isinstance(self.data[key], str)  # how an AnnData was minified
        }

    def _rows(self, data: Any, rows: Any, dtype: type) -> np.ndarray | torch.Tensor:
        values = data.iloc[rows].to_numpy() if isinstance(data, pd.DataFrame) else data[rows]
        values = values.astype(dtype, copy=False)
        if isinstance(data, StoredCounts) and not data.is_in_memory:
            self.adata_manager.check_values(np.arange(len(self))[rows], values)
        if not sparse.issparse(values):
            return values
        if not self.load_sparse_tensor:
            return values.toarray()
        values.sum_duplicates()  # a gene that is stored twice in a row would be two to torch
        starts, genes, counts = map(torch.as_tensor, (values.indptr, values.indices, values.data))
        return torch.sparse_csr_tensor(starts, genes, counts, size=values.shape)

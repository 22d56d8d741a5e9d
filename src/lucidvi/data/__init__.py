"""AnnData in: what is checked before a model sees it, and how it is then read."""

from lucidvi.data._cells import Cells, DeviceCells, Minibatch, csr
from lucidvi.data._counts import check_counts, counts_or_warn
from lucidvi.data._loaders import CellLoader, CellSplitter, Groups
from lucidvi.data._manager import CheckedAnnDataManager, align_genes, unchanged_on_error
from lucidvi.data._obs import check_obs
from lucidvi.data._pbmc68k import pbmc68k, recover_counts
from lucidvi.data._reading import copy_in_memory, with_tables_in_memory
from lucidvi.data._stored import StoredCounts, in_memory
from lucidvi.data._stratified import stratified

__all__ = [
    "CellLoader",
    "CellSplitter",
    "Cells",
    "CheckedAnnDataManager",
    "DeviceCells",
    "Groups",
    "Minibatch",
    "StoredCounts",
    "align_genes",
    "check_counts",
    "check_obs",
    "copy_in_memory",
    "counts_or_warn",
    "csr",
    "in_memory",
    "pbmc68k",
    "recover_counts",
    "stratified",
    "unchanged_on_error",
    "with_tables_in_memory",
]

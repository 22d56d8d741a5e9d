"""AnnData in: what is checked before a model sees it, and how it is then read."""

from lucidvi.data._cells import Cells, DeviceCells, Minibatch, csr
from lucidvi.data._collection import (
    collection_in_memory,
    complete,
    is_collection,
    refuse_collection,
)
from lucidvi.data._counts import check_counts, counts_or_warn
from lucidvi.data._loaders import CellLoader, CellSplitter, Groups
from lucidvi.data._manager import CheckedAnnDataManager, align_genes, unchanged_on_error
from lucidvi.data._obs import check_obs
from lucidvi.data._pbmc68k import pbmc68k, recover_counts
from lucidvi.data._stratified import stratified

__all__ = [
    "CellLoader",
    "CellSplitter",
    "Cells",
    "CheckedAnnDataManager",
    "DeviceCells",
    "Groups",
    "Minibatch",
    "align_genes",
    "check_counts",
    "check_obs",
    "collection_in_memory",
    "complete",
    "counts_or_warn",
    "csr",
    "is_collection",
    "pbmc68k",
    "recover_counts",
    "refuse_collection",
    "stratified",
    "unchanged_on_error",
]

"""AnnData in: what is checked before a model sees it, and how it is then read."""

from lucidvi.data._adata import check_is_anndata
from lucidvi.data._cells import Cells, DeviceCells, Minibatch, csr
from lucidvi.data._counts import check_counts, counts_or_warn
from lucidvi.data._loaders import CellLoader, CellSplitter, Groups
from lucidvi.data._manager import CheckedAnnDataManager, align_genes, unchanged_on_error
from lucidvi.data._obs import check_layer, check_obs
from lucidvi.data._pbmc68k import pbmc68k, recover_counts
from lucidvi.data._raw import is_raw, of_raw
from lucidvi.data._remedies import Reader, call, place_of
from lucidvi.data._stratified import stratified

__all__ = [
    "CellLoader",
    "CellSplitter",
    "Cells",
    "CheckedAnnDataManager",
    "DeviceCells",
    "Groups",
    "Minibatch",
    "Reader",
    "align_genes",
    "call",
    "check_counts",
    "check_is_anndata",
    "check_layer",
    "check_obs",
    "counts_or_warn",
    "csr",
    "is_raw",
    "of_raw",
    "pbmc68k",
    "place_of",
    "recover_counts",
    "stratified",
    "unchanged_on_error",
]

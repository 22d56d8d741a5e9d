"""AnnData in: what is checked before a model sees it, and how it is then read."""

from lucidvi.data._columns import COLUMN_LISTS, named_columns
from lucidvi.data._development import simulated_development
from lucidvi.data._loader import CellLoader, Groups
from lucidvi.data._order import BlockShuffle
from lucidvi.data._pbmc68k import pbmc68k, recover_counts
from lucidvi.data._remedies import Reader, call, is_on_disk, place_of
from lucidvi.data._setup import CheckedAnnDataManager, align_genes, unchanged_on_error
from lucidvi.data._shares import total_of
from lucidvi.data._splits import check_sizes
from lucidvi.data._splitter import CellSplitter
from lucidvi.data._stratified import stratified
from lucidvi.data.checks._adata import check_is_anndata, check_is_no_view
from lucidvi.data.checks._counts import check_counts, counts_or_warn
from lucidvi.data.checks._obs import check_keys, check_layer, check_obs
from lucidvi.data.covariates._equality import category_text, category_texts, plain_category
from lucidvi.data.covariates._fields import MatchedJointObsField, MatchedObsField
from lucidvi.data.covariates._matching import (
    Column,
    category_codes,
    check_columns_of_query,
    in_categories_of,
    matched_codes,
)
from lucidvi.data.matrices._collection import (
    collection_in_memory,
    complete,
    is_collection,
    refuse_collection,
)
from lucidvi.data.matrices._layers import is_raw, layer_names, of_raw
from lucidvi.data.matrices._portable import opened_again, portable
from lucidvi.data.matrices._reading import (
    check_can_be_written,
    copy_in_memory,
    has_to_be_read,
    with_tables_in_memory,
)
from lucidvi.data.matrices._stored import StoredCounts, in_memory, scvi_reads
from lucidvi.data.modalities._fields import with_panels_of
from lucidvi.data.modalities._panels import ABSENT, Panels
from lucidvi.data.modalities._registered import (
    JoinedModality,
    is_joined,
    read_modalities,
    registered_modalities,
    write_modalities,
)
from lucidvi.data.mosaic import join, register_joined, specifications
from lucidvi.data.opening import are_paths, close_cells, open_cells, opened
from lucidvi.data.splicing import read_splicing
from lucidvi.data.stores import (
    STORES,
    CellSource,
    CellStore,
    DeviceStore,
    FileStore,
    MemoryStore,
    Minibatch,
    store_of,
)

__all__ = [
    "ABSENT",
    "COLUMN_LISTS",
    "STORES",
    "BlockShuffle",
    "CellLoader",
    "CellSource",
    "CellSplitter",
    "CellStore",
    "CheckedAnnDataManager",
    "Column",
    "DeviceStore",
    "FileStore",
    "Groups",
    "JoinedModality",
    "MatchedJointObsField",
    "MatchedObsField",
    "MemoryStore",
    "Minibatch",
    "Panels",
    "Reader",
    "StoredCounts",
    "align_genes",
    "are_paths",
    "call",
    "category_codes",
    "category_text",
    "category_texts",
    "check_can_be_written",
    "check_columns_of_query",
    "check_counts",
    "check_is_anndata",
    "check_is_no_view",
    "check_keys",
    "check_layer",
    "check_obs",
    "check_sizes",
    "close_cells",
    "collection_in_memory",
    "complete",
    "copy_in_memory",
    "counts_or_warn",
    "has_to_be_read",
    "in_categories_of",
    "in_memory",
    "is_collection",
    "is_joined",
    "is_on_disk",
    "is_raw",
    "join",
    "layer_names",
    "matched_codes",
    "named_columns",
    "of_raw",
    "open_cells",
    "opened",
    "opened_again",
    "pbmc68k",
    "place_of",
    "plain_category",
    "portable",
    "read_modalities",
    "read_splicing",
    "recover_counts",
    "refuse_collection",
    "register_joined",
    "registered_modalities",
    "scvi_reads",
    "simulated_development",
    "specifications",
    "store_of",
    "stratified",
    "total_of",
    "unchanged_on_error",
    "with_panels_of",
    "with_tables_in_memory",
    "write_modalities",
]

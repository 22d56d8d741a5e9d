"""scvi's AnnData manager, with every value checked and nothing changed when a check fails."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse
from scvi import REGISTRY_KEYS
from scvi.data import AnnDataManager, AnnDataManagerValidationCheck
from scvi.data.fields import BaseAnnDataField
from torch.utils.data import Dataset, Subset

from lucidvi._compat import (
    ADATA_MINIFY_TYPE,
    MANAGER_UUID_KEY,
    ArrayFakerSparse,
    adata_minify_type,
)
from lucidvi.data._columns import COLUMN_LISTS, named_columns
from lucidvi.data._dataset import OrderedAnnTorchDataset
from lucidvi.data._remedies import Reader
from lucidvi.data.checks._adata import check_is_no_view
from lucidvi.data.checks._categories import check_categories
from lucidvi.data.checks._counts import check_counts, check_has_cells, has_posteriors_only
from lucidvi.data.checks._features import check_one_kind
from lucidvi.data.checks._missing_genes import genes_missing
from lucidvi.data.checks._modalities import ModalitySnapshot, may_be_empty, modalities_of
from lucidvi.data.checks._obs import check_obs, check_unique_genes
from lucidvi.data.checks._snapshot import Snapshot
from lucidvi.data.checks._written import WrittenColumns
from lucidvi.data.covariates._matching import check_columns_of_query
from lucidvi.data.matrices._collection import (
    CollectionLayer,
    as_anndata,
    check_can_be_set_up,
    collection_in_memory,
    is_collection,
    restoring,
)
from lucidvi.data.matrices._layers import layer_names
from lucidvi.data.matrices._reading import has_to_be_read, read_genes, read_tables
from lucidvi.data.matrices._stored import StoredCounts, is_dask, is_readable
from lucidvi.data.modalities._fields import CountsField, with_panels_of
from lucidvi.data.opening import can_stay, of_genes, opened
from lucidvi.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

logger = logging.getLogger(__name__)

#: Registry keys of a stored posterior.
POSTERIOR_KEYS = (
    REGISTRY_KEYS.LATENT_QZM_KEY,
    REGISTRY_KEYS.LATENT_QZV_KEY,
    REGISTRY_KEYS.OBSERVED_LIB_SIZE,
    REGISTRY_KEYS.MINIFY_TYPE_KEY,
)


class CheckedAnnDataManager(AnnDataManager):
    """An AnnData manager that checks all the data before it registers them.

    Its fields should leave the counts as they are (``LayerField(..., is_count_data=False,
    correct_data_format=False)``): all values are checked here, and every format is read as it is.

    Parameters
    ----------
    fields, setup_method_args, validation_checks
        See :class:`scvi.data.AnnDataManager`.
    is_count_data
        If False, the values are meant to be continuous and need only be finite.
    """

    def __init__(
        self,
        fields: list[BaseAnnDataField] | None = None,
        setup_method_args: dict[str, Any] | None = None,
        validation_checks: AnnDataManagerValidationCheck | None = None,
        *,
        is_count_data: bool = True,
    ) -> None:
        super().__init__(fields, setup_method_args, validation_checks)
        self.is_count_data = is_count_data
        #: Whether the cells have posteriors of an earlier model only, and no counts at all.
        self.without_counts = False
        self._csr_was_suggested = False
        self._snapshot: Snapshot | None = None
        self._modalities = ModalitySnapshot({}, {})
        self._written = WrittenColumns({}, {})
        #: Whether data that have changed are registered anew, in place of an error: those of a
        #: query are, a model's own are not.
        self.renews = False
        #: Arguments of the setup whose columns the model does not use.
        self.ignored: tuple[str, ...] = ("labels_key",)

    def register_fields(
        self,
        adata: AnnData,
        source_registry: dict[str, Any] | None = None,
        **transfer_kwargs: Any,
    ) -> None:
        """Check the data, then register each field with them.

        Parameters
        ----------
        adata, source_registry, **transfer_kwargs
            See :meth:`scvi.data.AnnDataManager.register_fields`.

        Raises
        ------
        DataError, MissingKeyError
            See :func:`~lucidvi.data.check_obs` and :func:`~lucidvi.data.check_counts`. Whatever
            is raised, `adata` is then as it was before.
        """
        if source_registry is not None:
            check_columns_of_query(adata.obs, source_registry)
        digests, modalities = self._check(adata, is_bound=source_registry is not None)
        with unchanged_on_error(adata):
            super().register_fields(adata, source_registry, **transfer_kwargs)
        self._snapshot = Snapshot.of(adata, self.registry["setup_args"] or {}, digests)
        self._modalities = modalities
        self._written = WrittenColumns.of(adata, self.fields)

    def validate(self) -> None:
        """Write the codes again if another manager did since, provided the data are the same."""
        if self.adata is not None and not self.renews:
            is_registered = self.adata.uns.get(MANAGER_UUID_KEY) == self.id
            self.check_unchanged(self.sample if is_registered else None)
            if not is_collection(self.adata):
                self._assign_most_recent_manager_uuid()
        super().validate()

    def check_unchanged(self, rows: NDArray[np.integer] | None = None) -> None:
        """Raise if the data are no longer those that were checked, or register them anew.

        Parameters
        ----------
        rows
            Positions of the cells that are looked at; by default all.

        Raises
        ------
        DataError
            See :meth:`lucidvi.data.checks._snapshot.Snapshot.check`, and :meth:`register_fields`
            for data that are registered anew.
        """
        if self._snapshot is None:
            return
        rows = np.arange(self._snapshot.shape[0]) if rows is None else rows
        try:
            self._snapshot.check(self.adata, rows, self.ignored)
            self._modalities.check(self.adata, rows)
        except DataError:
            if not self.renews:
                raise
            self._renew()
        if not self._written.are_in(self.adata, rows):
            self._written.put_back(self.adata)

    def check_values(
        self, rows: NDArray[np.integer], values: Any, key: str = REGISTRY_KEYS.X_KEY
    ) -> None:
        """Raise if cells that have been read from a file are not those that were checked.

        Parameters
        ----------
        rows
            Positions of the cells.
        values
            Their counts.
        key
            Registry key of the counts.
        """
        if self._snapshot is None:
            return
        if key == REGISTRY_KEYS.X_KEY:
            self._snapshot.check_values(self.adata, rows, values)
        else:
            self._modalities.check_values(self.adata, rows, values, key)

    def checked_values(self) -> dict[str, Any]:
        """Return what was checked, by its place: names of genes, digests of counts, columns."""
        values = {} if self._snapshot is None else self._snapshot.values(self.ignored)
        counts = {f"counts of {name!r}": it for name, it in self._modalities.digests.items()}
        return {"adata.var_names": self.adata.var_names, **values, **counts}

    @property
    def sample(self) -> NDArray[np.integer]:
        """Positions of a few cells, evenly spaced, to look at where none is read."""
        return np.arange(0) if self._snapshot is None else self._snapshot.sample

    def _renew(self) -> None:
        adata, snapshot = self.adata, self._snapshot
        self.adata: Any = None
        try:
            self.register_fields(adata, self._source_registry, **self._transfer_kwargs)
        except BaseException:
            self.adata, self._snapshot = adata, snapshot
            raise

    def transfer_fields(self, adata_target: AnnData, **kwargs: Any) -> CheckedAnnDataManager:
        """Register other data with the setup of these.

        Parameters
        ----------
        adata_target, **kwargs
            See :meth:`scvi.data.AnnDataManager.transfer_fields`.
        """
        self._assert_anndata_registered()
        stores_posteriors = adata_minify_type(adata_target) is not None
        fields = [field for field in self.fields if stores_posteriors or not _is_posterior(field)]
        manager = type(self)(
            with_panels_of(adata_target, fields),
            self._get_setup_method_args(),
            self.validation_checks,
            is_count_data=self.is_count_data,
        )
        manager.register_fields(adata_target, self.registry, **kwargs)
        return manager

    def create_torch_dataset(
        self,
        indices: Sequence[int] | Sequence[bool] | None = None,
        data_and_attributes: list[str] | dict[str, Any] | None = None,
        load_sparse_tensor: bool = False,
    ) -> Dataset:
        """Return the registered data as a dataset, its rows in the order of ``indices``.

        Parameters
        ----------
        indices, data_and_attributes, load_sparse_tensor
            See :meth:`scvi.data.AnnDataManager.create_torch_dataset`.

        Raises
        ------
        DataError
            If the rows are no longer what was checked.
        """
        self.check_unchanged(None if indices is None else np.asarray(indices))
        dataset = OrderedAnnTorchDataset(
            self, getitem_tensors=data_and_attributes, load_sparse_tensor=load_sparse_tensor
        )
        return dataset if indices is None else Subset(dataset, indices)

    def get_from_registry(self, registry_key: str) -> Any:
        """Return the registered data of one key; sparse counts in memory as a ``csr_matrix``.

        A ``csr_array`` is wrapped without a copy, CSC is converted at each call. Counts that have
        to be read (in a file, a dask array) or converted (half precision, another byte order) are
        returned as :class:`~lucidvi.data.StoredCounts`, which gives rows of them.
        """
        data = super().get_from_registry(registry_key)
        if registry_key not in (REGISTRY_KEYS.X_KEY, *self._count_keys):
            return data.compute() if is_dask(data) else data
        if data is None:  # of cells with stored posteriors, whose counts are not looked at
            return sparse.csr_matrix(self.adata.shape, dtype=np.float32)
        if isinstance(data, ArrayFakerSparse):
            return StoredCounts(CollectionLayer(data))
        if not is_readable(data):
            return StoredCounts(data)
        if not sparse.issparse(data) or isinstance(data, sparse.csr_matrix):
            return data
        if data.format != "csr":
            self._suggest_csr()
        return sparse.csr_matrix(data, copy=False)

    @property
    def _count_keys(self) -> list[str]:
        """Registry keys of the further modalities' counts."""
        return [field.registry_key for field in self.fields if isinstance(field, CountsField)]

    def _check(
        self, adata: AnnData, is_bound: bool
    ) -> tuple[NDArray[np.uint64] | None, ModalitySnapshot]:
        """Check data, and return the digests of their counts; ``is_bound``: of a model's."""
        if self.validation_checks.check_if_view:
            check_is_no_view(adata)
        read_tables(adata)
        setup_args = self.registry["setup_args"] or {}
        layer = setup_args.get("layer")
        check_can_be_set_up(adata, layer, any(named_columns(setup_args, COLUMN_LISTS)))
        adata = as_anndata(adata)
        check_has_cells(adata)
        check_obs(adata, setup_args)
        if not is_bound:
            check_one_kind(adata)
            check_categories(adata, setup_args)
        self.without_counts = has_posteriors_only(adata, layer)
        if self.without_counts or adata_minify_type(adata) == ADATA_MINIFY_TYPE.LATENT_POSTERIOR:
            return None, ModalitySnapshot({}, {})
        reader = Reader(setup_args, layer, is_bound)
        modalities = modalities_of(adata, self.fields)
        may_lack = may_be_empty(modalities.get(REGISTRY_KEYS.X_KEY))
        digests = check_counts(
            adata, layer, self.is_count_data, reader=reader, may_be_empty=may_lack
        )
        return digests, ModalitySnapshot.of(adata, modalities)

    def _suggest_csr(self) -> None:
        if not self._csr_was_suggested:
            logger.info(
                "Counts are stored gene by gene (CSC) and converted each time they are loaded. "
                "It is faster to store them cell by cell: adata.X = adata.X.tocsr()"
            )
        self._csr_was_suggested = True


def _is_posterior(field: BaseAnnDataField) -> bool:
    """Whether a field is part of a stored posterior, which other data need not have."""
    return field.registry_key in POSTERIOR_KEYS


@contextmanager
def unchanged_on_error(adata: AnnData) -> Iterator[None]:
    """Restore the cells, their matrices and ``uns`` if the body raises.

    Covers what registering can change: columns of ``obs``, entries of ``obsm`` and ``uns``, which
    layers there are, and which matrix ``X`` and each of them refer to.
    """
    if is_collection(adata):
        restore = restoring(adata)
        try:
            yield
        except BaseException:
            restore()
            raise
        return
    obs, obsm, uns = adata.obs.copy(), dict(adata.obsm), copy.copy(adata.uns)
    layers = {name: adata.layers[name] for name in layer_names(adata)}
    matrix = None if adata.isbacked else adata.X
    try:
        yield
    except BaseException:
        adata.obs, adata.obsm, adata.uns = obs, obsm, uns
        for name in set(layer_names(adata)) - set(layers):
            del adata.layers[name]
        for name, layer in layers.items():
            adata.layers[name] = layer
        if not adata.isbacked:
            adata.X = matrix
        raise


def align_genes(adata: AnnData, var_names: Sequence[str] | pd.Index) -> AnnData:
    """Return the data with exactly the genes of a model, in its order.

    Parameters
    ----------
    adata
        Cells with at least these genes. Of cells in a file, what is taken is read into memory.
        Lazy tables (``obs``, ``var``) are read in place.
    var_names
        Names of the model's genes.

    Returns
    -------
    `adata` itself if its genes are these already (and it is no view of a file), else a copy.

    Raises
    ------
    GeneMismatchError
        If genes are missing.
    DataError
        If two genes of `adata` have one name.
    """
    adata = read_tables(opened(adata))
    expected = pd.Index(var_names)
    is_read = has_to_be_read(adata)
    if adata.var_names.equals(expected):
        if not (adata.is_view and is_read):
            return adata
        logger.info("The cells that adata is a view of are read into memory.")
        return read_genes(adata, np.arange(adata.n_vars))
    check_unique_genes(adata)
    missing = expected[~expected.isin(adata.var_names)]
    if len(missing):
        raise genes_missing(adata, expected, missing)
    logger.info(
        "Taking the %d genes of the model, in its order, from the %d of adata%s.",
        len(expected),
        adata.n_vars,
        ", which is read into memory" if is_read and not can_stay(adata) else "",
    )
    if is_collection(adata):
        return collection_in_memory(adata, expected)
    if can_stay(adata):
        return of_genes(adata, expected)
    if is_read:
        return read_genes(adata, adata.var_names.get_indexer(expected))
    return adata[:, expected].copy()

"""scvi's AnnData manager, with every value checked and nothing changed when a check fails."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pandas as pd
from anndata import AnnData
from scipy import sparse
from scvi import REGISTRY_KEYS
from scvi.data import AnnDataManager, AnnDataManagerValidationCheck
from scvi.data.fields import BaseAnnDataField
from torch.utils.data import Dataset, Subset

from lucidvi._compat import ADATA_MINIFY_TYPE, ArrayFakerSparse, adata_minify_type
from lucidvi.data._collection import (
    CollectionLayer,
    as_anndata,
    check_can_be_set_up,
    collection_in_memory,
    is_collection,
    restoring,
)
from lucidvi.data._counts import check_counts, has_posteriors_only
from lucidvi.data._dataset import OrderedAnnTorchDataset
from lucidvi.data._obs import check_obs, check_unique_genes
from lucidvi.errors import DataError, GeneMismatchError, first_few

logger = logging.getLogger(__name__)


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
        self._check(adata)
        with unchanged_on_error(adata):
            super().register_fields(adata, source_registry, **transfer_kwargs)

    def transfer_fields(self, adata_target: AnnData, **kwargs: Any) -> CheckedAnnDataManager:
        """Register other data with the setup of these.

        Parameters
        ----------
        adata_target, **kwargs
            See :meth:`scvi.data.AnnDataManager.transfer_fields`.
        """
        self._assert_anndata_registered()
        manager = type(self)(
            self.fields,
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
        """
        dataset = OrderedAnnTorchDataset(
            self, getitem_tensors=data_and_attributes, load_sparse_tensor=load_sparse_tensor
        )
        return dataset if indices is None else Subset(dataset, indices)

    def get_from_registry(self, registry_key: str) -> Any:
        """Return the registered data of one key; sparse counts as a ``csr_matrix``.

        A ``csr_array`` is wrapped without a copy, CSC is converted at each call.
        """
        data = super().get_from_registry(registry_key)
        if isinstance(data, ArrayFakerSparse):
            return CollectionLayer(data)
        if registry_key != REGISTRY_KEYS.X_KEY or not sparse.issparse(data):
            return data
        if data.format != "csr":
            self._suggest_csr()
        elif isinstance(data, sparse.csr_matrix):
            return data
        return sparse.csr_matrix(data, copy=False)

    def _check(self, adata: AnnData) -> None:
        if self.validation_checks.check_if_view and adata.is_view:
            raise DataError(
                "adata is a view of another AnnData, and a model adds columns to its data.",
                remedy="adata = adata.copy()",
            )
        setup_args = self.registry["setup_args"] or {}
        joint = [
            setup_args.get(f"{kind}_covariate_keys") for kind in ("categorical", "continuous")
        ]
        check_can_be_set_up(adata, setup_args.get("layer"), any(joint))
        adata = as_anndata(adata)
        check_obs(adata, setup_args)
        self.without_counts = has_posteriors_only(adata, setup_args.get("layer"))
        minified = adata_minify_type(adata) == ADATA_MINIFY_TYPE.LATENT_POSTERIOR
        if not (minified or self.without_counts):
            check_counts(adata, setup_args.get("layer"), self.is_count_data)

    def _suggest_csr(self) -> None:
        if not self._csr_was_suggested:
            logger.info(
                "Counts are stored gene by gene (CSC) and converted each time they are loaded. "
                "It is faster to store them cell by cell: adata.X = adata.X.tocsr()"
            )
        self._csr_was_suggested = True


@contextmanager
def unchanged_on_error(adata: AnnData) -> Iterator[None]:
    """Restore the cells, their matrices and ``uns`` if the body raises.

    Covers what registering can change: columns of ``obs``, entries of ``obsm`` and ``uns``, and
    which matrix ``X`` and each layer refer to.
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
    layers = {name: matrix for name, matrix in adata.layers.items() if name is not None}
    matrix = None if adata.isbacked else adata.X
    try:
        yield
    except BaseException:
        adata.obs, adata.obsm, adata.uns = obs, obsm, uns
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
        Cells with at least these genes. A backed one is read into memory if it must change.
    var_names
        Names of the model's genes.

    Returns
    -------
    `adata` itself if its genes are these already, else a copy.

    Raises
    ------
    GeneMismatchError
        If genes are missing.
    DataError
        If two genes of `adata` have one name.
    """
    expected = pd.Index(var_names)
    if adata.var_names.equals(expected):
        return adata
    check_unique_genes(adata)
    missing = expected[~expected.isin(adata.var_names)]
    if len(missing):
        raise _genes_missing(adata, expected, missing)
    logger.info(
        "Taking the %d genes of the model, in its order, from the %d of adata%s.",
        len(expected),
        adata.n_vars,
        ", which is read into memory" if adata.isbacked else "",
    )
    if is_collection(adata):
        return collection_in_memory(adata, expected)
    aligned = adata[:, expected]
    return aligned.to_memory() if adata.isbacked else aligned.copy()


def _genes_missing(adata: AnnData, expected: pd.Index, missing: pd.Index) -> GeneMismatchError:
    problem = (
        f"adata lacks {len(missing):,} of the model's {len(expected):,} genes: "
        f"{first_few(missing)}."
    )
    by_lower_case = {str(name).lower(): name for name in adata.var_names}
    respelled = [name for name in missing if str(name).lower() in by_lower_case]
    remedy = "fill them in with adata = SCVI.prepare_query_anndata(adata, model, inplace=False)."
    if respelled:
        problem += (
            f" {len(respelled):,} of them differ in upper and lower case only: "
            f"{by_lower_case[str(respelled[0]).lower()]!r} in adata is {respelled[0]!r} in the "
            "model."
        )
        remedy = f"{_rename(respelled)} Genes that are then still missing: {remedy}"
    return GeneMismatchError(problem, remedy=remedy)


def _rename(respelled: list[str]) -> str:
    if all(name.isupper() for name in respelled):
        return "adata.var_names = adata.var_names.str.upper()."
    return "rename the genes of adata as in the model."

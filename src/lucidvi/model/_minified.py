"""Data that hold posteriors in place of counts."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import scvi
from anndata import AnnData
from scvi.model.base import BaseMinifiedModeModelClass

from lucidvi._compat import ADATA_MINIFY_TYPE
from lucidvi.data import (
    CheckedAnnDataManager,
    copy_in_memory,
    has_to_be_read,
    refuse_collection,
)
from lucidvi.errors import DataError, MissingKeyError


class MinifiedMixin(BaseMinifiedModeModelClass):
    """Minify the model's data, which may have lost their counts already."""

    def minify_adata(
        self,
        minified_data_type: str = ADATA_MINIFY_TYPE.LATENT_POSTERIOR,
        use_latent_qzm_key: str = "X_latent_qzm",
        use_latent_qzv_key: str = "X_latent_qzv",
    ) -> None:
        """Replace the model's data by a copy with posteriors, with or without the counts.

        Differs from scvi-tools: of data that have no counts any more, it takes the library sizes
        in ``adata.obs["observed_lib_size"]`` in place of zeros; if there are none, what depends
        on them is NaN, and a warning says so.

        Parameters
        ----------
        minified_data_type, use_latent_qzm_key, use_latent_qzv_key
            See :meth:`scvi.model.base.BaseMinifiedModeModelClass.minify_adata`.

        Raises
        ------
        lucidvi.errors.DataError
            If counts are to be kept that are not there, or the data are a collection.
        lucidvi.errors.MissingKeyError
            If ``adata.obsm`` has no such entries.
        """
        refuse_collection(
            self.adata,
            "whose counts stay where they are, so it cannot be minified",
            "adata.obsm of the AnnData it is made of can hold the latent states: "
            "model.get_latent_representation(part) gives them.",
        )
        if isinstance(self.adata_manager, CheckedAnnDataManager):
            self.adata_manager.check_unchanged()  # library sizes are read from the counts
            if has_to_be_read(self.adata):  # of cells in a file, scvi-tools makes no copy
                self.adata: Any = copy_in_memory(self.adata)
        for argument, key in (
            ("use_latent_qzm_key", use_latent_qzm_key),
            ("use_latent_qzv_key", use_latent_qzv_key),
        ):
            # What cannot be minified at all is said by scvi-tools first.
            if key not in self.adata.obsm and self._can_be_minified(minified_data_type):
                raise MissingKeyError(
                    f"{argument}: adata.obsm has no entry {key!r}.",
                    remedy=f"model.adata.obsm[{use_latent_qzm_key!r}], "
                    f"model.adata.obsm[{use_latent_qzv_key!r}] = "
                    "model.get_latent_representation(return_dist=True)",
                )
        column = self._OBSERVED_LIB_SIZE_KEY
        without_counts = _holds_posteriors_only(self.adata_manager)
        library = self.adata.obs.get(column)
        if without_counts and minified_data_type != ADATA_MINIFY_TYPE.LATENT_POSTERIOR:
            raise DataError(
                f"minified_data_type={minified_data_type!r} keeps the counts, and the model's "
                "data have none.",
                remedy="leave `minified_data_type` out.",
            )
        super().minify_adata(minified_data_type, use_latent_qzm_key, use_latent_qzv_key)
        if not without_counts:
            return
        if library is None:
            warnings.warn(
                "The model's data have no counts, so how many each cell had is not known, and "
                "expected counts will be NaN. If they are known: "
                f'model.adata.obs["{column}"] = totals, of the {self.adata.n_obs:,} cells.',
                UserWarning,
                stacklevel=scvi.settings.warnings_stacklevel,
            )
        self.adata.obs[column] = np.nan if library is None else library

    def _can_be_minified(self, minified_data_type: str) -> bool:
        is_observed = getattr(self.module, "use_observed_lib_size", True)
        return is_observed and minified_data_type in tuple(ADATA_MINIFY_TYPE)

    def _make_data_loader(self, adata: AnnData, *args: Any, **kwargs: Any) -> Any:
        """Load cells, which must have counts or be minified."""
        manager = self.get_anndata_manager(adata)
        if _holds_posteriors_only(manager) and self.minified_data_type is None:
            raise DataError(
                "adata has no counts, only posteriors of its cells.",
                remedy='call model.minify_adata(use_latent_qzm_key="...", '
                'use_latent_qzv_key="...") first, with the entries of adata.obsm that hold '
                "their means and variances.",
            )
        return super()._make_data_loader(adata, *args, **kwargs)


def _holds_posteriors_only(manager: Any) -> bool:
    return bool(getattr(manager, "without_counts", False))

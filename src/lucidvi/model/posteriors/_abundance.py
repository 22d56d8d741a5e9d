"""Differential abundance: how probable cells are among those of each sample."""

from __future__ import annotations

import warnings
from functools import wraps
from typing import Any

import numpy as np
from anndata import AnnData
from scvi.model.base import BaseModelClass, VAEMixin

from lucidvi.checks import check_column
from lucidvi.errors import DataError, first_few
from lucidvi.model.queries._query import query
from lucidvi.model.queries._requests import bound


class AbundanceMixin(BaseModelClass):
    """What samples have more of."""

    @query
    @wraps(VAEMixin.differential_abundance, assigned=())
    def differential_abundance(self, *args: Any, **kwargs: Any) -> Any:
        """Log probability of each cell under the posteriors of each sample's cells.

        Written to ``adata.obsm["da_log_probs"]``.

        Differs from scvi-tools: ``adata`` may have its genes in another order; a ``sample_key``
        that does not exist, or has no value for a cell, is an error.

        Parameters
        ----------
        *args, **kwargs
            See :meth:`scvi.model.base.VAEMixin.differential_abundance`.
        """
        arguments = bound(VAEMixin.differential_abundance, self, args, kwargs)
        if arguments.get("batch_size") is None:  # which scvi-tools takes for no minibatch at all
            arguments.pop("batch_size", None)
        tables = {name: data for name, data in arguments.items() if isinstance(data, AnnData)}
        for data in tables.values() or [getattr(self, "adata", None)]:
            if data is not None:
                _check_samples(data, arguments.get("sample_key"))
        aligned = {name: self._validate_anndata(data) for name, data in tables.items()}
        with warnings.catch_warnings():
            # From 1.5 on scvi-tools warns of arguments that it gives to itself.
            warnings.filterwarnings("ignore", message="Using .* after custom Dataloader")
            result = super().differential_abundance(**arguments | aligned)
        for name, data in tables.items():
            copy = aligned[name]
            if copy is not data and "da_log_probs" in copy.obsm:
                data.obsm["da_log_probs"] = copy.obsm["da_log_probs"]
        return result


def _check_samples(adata: AnnData, key: Any) -> None:
    check_column(adata.obs, "sample_key", key)
    missing = np.flatnonzero(adata.obs[key].isna())
    if missing.size:
        raise DataError(
            f'sample_key: adata.obs["{key}"] is missing (NaN or None) in {missing.size:,} of '
            f"{adata.n_obs:,} cells ({first_few(adata.obs_names[missing])}).",
            remedy=f'adata = adata[adata.obs["{key}"].notna()].copy()',
        )

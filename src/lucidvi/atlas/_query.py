"""A query, checked, with the model's genes and columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray
from scipy import sparse
from scvi import REGISTRY_KEYS

from lucidvi.atlas._genes import measured_genes
from lucidvi.data import check_counts, check_obs
from lucidvi.errors import DataError, first_few

#: Values, zeros included, read at once from a file.
CHUNK = 2**25
COLUMN_LISTS = ("categorical_covariate_keys", "continuous_covariate_keys")


@dataclass(frozen=True)
class Query:
    """Cells as a model reads them.

    Parameters
    ----------
    adata
        Counts of the model's genes (zero where they were not measured), and the columns that the
        model was set up with.
    genes
        Which of the model's genes were measured, shape ``(n_genes,)``.
    new_batches
        Batches that the model does not know.
    """

    adata: AnnData
    genes: NDArray[np.bool_]
    new_batches: list[str]


def read_query(
    query: AnnData, model: Any, batch_key: str | None = None, layer: str | None = None
) -> Query:
    """Check a query and bring it into the form of a model's data.

    Parameters
    ----------
    query
        The cells. Nothing in it is changed; backed counts are read block by block.
    model
        Model of the reference, :class:`lucidvi.model.SCVI`.
    batch_key
        Column of ``query.obs`` with the batches, by default the one of the reference.
    layer
        Layer with the counts; by default the one of the reference where the query has it, else
        ``query.X``.

    Raises
    ------
    lucidvi.errors.DataError, lucidvi.errors.MissingKeyError, lucidvi.errors.GeneMismatchError
        Whatever is wrong with the query.
    """
    arguments = model.registry["setup_args"]
    own_layer = arguments.get("layer")
    layer = own_layer if layer is None and own_layer in query.layers else layer
    is_count_data = arguments.get("is_count_data", True) is not False
    check_counts(query, layer, is_count_data)
    genes = measured_genes(query.var_names, pd.Index(model.get_var_names()))
    obs, new_batches = _columns(query, model, batch_key)
    x = _times(query.X if layer is None else query.layers[layer], genes.selection)
    if is_count_data:
        _check_not_empty(query, x)
    adata = AnnData(x, obs=obs, var=pd.DataFrame(index=pd.Index(model.get_var_names())))
    if own_layer is not None:
        adata.layers[own_layer] = adata.X
    return Query(adata, genes.mask, new_batches)


def _columns(query: AnnData, model: Any, batch_key: str | None) -> tuple[pd.DataFrame, list[str]]:
    """Return the columns that the model was set up with, and the batches that are new to it."""
    arguments = dict(model.registry["setup_args"])
    own_key = arguments.get("batch_key")
    if own_key is None and batch_key is not None:
        raise DataError(
            f"batch_key={batch_key!r}, but the reference's model was set up without batches.",
            remedy="batch_key=None, or a reference whose model was set up with a `batch_key`.",
        )
    batch_key = own_key if batch_key is None else batch_key
    labels_key = arguments.get("labels_key") if model.module.dispersion == "gene-label" else None
    # Of the columns alone: genes that the model does not have need not be unique.
    check_obs(
        AnnData(obs=query.obs),
        {**arguments, "batch_key": batch_key, "labels_key": labels_key, "layer": None},
    )
    obs = pd.DataFrame(index=query.obs_names.astype(str))
    for key in (arguments.get("size_factor_key"), labels_key):
        if key is not None:
            obs[key] = query.obs[key].to_numpy()
    for key in (key for name in COLUMN_LISTS for key in arguments.get(name) or []):
        obs[key] = query.obs[key].to_numpy()
    _check_known(obs, "categorical_covariate_keys", _covariates(model))
    if labels_key is not None:
        _check_known(obs, "labels_key", {labels_key: _categories(model, REGISTRY_KEYS.LABELS_KEY)})
    elif arguments.get("labels_key") is not None:  # which the model has to see, but does not use
        obs[arguments["labels_key"]] = _categories(model, REGISTRY_KEYS.LABELS_KEY)[0]
    if own_key is None:
        return obs, []
    known = {str(name): name for name in _categories(model, REGISTRY_KEYS.BATCH_KEY)}
    given = query.obs[batch_key].astype(str).to_numpy()
    obs[own_key] = np.array([known.get(name, name) for name in given], dtype=object)
    return obs, sorted(set(given) - set(known))


def _categories(model: Any, key: str) -> Any:
    return model.registry["field_registries"][key]["state_registry"]["categorical_mapping"]


def _covariates(model: Any) -> dict[str, Any]:
    field = model.registry["field_registries"].get(REGISTRY_KEYS.CAT_COVS_KEY, {})
    return field.get("state_registry", {}).get("mappings", {})


def _check_known(obs: pd.DataFrame, argument: str, categories: dict[str, Any]) -> None:
    """Raise DataError for values of a covariate that the model has no parameters for."""
    for key, known in categories.items():
        strange = sorted(set(map(str, obs[key])) - set(map(str, known)))
        if strange:
            raise DataError(
                f'{argument}: query.obs["{key}"] has values that the reference\'s model does not '
                f"know: {first_few(strange)}. It knows {first_few(known)}.",
                remedy="give the known value that comes closest, or leave these cells out.",
            )


def _check_not_empty(query: AnnData, x: sparse.csr_matrix) -> None:
    empty = np.flatnonzero(np.asarray(x.sum(axis=1)).ravel() == 0)
    if empty.size:
        raise DataError(
            f"{empty.size:,} of {query.n_obs:,} cells have no count of the model's genes: "
            f"{first_few(query.obs_names[empty])}. Nothing can be inferred about them.",
            remedy="leave them out, or map counts of more of the model's genes.",
        )


def _times(matrix: Any, selection: sparse.csr_matrix) -> sparse.csr_matrix:
    """Return the counts of the model's genes, of any matrix, in a file too."""
    step = matrix.shape[0]
    if not (isinstance(matrix, np.ndarray) or sparse.issparse(matrix)):
        step = max(1, CHUNK // matrix.shape[1])
    parts = []
    for first in range(0, matrix.shape[0], step):
        part = matrix[first : first + step]
        part = part.compute() if hasattr(part, "compute") else part  # dask
        parts.append(sparse.csr_matrix(part).astype(np.float32) @ selection)
    x = sparse.vstack(parts, format="csr")
    x.sort_indices()
    return sparse.csr_matrix(x)

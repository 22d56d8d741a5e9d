"""Making a reference of a trained model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from scvi import REGISTRY_KEYS

from lucidvi._compat import ADATA_MINIFY_TYPE, adata_minify_type
from lucidvi._progress import Progress
from lucidvi._random import isolated
from lucidvi.atlas._data import CALIBRATION, DEPTH, LOC, SCALE, WEIGHTS, ReferenceData
from lucidvi.atlas.labels._hierarchy import check_nested
from lucidvi.atlas.mapping._calibrate import calibrate
from lucidvi.atlas.mapping._gene_names import id_columns
from lucidvi.atlas.mapping._genes import INFORMATION, gene_weights
from lucidvi.atlas.mapping._modality_weights import modality_weights
from lucidvi.atlas.mapping._setup import Setup
from lucidvi.data import category_texts, check_obs
from lucidvi.errors import DataError
from lucidvi.model import Cells, capable

#: Attributes of a model that say which of its data it was trained on.
SPLITS = ("train_indices_", "validation_indices_", "test_indices_")
SEED = 0


def made_of(model: Any, labels_key: str | Sequence[str]) -> tuple[Any, ReferenceData]:
    """Return a copy of a model without data, and what a reference keeps of its cells.

    Parameters
    ----------
    model, labels_key
        See :meth:`lucidvi.atlas.Reference.from_model`.
    """
    model = capable(model, "counts")
    if model.adata is None:
        raise DataError(
            "`model` has no AnnData, so there are no cells to refer to.",
            remedy=f"model = {type(model).__name__}.load(folder, adata=adata)",
        )
    keys = [labels_key] if isinstance(labels_key, str) else list(labels_key)
    for key in keys:
        check_obs(model.adata, {"labels_key": key})
    check_nested(model.adata.obs, keys)
    making = Progress("Making the reference", total=3, slow_steps=True)
    with making, isolated(SEED):  # loaders and weights that are drawn
        mean, variance = model.get_latent_representation(return_dist=True)
        var = id_columns(model.adata.var).join(gene_weights(model))
        making.advance()
        without_data = _without_data(model)
        making.advance()
        cells = AnnData(
            obs=_obs(model, keys),
            var=var,
            obsm={LOC: np.float32(mean), SCALE: np.sqrt(np.float32(variance))},
        )
        cells.uns[DEPTH] = _median_count(model)
        cells.uns[WEIGHTS] = modality_weights(model)
        data = ReferenceData(cells, keys[-1], tuple(keys[:-1]), Setup.of(model).batch_key)
        every = Cells(model, model.adata, np.arange(model.adata.n_obs))
        batches = None if data.batches is None else data.batches.array
        of_genes = next(iter(data.modality_weights.values()))
        information = var[INFORMATION].to_numpy()
        calibration = calibrate(every, data.voters, batches, information, of_genes)
        making.advance()
    if calibration is not None:
        cells.uns[CALIBRATION] = calibration.to_arrays()
    return without_data, data


def _obs(model: Any, keys: Sequence[str]) -> pd.DataFrame:
    """Return labels and batches of a model's cells, as texts."""
    columns = {key: pd.Categorical(category_texts(model.adata.obs[key])) for key in keys}
    setup = Setup.of(model)
    if setup.batch_key is not None:
        codes = np.ravel(model.adata_manager.get_from_registry(REGISTRY_KEYS.BATCH_KEY))
        columns[setup.batch_key] = pd.Categorical(category_texts(setup.batches)[codes])
    return pd.DataFrame(columns, index=model.adata.obs_names.astype(str))


def _median_count(model: Any) -> float:
    """Return the median count of the genes in a cell; infinite for values that are not counts."""
    setup = Setup.of(model)
    if not setup.is_count_data:
        return np.inf
    if adata_minify_type(model.adata) == ADATA_MINIFY_TYPE.LATENT_POSTERIOR:  # without counts
        return float(np.median(model.adata.obs[model._OBSERVED_LIB_SIZE_KEY]))
    x = model.adata_manager.get_from_registry(setup.main.field)
    has = Cells(model, model.adata, np.arange(model.adata.n_obs)).have()
    return float(np.median(np.asarray(x.sum(axis=1)).ravel()[has]))


def _without_data(model: Any) -> Any:
    """Return a copy of a model, as it comes out of a file, that is bound to no data."""
    with TemporaryDirectory() as folder:
        path = str(Path(folder, "model"))
        model.save(path)
        copy = type(model).load(path, adata=False)
    for name in SPLITS:
        if hasattr(copy, name):
            delattr(copy, name)
    return copy

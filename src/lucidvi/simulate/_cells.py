"""Cells that a model is asked about, minibatch by minibatch, and their latent states."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from anndata import AnnData
from numpy.typing import NDArray
from scvi import REGISTRY_KEYS
from torch import Tensor
from torch.distributions import Distribution

from lucidvi._compat import ADATA_MINIFY_TYPE, adata_minify_type
from lucidvi._random import isolated_seed
from lucidvi.checks import cell_positions
from lucidvi.errors import DataError
from lucidvi.inference import PosteriorTarget, refine
from lucidvi.nn import in_evaluation

#: Values, of cells x genes, of a minibatch, and most cells of one.
MINIBATCH, MOST_CELLS = 2**20, 512
#: What scvi-tools says of cells that are to be trained on.
FOR_TRAINING = ".* has fewer than 3 cells"

#: The values of ``posterior``: the distribution of all that is latent in the cells of a target.
POSTERIORS: dict[str, Callable[[PosteriorTarget], Distribution]] = {
    "encoder": lambda target: target.q0,
    "refined": lambda target: refine(target, "full").posterior.distribution,
}


@contextmanager
def drawing(model: Any, seed: int) -> Iterator[None]:
    """Evaluate the model and draw from a seed; global generators are as before at the end."""
    with isolated_seed(seed), in_evaluation(model.module), torch.no_grad():
        yield


@dataclass(frozen=True, eq=False)
class Cells:
    """Some cells of an AnnData.

    Parameters
    ----------
    model
        The model that they are registered with.
    adata
        The AnnData, its genes in the model's order.
    chosen
        Positions of the cells, shape ``(n_cells,)``; a cell may be there several times.
    """

    model: Any
    adata: AnnData
    chosen: NDArray[np.integer]

    @classmethod
    def of(
        cls,
        model: Any,
        adata: AnnData | None,
        indices: Sequence[Any] | NDArray[Any] | None = None,
    ) -> Cells:
        """Check the cells and register them with the model.

        Parameters
        ----------
        model
            See :func:`lucidvi.model._counts.counts_model`.
        adata
            By default the model's own.
        indices
            Positions, a boolean mask, or names; by default all cells.
        """
        if model.adata is None:
            raise DataError(
                "`model` has no AnnData, so it cannot read cells.",
                remedy="model = SCVI.load(folder, adata=adata)",
            )
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=FOR_TRAINING)
            adata = model._validate_anndata(adata)
        if adata_minify_type(adata) == ADATA_MINIFY_TYPE.LATENT_POSTERIOR:
            raise DataError(
                "The AnnData is minified: its counts were replaced by latent states.",
                remedy="pass the AnnData with the counts.",
            )
        return cls(model, adata, cell_positions(indices, adata.obs_names))

    def __len__(self) -> int:
        return len(self.chosen)

    @property
    def obs(self) -> pd.DataFrame:
        """Columns of the cells, a copy, with their names; without those that scvi-tools adds."""
        obs = self.adata.obs.iloc[self.chosen]
        obs = obs[[column for column in obs if not str(column).startswith("_scvi")]]
        return obs.assign(lucidvi_origin=obs.index.astype(str))

    @property
    def counts(self) -> Any:
        """Counts, as they are stored, shape ``(n_cells, n_genes)``."""
        manager = self.model.get_anndata_manager(self.adata, required=True)
        return manager.get_from_registry(REGISTRY_KEYS.X_KEY)[self.chosen]

    def minibatches(
        self, description: str
    ) -> Iterator[tuple[slice, dict[str, Any], PosteriorTarget]]:
        """Yield which cells, their tensors and their target, with a progress bar if it takes long.

        Parameters
        ----------
        description
            What the bar says.
        """
        module = self.model.module
        size = max(1, min(MOST_CELLS, MINIBATCH // self.adata.n_vars))
        loader = self.model._make_data_loader(
            adata=self.adata, indices=self.chosen, batch_size=size
        )
        start = 0
        loader.description, loader.slow_steps = description, True
        for tensors in loader:
            target = PosteriorTarget.from_module(module, tensors)
            yield slice(start, start + target.n_cells), tensors, target
            start += target.n_cells


def with_exposure(
    target: PosteriorTarget, z: Tensor, exposure: Tensor
) -> tuple[PosteriorTarget, Tensor]:
    """Return a target and draws of its cells with other exposures.

    Parameters
    ----------
    target
        The cells.
    z
        All that is latent, shape ``(n_cells, n_latent)``.
    exposure
        Linear, shape ``(n_cells,)``: in place of the observed total, of the latent library or of
        the size factor.
    """
    column = exposure.to(z)[:, None]
    if target.module.use_size_factor_key:
        given = target.covariates | {REGISTRY_KEYS.SIZE_FACTOR_KEY: column}
        return replace(target, covariates=given), z
    if target.log_library is None:
        return target, torch.cat([z[:, :-1], column.log()], dim=-1)
    return replace(target, log_library=column.log()), z


def exposure_of(target: PosteriorTarget, z: Tensor) -> Tensor:
    """Return the exposure of each cell, linear, shape ``(n_cells,)``."""
    if target.module.use_size_factor_key:
        return target.covariates[REGISTRY_KEYS.SIZE_FACTOR_KEY].squeeze(-1)
    log_library = z[:, -1] if target.log_library is None else target.log_library.squeeze(-1)
    return log_library.exp()


def state_of(target: PosteriorTarget, z: Tensor) -> Tensor:
    """Return the latent state as the decoder sees it, without a latent library."""
    n_latent = target.module.n_latent
    return target.module.z_encoder.z_transformation(z[..., :n_latent])

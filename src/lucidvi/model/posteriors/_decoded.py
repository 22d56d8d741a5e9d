"""What the decoder makes of the cells' states, of any modality."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch
from anndata import AnnData
from scvi import REGISTRY_KEYS
from scvi.model.base import BaseModelClass
from torch import Tensor

from lucidvi.inference import PosteriorTarget
from lucidvi.model._cells import Cells
from lucidvi.model.posteriors._inference import size_of
from lucidvi.model.queries._query import query
from lucidvi.module import DrawnStates


class DecodedMixin(BaseModelClass):
    """Normalized means of a modality."""

    @query(needs_counts=True)
    def get_normalized_expression(
        self,
        adata: AnnData | None = None,
        indices: Any | None = None,
        transform_batch: Any | None = None,
        batch_size: int | None = None,
        *,
        modality: str | None = None,
        n_samples: int = 1,
        return_numpy: bool = False,
    ) -> np.ndarray | pd.DataFrame:
        r"""Return the mean of each feature without the exposure of the cell.

        .. math:: \rho_{nf} = \mathrm{E}_{q(z \mid x_n)}\left[
            \mathrm{E}[x_{nf} \mid z, s_n] / \ell_n(z)\right]

        Parameters
        ----------
        adata, indices, batch_size
            The cells, see :meth:`get_elbo`.
        transform_batch
            Batches to decode the cells as, over which the mean is taken; by default each cell's
            own.
        modality
            Name of the modality, by default the main one.
        n_samples
            Draws of ``z`` for each cell.
        return_numpy
            Return an array; of the main modality a table by default, of others an array always.

        Returns
        -------
        Linear, shape ``(n_cells, n_features)``.
        """
        self._check_if_trained(warn=False)
        cells = Cells.of(self, adata, indices)
        codes = self._codes_of_batches(transform_batch)
        parts = [
            _normalized(target, codes, modality, n_samples).cpu().numpy()
            for _, target in cells.targets("Decoding", size_of(batch_size))
        ]
        means = np.concatenate(parts)
        is_main = modality is None or modality == next(iter(self.module.modalities))
        if return_numpy or not is_main:
            return means
        return pd.DataFrame(means, index=cells.names, columns=pd.Index(self.get_var_names()))

    def _drawn_of(self, tensors: Any, n_samples: int, modality: str) -> DrawnStates:
        """Draw states of the cells of a minibatch, draw by draw, to be decoded to a modality."""
        return self.module.drawn(tensors, n_samples)

    def _batches_with(self, modality: str) -> np.ndarray:
        """Codes of the batches in which a modality was measured when the model was trained."""
        registry = self.get_state_registry(REGISTRY_KEYS.BATCH_KEY)
        return np.arange(len(registry.categorical_mapping))

    def _codes_of_batches(self, batches: list[Any] | None) -> list[int | None]:
        """Return batches as the model numbers them; None for each cell's own."""
        if batches is None:
            return [None]
        registry = self.get_state_registry(REGISTRY_KEYS.BATCH_KEY)
        names = list(registry.categorical_mapping)
        return [None if batch is None else names.index(batch) for batch in batches]


@torch.no_grad()
def _normalized(
    target: PosteriorTarget, codes: list[int | None], modality: str | None, n_samples: int
) -> Tensor:
    """Return the normalized means of a minibatch, over draws and batches."""
    total: Any = 0.0
    for _ in range(n_samples):
        state = target.q0.sample()
        exposure = target.exposure(state, modality)[:, None]
        for code in codes:
            decoded = target
            if code is not None:
                batch = torch.full((target.n_cells, 1), code, device=state.device)
                decoded = target.with_covariates({REGISTRY_KEYS.BATCH_KEY: batch})
            total = total + decoded.likelihood(state, modality).mean / exposure
    return total / (n_samples * len(codes))

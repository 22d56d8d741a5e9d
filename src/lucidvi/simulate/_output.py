"""Drawn counts, gathered minibatch by minibatch as an AnnData."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
import torch
from anndata import AnnData
from anndata.utils import make_index_unique
from scipy import sparse
from torch import Tensor

from lucidvi.distributions import Likelihood
from lucidvi.model import Cells

#: Where the latent states are, in ``obsm``, and in ``layers`` what several draws tell.
STATE = "X_lucidvi"
EXPECTED, EXPECTED_SD, COUNT_SD = "expected", "expected_sd", "count_sd"


def columns_of_origin(cells: Cells) -> pd.DataFrame:
    """Return the columns of cells, and their names in ``lucidvi_origin``."""
    return cells.obs.assign(lucidvi_origin=cells.names.astype(str))


class Output:
    """Counts and latent states of cells, and what further draws tell of the counts.

    The counts are kept sparse, so that memory holds one minibatch of dense ones.

    Parameters
    ----------
    n_samples
        Draws of each cell. The first gives counts and state. Of several there are three dense
        layers, float32: ``"expected"``, the mean of the expected counts over the draws;
        ``"expected_sd"``, their standard deviation; and ``"count_sd"``, the standard deviation of
        the counts, by the law of total variance.
    """

    def __init__(self, n_samples: int = 1) -> None:
        self.n_samples = n_samples
        self._counts: list[sparse.csr_matrix] = []
        self._states: list[np.ndarray] = []
        self._layers: dict[str, list[np.ndarray]] = {}

    def add(self, draws: Iterable[tuple[Tensor, Likelihood]], kept: Tensor | float = 0.0) -> None:
        """Take in a minibatch.

        Parameters
        ----------
        draws
            ``n_samples`` times the latent states, ``(n_cells, n_latent)``, and the likelihood of
            the counts given them, ``(n_cells, n_genes)``.
        kept
            Counts to which drawn ones are added, ``(n_cells, n_genes)``.
        """
        moments = None
        for i, (state, px) in enumerate(draws):
            if i == 0:
                self._counts.append(_csr(px.sample() + kept))
                self._states.append(state.float().cpu().numpy())
            if self.n_samples > 1:
                mean = (px.mean + kept).double()
                parts = torch.stack([mean, mean**2, px.variance.double()])
                moments = parts if moments is None else moments + parts
        if moments is not None:
            mean, square, variance = moments / self.n_samples
            between = (square - mean**2).clamp(min=0)
            unbiased = between * self.n_samples / (self.n_samples - 1)
            self._put(EXPECTED, mean)
            self._put(EXPECTED_SD, unbiased.sqrt())
            self._put(COUNT_SD, (unbiased + variance).sqrt())

    def adata(self, model: Any, obs: pd.DataFrame) -> AnnData:
        """Return all cells.

        Parameters
        ----------
        model
            Whose genes these are; it has an AnnData.
        obs
            Columns of the cells. Names that occur again get a number.
        """
        obs.index = make_index_unique(obs.index.astype(str))  # a cell may be there several times
        counts = sparse.vstack(self._counts, format="csr")
        out = AnnData(counts, obs=obs, var=model.adata.var.copy())
        out.obsm[STATE] = np.concatenate(self._states)
        for name, parts in self._layers.items():
            out.layers[name] = np.concatenate(parts)
        return out

    def _put(self, name: str, values: Tensor) -> None:
        self._layers.setdefault(name, []).append(values.float().cpu().numpy())


def _csr(counts: Tensor) -> sparse.csr_matrix:
    return sparse.csr_matrix(np.float32(counts.cpu().numpy()))

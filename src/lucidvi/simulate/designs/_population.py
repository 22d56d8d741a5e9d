"""The cells of a model as a population that planned experiments draw from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from lucidvi._random import isolated
from lucidvi.inference import PosteriorTarget, concatenated, posterior_of
from lucidvi.model import MINIBATCH, Cells
from lucidvi.simulate._drawing import drawing


@dataclass(frozen=True, eq=False)
class Population:
    """Cells with a draw of their states each, without their counts.

    Small enough to go to a process; :meth:`draw` needs nothing else.

    Parameters
    ----------
    target
        The cells, for decoding alone, see
        :func:`lucidvi.inference.concatenated`.
    states
        All that is latent in them, shape ``(n_cells, n_state)``.
    """

    target: PosteriorTarget
    states: Tensor

    @classmethod
    def of(cls, model: Any, cells: Cells, posterior: str, seed: int) -> Population:
        """Draw the states of cells from their posteriors."""
        targets, states = [], []
        with drawing(model, seed):
            for _, target in cells.targets("Drawing states"):
                states.append(posterior_of(target, posterior).sample())
                targets.append(target)
        return cls(concatenated(targets), torch.cat(states))

    def __len__(self) -> int:
        return len(self.states)

    def draw(
        self, cells: NDArray[np.integer], log_factor: NDArray[np.float64], seed: int
    ) -> sparse.csr_matrix:
        """Draw counts of some cells.

        Parameters
        ----------
        cells
            Positions, shape ``(n, n_each)``: rows share their factors.
        log_factor
            Natural logarithm of what multiplies the expected counts, ``(n, n_genes)``.
        seed
            Of the draws.

        Returns
        -------
        Shape ``(n * n_each, n_genes)``, row after row.
        """
        with isolated(seed), torch.no_grad():
            parts = [
                sparse.csr_matrix(self._counts(part, factor).numpy())
                for row, factor in zip(cells, log_factor, strict=True)
                for part in self._split(row)
            ]
        return sparse.vstack(parts, format="csr")

    def digest(self) -> str:
        """Tell whether two populations are the same."""
        digest = hashlib.sha256()
        exposure = self.target.exposure(self.states)
        weights = self.target.module.state_dict()
        for tensor in (
            *(self.states, exposure),
            *self.target.covariates.values(),
            *weights.values(),
        ):
            digest.update(tensor.detach().cpu().numpy().tobytes())
        return digest.hexdigest()

    def _split(self, cells: NDArray[np.integer]) -> Iterator[NDArray[np.integer]]:
        size = max(1, MINIBATCH // self.target.width)
        return (cells[start : start + size] for start in range(0, len(cells), size))

    def _counts(self, cells: NDArray[np.integer], log_factor: NDArray[np.float64]) -> Tensor:
        rows = torch.as_tensor(cells, device=self.states.device)
        px = self.target.select(rows).likelihood(self.states[rows])
        return px.scaled(torch.as_tensor(log_factor).to(px.log_mean)).sample().cpu()

"""The cells of a model as a population that planned experiments draw from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from lucidvi._random import isolated
from lucidvi.inference import PosteriorTarget
from lucidvi.model import MINIBATCH, Cells
from lucidvi.simulate._drawing import POSTERIORS, drawing


@dataclass(frozen=True, eq=False)
class Population:
    """Cells with a draw of their states each, without their counts.

    Small enough to go to a process; :meth:`draw` needs nothing else.

    Parameters
    ----------
    target
        Decodes states; its cells are not looked at.
    z
        All that is latent, shape ``(n_cells, n_latent)``.
    covariates, log_library
        Of the cells, see :class:`lucidvi.inference.PosteriorTarget`.
    n_genes
        Number of genes.
    """

    target: PosteriorTarget
    z: Tensor
    covariates: dict[str, Tensor]
    log_library: Tensor | None
    n_genes: int

    @classmethod
    def of(cls, model: Any, cells: Cells, posterior: str, seed: int) -> Population:
        """Draw the states of cells from their posteriors."""
        targets, states = [], []
        with drawing(model, seed):
            for _, target in cells.targets("Drawing states"):
                states.append(POSTERIORS[posterior](target).sample())
                targets.append(target)
        first = targets[0]
        covariates = {
            key: torch.cat([target.covariates[key] for target in targets])
            for key in first.covariates
        }
        libraries = [target.log_library for target in targets if target.log_library is not None]
        log_library = torch.cat(libraries) if libraries else None
        n_genes = cells.adata.n_vars
        first = replace(first, x=first.x.new_zeros(()).expand(1, n_genes), covariates={})
        return cls(first, torch.cat(states), covariates, log_library, n_genes)

    def __len__(self) -> int:
        return len(self.z)

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
        found = hashlib.sha256()
        weights = self.target.module.state_dict()
        tensors = [self.z, self.log_library, *self.covariates.values(), *weights.values()]
        for tensor in tensors:
            if tensor is not None:
                found.update(tensor.detach().cpu().numpy().tobytes())
        return found.hexdigest()

    def _split(self, cells: NDArray[np.integer]) -> Iterator[NDArray[np.integer]]:
        size = max(1, MINIBATCH // self.n_genes)
        return (cells[start : start + size] for start in range(0, len(cells), size))

    def _counts(self, cells: NDArray[np.integer], log_factor: NDArray[np.float64]) -> Tensor:
        chosen = torch.as_tensor(cells, device=self.z.device)
        target = replace(
            self.target,
            covariates={key: value[chosen] for key, value in self.covariates.items()},
            log_library=None if self.log_library is None else self.log_library[chosen],
        )
        px = target.likelihood(self.z[chosen])
        return px.scaled(torch.as_tensor(log_factor).to(px.log_mean)).sample().cpu()

"""Draws of counts from the posterior predictive distribution, sparse from the start."""

from __future__ import annotations

from collections.abc import Sequence
from functools import wraps
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy import sparse
from scvi.model.base import BaseModelClass, RNASeqMixin
from torch import Tensor

from lucidvi.model.queries._arguments import to_loader
from lucidvi.model.queries._query import query
from lucidvi.model.queries._requests import bound, gene_positions
from lucidvi.model.queries._which_posterior import of_either_posterior
from lucidvi.module import DrawnStates


class PredictiveMixin(BaseModelClass):
    """The posterior predictive distribution."""

    @of_either_posterior
    @query(passes_to=to_loader)
    @wraps(RNASeqMixin.posterior_predictive_sample, assigned=())
    @torch.inference_mode()
    def posterior_predictive_sample(self, *args: Any, **kwargs: Any) -> Any:
        """Draw counts of each cell from the posterior predictive distribution.

        Differs from scvi-tools: genes come in the order of ``gene_list``, and an unknown one is
        an error.

        Parameters
        ----------
        *args, **kwargs
            See :meth:`scvi.model.base.RNASeqMixin.posterior_predictive_sample`.

        Raises
        ------
        lucidvi.errors.UnknownGeneError
            If ``gene_list`` names a gene that the model does not have.
        """
        arguments = bound(RNASeqMixin.posterior_predictive_sample, self, args, kwargs)
        return self._predictive_draws(arguments, pd.Index(self.get_var_names()))

    def _predictive_draws(
        self, arguments: dict[str, Any], genes: pd.Index, modality: str | None = None
    ) -> Any:
        """Draw counts of a modality, by default of the main one, with the names ``genes``."""
        name = next(iter(self.module.modalities)) if modality is None else modality
        positions = None
        if arguments.get("gene_list") is not None:
            positions = gene_positions(arguments["gene_list"], genes)
        of_loader = set(arguments) - NOT_OF_LOADER
        codes = self._codes_of_batches(arguments.get("transform_batch"))
        n_samples = arguments.get("n_samples", 1)
        parts = [
            _drawn_counts([self._drawn_of(tensors, n_samples, name) for _ in codes], codes, name)
            for tensors in self._minibatches(
                arguments.get("adata"),
                arguments.get("indices"),
                arguments.get("batch_size"),
                arguments.get("dataloader"),
                {name: arguments[name] for name in of_loader},
            )
        ]
        by_state = [part if positions is None else part[:, positions] for part in parts]
        return _as_array(by_state, n_samples)


#: Arguments of the method itself.
NOT_OF_LOADER = {
    "adata",
    "indices",
    "transform_batch",
    "n_samples",
    "gene_list",
    "batch_size",
    "dataloader",
    "silent",
}


def _drawn_counts(
    states: Sequence[DrawnStates], codes: Sequence[int | None], modality: str
) -> sparse.csr_matrix:
    """Draw counts at states, a mean over batches, shape ``(n_states, n_genes)``."""
    total: Any = None
    for drawn, code in zip(states, codes, strict=True):
        drawn = drawn.in_batch(code)
        rows = [_csr(drawn.select(block), modality) for block in drawn.blocks()]
        counts = sparse.vstack(rows, format="csr", dtype=np.float32)
        total = counts if total is None else total + counts
    return total / np.float32(len(codes)) if len(codes) > 1 else total


def _csr(states: DrawnStates, modality: str) -> sparse.csr_matrix:
    likelihood = states.likelihood(modality)
    cells, genes, counts = (_numpy(part) for part in likelihood.sample_nonzero())
    starts = np.searchsorted(cells, np.arange(len(states) + 1))
    shape = (len(states), likelihood.batch_shape[-1])
    return sparse.csr_matrix((counts, genes.astype(np.int32), starts), shape=shape)


def _numpy(tensor: Tensor) -> NDArray[Any]:
    return tensor.cpu().numpy()


def _as_array(parts: list[sparse.csr_matrix], n_samples: int) -> Any:
    """Return draws of minibatches, draw by draw of their cells, as an array by cell and gene."""
    from sparse import GCXS

    if n_samples == 1:
        return GCXS.from_scipy_sparse(sparse.vstack(parts, format="csr"))
    n_genes = parts[0].shape[1]
    rows = []
    for part in parts:
        n_cells = part.shape[0] // n_samples
        # The draws of a cell side by side, a gene after the other.
        entries = part.tocoo()
        sample, cell = np.divmod(entries.row, n_cells)
        column = entries.col.astype(np.int64) * n_samples + sample
        wide = (n_cells, n_genes * n_samples)
        rows.append(sparse.csr_matrix((entries.data, (cell, column)), shape=wide))
    whole = sparse.vstack(rows, format="csr")
    whole.sort_indices()
    shape = (whole.shape[0], n_genes, n_samples)
    return GCXS((whole.data, whole.indices, whole.indptr), shape=shape, compressed_axes=(0,))

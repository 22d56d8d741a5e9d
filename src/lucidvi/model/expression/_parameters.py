"""Parameters of the likelihood of each count."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from anndata import AnnData
from torch import Tensor

from lucidvi.model.queries._arguments import to_loader
from lucidvi.model.queries._query import QueryMixin, query


class ParametersMixin(QueryMixin):
    """Parameters of the likelihood."""

    @query(passes_to=to_loader)
    @torch.inference_mode()
    def get_likelihood_parameters(
        self,
        adata: AnnData | None = None,
        indices: Sequence[int] | None = None,
        n_samples: int | None = 1,
        give_mean: bool | None = False,
        batch_size: int | None = None,
        dataloader: Iterator[dict[str, Tensor | None]] | None = None,
        **data_loader_kwargs: Any,
    ) -> dict[str, np.ndarray]:
        r"""Parameters of the likelihood of each count, at draws of ``z``.

        Differs from scvi-tools: Poisson and normal likelihoods have parameters too; ``indices``
        may be positions, a mask, a slice or names of cells.

        Parameters
        ----------
        adata, indices, batch_size, dataloader, **data_loader_kwargs
            The cells, see :meth:`get_elbo`.
        n_samples
            Draws of ``z`` for each cell.
        give_mean
            Return the mean over the draws.

        Returns
        -------
        ``"mean"``, and as the likelihood has them ``"dispersions"`` (inverse dispersion; of a
        normal, the standard deviation) and ``"dropout"`` (probability of an inflated zero), all
        linear, of shape ``(n_cells, n_genes)``, or ``(n_samples, n_cells, n_genes)``.
        """
        n_samples = n_samples or 1
        collected: dict[str, list[np.ndarray]] = {}
        for tensors in self._minibatches(
            adata, indices, batch_size, dataloader, data_loader_kwargs
        ):
            px = self.module(
                tensors, inference_kwargs={"n_samples": n_samples}, compute_loss=False
            )[1]["px"]
            for name, values in px.likelihood_parameters().items():
                if give_mean and n_samples > 1:
                    values = values.mean(dim=0)
                collected.setdefault(name, []).append(values.cpu().numpy())
        return {name: np.concatenate(values, axis=-2) for name, values in collected.items()}

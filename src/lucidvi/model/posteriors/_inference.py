"""How far the posteriors are from the best ones, and the best ones themselves."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
import scvi
import torch
from anndata import AnnData
from scvi import REGISTRY_KEYS
from scvi.model.base import BaseModelClass

from lucidvi import kernels
from lucidvi.checks import cell_positions, name_positions
from lucidvi.errors import first_few
from lucidvi.inference import Estimate, PosteriorTarget, inference_gap, refine
from lucidvi.model.expression._differential import check_column
from lucidvi.model.posteriors._refined import RefinedPosterior, digest
from lucidvi.model.queries._query import query

OWN_PARAMETERS = (
    "The cells' batches {} have no cell that the model was trained on, so the decoder has no "
    "parameters of their own and a refined posterior would take up the batch effect. Train with "
    "cells of these batches first: `SCVI.load_query_data(adata, model)` and then `train()`."
)


class InferenceMixin(BaseModelClass):
    """Refined posteriors and the inference gap."""

    @query(needs_counts=True)
    def refine_posterior(
        self,
        adata: AnnData | None = None,
        indices: Sequence[int] | None = None,
        genes: Sequence[str] | np.ndarray | None = None,
        family: Literal["diagonal", "full"] = "diagonal",
        batch_size: int | None = None,
        **kwargs: Any,
    ) -> RefinedPosterior:
        r"""Optimise each cell's own posterior, from the encoder's on, with the decoder fixed.

        Refinement believes the decoder, so cells of a batch that the model was not trained on
        have to be trained on first; it warns of them.

        Parameters
        ----------
        adata, indices, batch_size
            The cells, see :meth:`get_elbo`.
        genes
            Names of the genes that were measured, or a boolean mask of the model's genes; all by
            default. The others are left out of the likelihood, in which exposure and normalized
            expression are then those of the measured genes.
        family
            ``"diagonal"`` or ``"full"`` covariance.
        **kwargs
            Passed to :func:`lucidvi.inference.refine`.

        Returns
        -------
        Posteriors of which none has a lower ELBO than the encoder's; see
        :class:`RefinedPosterior` and its ``to_adata``.
        """
        adata, cells = self._cells_to_infer(adata, indices)
        n_latent = self.module.n_latent
        parts: list[tuple[np.ndarray, ...]] = []
        mask = self._gene_mask(genes)
        for tensors, target in self._targets(adata, cells, batch_size, mask, "Refining"):
            refined = refine(target, family, **kwargs)
            posterior = refined.posterior
            if target.log_library is None:
                library = posterior.loc[:, n_latent].exp()
            else:
                library = kernels.row_sums(tensors[REGISTRY_KEYS.X_KEY]).squeeze(-1)
            arrays = (
                posterior.loc[:, :n_latent],
                posterior.scale[:, :n_latent],
                posterior.scale_tril[:, :n_latent, :n_latent],
                library,
                refined.elbo_before,
                refined.elbo,
                refined.n_steps,
            )
            parts.append(tuple(array.cpu().numpy() for array in arrays))
        names = ("loc", "scale", "scale_tril", "library", "elbo_before", "elbo", "n_steps")
        columns = (np.concatenate(part) for part in zip(*parts, strict=True))
        found: dict[str, Any] = dict(zip(names, columns, strict=True))
        if family == "diagonal":
            found["scale_tril"] = None
        return RefinedPosterior(
            **found,
            obs_names=np.asarray(adata.obs_names)[cells],
            positions=cells,
            source=digest(adata.obs_names),
            slots=(self._LATENT_QZM_KEY, self._LATENT_QZV_KEY, self._OBSERVED_LIB_SIZE_KEY),
        )

    @query(needs_counts=True)
    def get_inference_gap(
        self,
        adata: AnnData | None = None,
        indices: Sequence[int] | None = None,
        batch_size: int | None = None,
        *,
        groupby: str | None = None,
        **kwargs: Any,
    ) -> pd.DataFrame:
        r"""Measure how far the encoder's posteriors are from the true ones, in nats a cell.

        .. math::
            \log p(x) - \mathrm{ELBO} = \text{amortization gap} + \text{approximation gap}

        The amortization gap is what the encoder misses of the best normal with a diagonal
        covariance (:meth:`refine_posterior` closes it), the approximation gap what that misses.
        Of a model with a richer posterior the best normal has a full covariance; a flow may be
        better than that, and its amortization gap negative.

        Parameters
        ----------
        adata, indices, batch_size
            The cells, see :meth:`get_elbo`.
        groupby
            Column of ``obs`` by whose values to summarize: number of cells, share trusted, and
            the mean of each number.
        **kwargs
            Passed to :func:`lucidvi.inference.inference_gap`.

        Returns
        -------
        A row a cell (or a group) with ``elbo``, ``elbo_refined``, ``log_px``,
        ``standard_error`` of ``log_px``, ``k_hat`` of its importance weights,
        ``amortization_gap``, ``approximation_gap`` and ``trusted``, which says whether ``log_px``
        and its error are to be believed.
        """
        adata, cells = self._cells_to_infer(adata, indices)
        if groupby is not None:
            check_column(adata, "groupby", groupby)
        gaps = [
            inference_gap(target, **kwargs)
            for _, target in self._targets(adata, cells, batch_size, None, "Measuring the gap")
        ]
        marginal = Estimate.concatenate([gap.marginal for gap in gaps])
        columns = {
            "elbo": torch.cat([gap.elbo for gap in gaps]),
            "elbo_refined": torch.cat([gap.elbo_refined for gap in gaps]),
            "log_px": marginal.log_px,
            "standard_error": marginal.standard_error,
            "k_hat": marginal.k_hat,
            "amortization_gap": torch.cat([gap.amortization_gap for gap in gaps]),
            "approximation_gap": torch.cat([gap.approximation_gap for gap in gaps]),
            "trusted": marginal.is_trusted,
        }
        frame = pd.DataFrame(
            {name: column.cpu().numpy() for name, column in columns.items()},
            index=adata.obs_names[cells],
        )
        if groupby is None:
            return frame
        groups = frame.groupby(adata.obs[groupby].to_numpy()[cells], observed=True)
        summary = groups.mean()
        summary.insert(0, "n_cells", groups.size())
        return summary.rename_axis(groupby)

    def _cells_to_infer(
        self, adata: AnnData | None, indices: Sequence[int] | None
    ) -> tuple[AnnData, np.ndarray]:
        """Check the model and the cells' batches; return AnnData and positions of the cells."""
        self._check_if_trained(warn=False)
        adata = self._validate_anndata(adata)
        chosen = cell_positions(indices, adata.obs_names)
        strangers = self._batches_without_parameters(adata, chosen)
        if strangers:
            message = OWN_PARAMETERS.format(first_few(strangers))
            warnings.warn(message, UserWarning, stacklevel=scvi.settings.warnings_stacklevel)
        return adata, chosen

    def _batches_without_parameters(self, adata: AnnData, indices: np.ndarray) -> list[str]:
        """Name the batches of the cells of which the model's data have cells, but none to train.

        A batch of a reference model is none of the data of a query model, and has parameters.
        """
        train = getattr(self, "train_indices_", None)
        if self.adata_manager is None or train is None or max(train) >= self.adata.n_obs:
            return []
        own = np.ravel(self.adata_manager.get_from_registry(REGISTRY_KEYS.BATCH_KEY))
        untrained = np.setdiff1d(own, own[train])
        manager = self.get_anndata_manager(adata, required=True)
        batch = np.ravel(manager.get_from_registry(REGISTRY_KEYS.BATCH_KEY))[indices]
        registry = self.adata_manager.get_state_registry(REGISTRY_KEYS.BATCH_KEY)
        return [str(registry.categorical_mapping[i]) for i in np.intersect1d(batch, untrained)]

    def _gene_mask(self, genes: Sequence[str] | np.ndarray | None) -> np.ndarray | None:
        """Mask of the model's genes that are chosen, of shape ``(n_genes,)``; None for all."""
        if genes is None:
            return None
        names = pd.Index(self.get_var_names())
        mask = np.zeros(len(names), dtype=bool)
        mask[name_positions(genes, names, "genes")] = True
        return mask

    def _targets(
        self,
        adata: AnnData,
        indices: np.ndarray,
        batch_size: int | None,
        genes: np.ndarray | None,
        description: str,
    ) -> Iterator[tuple[dict[str, Any], PosteriorTarget]]:
        """Yield the minibatches and their targets, with a progress bar if it takes long."""
        loader = self._make_data_loader(adata=adata, indices=indices, batch_size=batch_size)
        loader.description, loader.slow_steps = description, True
        for tensors in loader:
            yield tensors, PosteriorTarget.from_module(self.module, tensors, genes)

"""How far the posteriors are from the best ones, and the best ones themselves."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
import scvi
import torch
from anndata import AnnData
from scvi import REGISTRY_KEYS
from scvi.model.base import BaseModelClass
from torch import Tensor

from lucidvi import kernels
from lucidvi._positions import name_positions
from lucidvi.checks import check_column
from lucidvi.errors import first_few
from lucidvi.inference import Estimate, PosteriorTarget, inference_gap, refine
from lucidvi.model._cells import Cells
from lucidvi.model.posteriors._refined import RefinedPosteriors, digest
from lucidvi.model.queries._arguments import to_function
from lucidvi.model.queries._query import query
from lucidvi.results import Posteriors

OWN_PARAMETERS = (
    "The cells' batches {} have no cell that the model was trained on, so the decoder has no "
    "parameters of their own and a refined posterior would take up the batch effect. Train with "
    "cells of these batches first: `SCVI.load_query_data(adata, model)` and then `train()`."
)


class InferenceMixin(BaseModelClass):
    """Refined posteriors and the inference gap."""

    @query(needs_counts=True, passes_to=to_function(refine, "target"))
    def refine_posterior(
        self,
        adata: AnnData | None = None,
        indices: Sequence[int] | None = None,
        genes: Sequence[str] | np.ndarray | None = None,
        family: Literal["diagonal", "full"] = "diagonal",
        batch_size: int | None = None,
        **kwargs: Any,
    ) -> RefinedPosteriors:
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
        :class:`RefinedPosteriors` and its ``to_adata``.
        """
        cells = self._cells_to_infer(adata, indices)
        mask, names = self._gene_mask(genes), cells.names
        slots = (self._LATENT_QZM_KEY, self._LATENT_QZV_KEY, self._OBSERVED_LIB_SIZE_KEY)
        source, parts = digest(cells.adata.obs_names), []
        for rows, minibatch in cells.minibatches("Refining", size_of(batch_size)):
            target = PosteriorTarget.from_module(self.module, minibatch, mask)
            refined = refine(target, family, **kwargs)
            of_z = target.latent_posterior(refined.posterior)
            numbers = {
                "library": _library(target, refined.posterior.loc, minibatch),
                "elbo_before": refined.elbo_before,
                "elbo": refined.elbo,
                "n_steps": refined.n_steps,
            }
            part = RefinedPosteriors(
                **vars(Posteriors.of(of_z, names[rows], full=family == "full")),
                **{name: value.cpu().numpy() for name, value in numbers.items()},
                positions=cells.positions[rows],
                source=source,
                slots=slots,
            )
            parts.append(part)
        return RefinedPosteriors.concatenate(parts)

    @query(needs_counts=True, passes_to=to_function(inference_gap, "target"))
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
        cells = self._cells_to_infer(adata, indices)
        if groupby is not None:
            check_column(cells.adata.obs, "groupby", groupby)
        gaps = [
            inference_gap(target, **kwargs)
            for _, target in cells.targets("Measuring the gap", size_of(batch_size))
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
            index=cells.names,
        )
        if groupby is None:
            return frame
        groups = frame.groupby(cells.adata.obs[groupby].to_numpy()[cells.positions], observed=True)
        summary = groups.mean()
        summary.insert(0, "n_cells", groups.size())
        return summary.rename_axis(groupby)

    def _cells_to_infer(self, adata: AnnData | None, indices: Any | None) -> Cells:
        """Check the model and the batches of the cells; return the cells."""
        self._check_if_trained(warn=False)
        cells = Cells.of(self, adata, indices)
        untrained = self._batches_without_parameters(cells)
        if untrained:
            message = OWN_PARAMETERS.format(first_few(untrained))
            warnings.warn(message, UserWarning, stacklevel=scvi.settings.warnings_stacklevel)
        return cells

    def _batches_without_parameters(self, cells: Cells) -> list[str]:
        """Name the batches of the cells of which the model's data have cells, but none to train.

        A batch of a reference model is none of the data of a query model, and has parameters.
        """
        manager, train = self.adata_manager, getattr(self, "train_indices_", None)
        if manager is None or train is None or max(train) >= self.adata.n_obs:
            return []
        key = REGISTRY_KEYS.BATCH_KEY
        if key not in manager.data_registry:
            return []
        batches = np.ravel(manager.get_from_registry(key))
        untrained = np.setdiff1d(batches, batches[train])
        categories = manager.get_state_registry(key).categorical_mapping
        return [str(categories[i]) for i in np.intersect1d(np.ravel(cells.field(key)), untrained)]

    def _gene_mask(self, genes: Sequence[str] | np.ndarray | None) -> np.ndarray | None:
        """Mask of the model's genes that are chosen, of shape ``(n_genes,)``; None for all."""
        if genes is None:
            return None
        names = pd.Index(self.get_var_names())
        mask = np.zeros(len(names), dtype=bool)
        mask[name_positions(genes, names, "genes")] = True
        return mask


def size_of(batch_size: int | None) -> int:
    """Return the number of cells of a minibatch, by default that of scvi-tools' settings."""
    return scvi.settings.batch_size if batch_size is None else batch_size


def _library(target: PosteriorTarget, state: Tensor, minibatch: Mapping[str, Any]) -> Tensor:
    """Return what scvi-tools stores as the library of cells: their totals, unless it is latent."""
    is_latent = target.n_state > target.n_latent
    if is_latent or REGISTRY_KEYS.X_KEY not in minibatch:
        return target.exposure(state)
    return kernels.row_sums(minibatch[REGISTRY_KEYS.X_KEY]).squeeze(-1)

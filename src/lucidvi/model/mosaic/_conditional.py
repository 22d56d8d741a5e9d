"""Latent states and likelihoods of some modalities, and of some given others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from anndata import AnnData
from scvi.model.base import VAEMixin
from torch import Tensor

from lucidvi.checks import check_choice
from lucidvi.errors import DataError
from lucidvi.inference import Estimate, posterior_of
from lucidvi.model._cells import Cells
from lucidvi.model.mosaic._selection import SelectionMixin
from lucidvi.model.posteriors._latent import LatentMixin
from lucidvi.model.posteriors._likelihood import METHODS
from lucidvi.model.queries._arguments import to_loader
from lucidvi.model.queries._query import CELLS_BY_NAME, query
from lucidvi.model.queries._signature import like


class ConditionalMixin(SelectionMixin, LatentMixin):
    """What some of the modalities say of cells."""

    @query(passes_to=to_loader, differs=CELLS_BY_NAME)
    @like(VAEMixin.get_latent_representation, posterior="encoder", modalities=None)
    def get_latent_representation(
        self, posterior: str, modalities: Any, **arguments: Any
    ) -> np.ndarray | tuple[np.ndarray, ...]:
        """Return the cells' latent states, from all that they have or from some ``modalities``."""
        if modalities is None:
            return super().get_latent_representation(posterior=posterior, **arguments)
        names = self._modality_names("modalities", modalities)
        if arguments.get("dataloader") is not None:
            raise DataError(
                "`modalities` chooses what is read of an AnnData, and there is a `dataloader`.",
                remedy="model.get_latent_representation(adata, modalities=...).",
            )
        cells = Cells.of(self, arguments.get("adata"), arguments.get("indices"))
        parts: list[tuple[Tensor, ...]] = []
        size = arguments.get("batch_size")
        for _, target in self._targets_of(cells, names, "Encoding", size):
            q = posterior_of(target, posterior, "diagonal")
            with torch.no_grad():
                if arguments.get("return_dist"):
                    parts.append((target.latent(q.mean), target.latent(q.variance)))
                elif arguments.get("give_mean", True):
                    parts.append((target.representation(q.mean),))
                else:
                    parts.append((target.representation(q.sample()),))
        states = tuple(torch.cat(part).cpu().numpy() for part in zip(*parts, strict=True))
        return states if arguments.get("return_dist") else states[0]

    @query(needs_counts=True)
    def get_conditional_ll(
        self,
        modality: str,
        given: Sequence[str] | str | None = None,
        adata: AnnData | None = None,
        indices: Sequence[int] | None = None,
        n_mc_samples: int = 1000,
        batch_size: int | None = None,
        *,
        method: Literal["iwae", "ais"] = "iwae",
    ) -> pd.DataFrame:
        r"""Estimate the log likelihood of a modality of each cell, given others, in nats.

        .. math:: \log p(x_m \mid x_o) = \log p(x_m, x_o) - \log p(x_o)

        Parameters
        ----------
        modality
            Name of the modality.
        given
            What is given; nothing by default, which leaves :math:`\log p(x_m)`.
        adata, indices, n_mc_samples, batch_size, method
            See :meth:`get_marginal_ll`. Cells that lack the modality are NaN.

        Returns
        -------
        A row a cell with ``log_px``, its Monte Carlo ``standard_error`` and ``trusted``.
        """
        check_choice("method", method, METHODS)
        name = self._modality_name(modality)
        others = [] if given is None else self._modality_names("given", given)
        if name in others:
            raise DataError(
                f"`given` has {name!r}, of which the likelihood is asked.",
                remedy=f"given={[key for key in others if key != name]}",
            )
        cells = Cells.of(self, adata, indices)
        n_passes = int(bool(others))
        parts: list[list[Estimate]] = [[], []]
        missing = []
        for which, names in enumerate([[name, *others], others][: 1 + n_passes]):
            seen = cells.with_modalities(names)
            for _, target in seen.targets("Estimating the likelihood", batch_size):
                parts[which].append(METHODS[method](target, n_mc_samples))
                if which == 0:
                    present = target.observed[name].present
                    everywhere = torch.ones(target.n_cells, dtype=torch.bool)
                    missing.append(~(everywhere if present is None else present.cpu()))
        joint = Estimate.concatenate(parts[0])
        log_px, variance = joint.log_px, joint.standard_error.square()
        trusted = joint.is_trusted
        if others:
            of_given = Estimate.concatenate(parts[1])
            log_px = log_px - of_given.log_px
            variance = variance + of_given.standard_error.square()
            trusted = trusted & of_given.is_trusted
        frame = pd.DataFrame(
            {
                "log_px": log_px.cpu().numpy(),
                "standard_error": variance.sqrt().cpu().numpy(),
                "trusted": trusted.cpu().numpy(),
            },
            index=cells.names,
        )
        absent = torch.cat(missing).numpy()
        frame.loc[absent, ["log_px", "standard_error"]] = np.nan
        frame.loc[absent, "trusted"] = False
        return frame

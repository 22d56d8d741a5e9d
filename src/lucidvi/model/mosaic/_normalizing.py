"""Values of a modality as the decoder sees them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from anndata import AnnData
from torch import Tensor
from torch.distributions import Independent

from lucidvi.checks import check_choice
from lucidvi.errors import DataError, ModelTypeError
from lucidvi.inference import POSTERIORS, posterior_of
from lucidvi.model._cells import Cells
from lucidvi.model.mosaic._imputing import ImputingMixin
from lucidvi.model.mosaic._selection import in_batches
from lucidvi.model.queries._query import query


class NormalizingMixin(ImputingMixin):
    """Normalized values of each modality."""

    @query(needs_counts=True)
    def get_normalized(
        self,
        modality: str | None = None,
        adata: AnnData | None = None,
        indices: Sequence[int] | None = None,
        transform_batch: Any = None,
        features: Sequence[str] | None = None,
        library_size: float | Literal["observed"] = 1,
        n_samples: int = 1,
        batch_size: int | None = None,
        return_mean: bool = True,
        return_numpy: bool | None = None,
        *,
        include_background: bool = False,
        from_modalities: Sequence[str] | str | None = None,
        posterior: str = "encoder",
    ) -> pd.DataFrame | np.ndarray:
        """Return values of a modality as the decoder sees them, a mean over draws of ``z``.

        Those of RNA and accessibility are shares of the exposure, times ``library_size``; those
        of proteins, which have none, are counts.

        Parameters
        ----------
        modality
            Name of the modality; by default the main one.
        adata, indices, batch_size
            The cells, see :meth:`get_elbo`.
        transform_batch
            Batch or batches to decode the cells as; see :meth:`impute` for the default.
        features
            Names of features; by default all.
        library_size
            Exposure that the values are of; ``"observed"`` for each cell's own, which only cells
            with the modality have. Without meaning for proteins.
        n_samples
            Draws of the state of each cell.
        return_mean
            Average over the draws; else an array ``(n_samples, n_cells, n_features)``.
        return_numpy
            Return an array and no table.
        include_background
            Of proteins, let the values be the means of the counts and not of the foreground in
            them.
        from_modalities
            What the states are inferred from; by default all that a cell has.
        posterior
            ``"encoder"``, or ``"refined"`` for each cell's own. Posteriors of all that a cell has
            that are stored with the cells take the place of the encoder's.

        Returns
        -------
        Cells by features.
        """
        name = self._modality_name(modality)
        has_exposure = self.modalities[name].is_normalized
        is_observed = isinstance(library_size, str)
        if is_observed:
            check_choice("library_size", library_size, ("observed",))

        def values(px: Any) -> Tensor:
            if has_exposure and not is_observed:
                return px.normalized * float(library_size)
            return px.mean if include_background or has_exposure else px.signal

        return self._decoded_values(
            name, values, adata, indices, transform_batch, features, n_samples, batch_size,
            return_mean, return_numpy, from_modalities, posterior,
        )  # fmt: skip

    @query(needs_counts=True)
    def get_foreground_probability(
        self,
        modality: str,
        adata: AnnData | None = None,
        indices: Sequence[int] | None = None,
        transform_batch: Any = None,
        features: Sequence[str] | None = None,
        n_samples: int = 1,
        batch_size: int | None = None,
        return_mean: bool = True,
        return_numpy: bool | None = None,
        *,
        from_modalities: Sequence[str] | str | None = None,
        posterior: str = "encoder",
    ) -> pd.DataFrame | np.ndarray:
        """Return the probability that a cell has a protein, and not background alone.

        Parameters
        ----------
        modality
            Name of a modality with a background.
        adata, indices, transform_batch, features, n_samples, batch_size, return_mean
            See :meth:`get_normalized`.
        return_numpy, from_modalities, posterior
            See :meth:`get_normalized`.

        Raises
        ------
        lucidvi.errors.ModelTypeError
            If the likelihood of the modality has no background.
        """
        name = self._modality_name(modality)

        def values(px: Any) -> Tensor:
            if px.background is None:
                raise ModelTypeError(
                    f"The likelihood {px.family!r} of {name!r} has no background.",
                    remedy="set it up with the kind 'protein', and train anew.",
                )
            return 1 - px.background

        return self._decoded_values(
            name, values, adata, indices, transform_batch, features, n_samples, batch_size,
            return_mean, return_numpy, from_modalities, posterior,
        )  # fmt: skip

    @torch.no_grad()
    def _decoded_values(
        self,
        name: str,
        values: Callable[[Any], Tensor],
        adata: AnnData | None,
        indices: Any,
        transform_batch: Any,
        features: Any,
        n_samples: int,
        batch_size: int | None,
        return_mean: bool,
        return_numpy: bool | None,
        from_modalities: Any,
        posterior: str,
    ) -> pd.DataFrame | np.ndarray:
        """Return values of the likelihood at draws of the states."""
        given = self._modality_names("from_modalities", from_modalities)
        check_choice("posterior", posterior, POSTERIORS)
        # What is stored with cells is inferred from all that they have.
        is_stored = posterior == "encoder" and given == list(self.modalities)
        if n_samples < 1:
            raise DataError(f"`n_samples` is {n_samples!r}.", remedy="n_samples=1, or more.")
        cells, columns = Cells.of(self, adata, indices), self._columns(name, features)
        chosen = slice(None) if columns is None else torch.as_tensor(columns)
        names = self.get_feature_names(name)[columns if columns is not None else slice(None)]
        kept = self._kept(name, transform_batch)
        codes = self._codes_for(name, transform_batch)
        n_kept = 1 if return_mean else n_samples
        out = np.zeros((n_kept, len(cells), len(names)), np.float32)
        for rows, target in self._targets_of(cells, given, f"Decoding {name!r}", batch_size):
            stored = self.module.stored(target.covariates) if is_stored else None
            q = posterior_of(target, posterior) if stored is None else Independent(stored, 1)
            targets = in_batches(target, codes, kept)
            for draw in range(n_samples):
                z = q.sample()
                total: Any = 0.0
                for one in targets:
                    total = total + values(one.likelihood(z, name))[:, chosen] / len(targets)
                out[draw % n_kept, rows] += torch.as_tensor(total).cpu().numpy() * (
                    n_kept / n_samples
                )
        if n_kept > 1:
            return out
        if return_numpy:
            return out[0]
        return pd.DataFrame(out[0], index=cells.names, columns=names, copy=False)

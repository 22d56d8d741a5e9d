"""Values of a modality in cells, whether it was measured in them or not."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from anndata import AnnData
from torch import Tensor

from lucidvi._random import isolated
from lucidvi.checks import check_choice
from lucidvi.errors import DataError
from lucidvi.inference import POSTERIORS, PosteriorTarget, posterior_of
from lucidvi.model._cells import MOST_CELLS, Cells
from lucidvi.model.mosaic._selection import SelectionMixin, in_batches
from lucidvi.model.queries._query import query
from lucidvi.results import Imputation, central

#: Values, of draws x cells x features, that are held at once.
HELD = 2**24
#: Batches that cells are decoded as, at most, of those in which a modality was measured.
MOST_BATCHES = 20


class ImputingMixin(SelectionMixin):
    """What cells show of a modality, and what they would."""

    @query(needs_counts=True)
    def impute(
        self,
        modality: str,
        from_modalities: Sequence[str] | str | None = None,
        adata: AnnData | None = None,
        indices: Sequence[int] | None = None,
        *,
        intervals: float | None = 0.9,
        features: Sequence[str] | None = None,
        transform_batch: Any = None,
        library_size: float | None = None,
        n_samples: int = 200,
        posterior: str = "encoder",
        batch_size: int | None = None,
        seed: int | None = 0,
    ) -> Imputation:
        r"""Say what counts of a modality cells would show, given others.

        .. math::
            p(x_m \mid x_o) = \int p(x_m \mid z, s) \, q(z \mid x_o) \, dz

        The counts of the modality itself are not looked at, unless it is among
        ``from_modalities``, whether the cells have it or not.

        Parameters
        ----------
        modality
            Name of the modality.
        from_modalities
            What the states are inferred from; by default all others.
        adata, indices, batch_size
            The cells, see :meth:`get_elbo`; by default all of the model's own.
        intervals
            Probability that a count lies within its bounds; None for means alone.
        features
            Names of features; by default all.
        transform_batch
            Batch or batches that cells are decoded as, over which means and draws go. By default
            each cell is decoded as one of its own batch, and cells of batches in which the
            modality was not measured in training as ones of each batch in which it was.
        library_size
            Exposure of the counts. By default that of a typical cell of the training; a modality
            without exposure, such as proteins, has none.
        n_samples
            Draws of the state of each cell.
        posterior
            ``"encoder"``, or ``"refined"`` for each cell's own.
        seed
            Seed of the draws; None for those of the generators of the process.

        Returns
        -------
        Means and bounds by cell and feature.

        Raises
        ------
        lucidvi.errors.DataError
            If there is no such modality, nothing to infer states from, or a number that is none.
        """
        name = self._modality_name(modality)
        others = [key for key in self.modalities if key != name]
        given = self._modality_names(
            "from_modalities", (others or None) if from_modalities is None else from_modalities
        )
        check_choice("posterior", posterior, POSTERIORS)
        _check_numbers(intervals, n_samples)
        self._check_if_trained(warn=False)
        cells, columns = Cells.of(self, adata, indices), self._columns(name, features)
        names = self.get_feature_names(name)
        names = names if columns is None else names[columns]
        shape = (len(cells), len(names))
        tables = [np.empty(shape, np.float32) for _ in range(1 if intervals is None else 3)]
        n_held = n_samples if intervals is not None else 1
        size = batch_size or int(np.clip(HELD // (n_held * len(names)), 1, MOST_CELLS))
        codes = self._codes_for(name, transform_batch)
        depth = self._depth(name, library_size)
        with isolated(seed):
            for rows, target in self._targets_of(cells, given, f"Imputing {name!r}", size):
                decoded = _decoded(
                    target, name, codes, self._kept(name, transform_batch), depth,
                    posterior, n_samples,
                )  # fmt: skip
                parts = _summarized(decoded, columns, n_samples, intervals)
                for table, part in zip(tables, parts, strict=True):
                    table[rows] = part
        frames = [
            pd.DataFrame(table, index=cells.names, columns=names, copy=False) for table in tables
        ]
        mean, *bounds = frames
        lower, upper = bounds or (None, None)
        return Imputation(name, tuple(given), mean, lower, upper, intervals)

    def _codes_for(self, modality: str, transform_batch: Any) -> list[int]:
        """Codes of the batches that cells are decoded as, where they are not left in theirs."""
        if transform_batch is not None:
            wanted = self._codes_of_batches(transform_batch)
            if None in wanted:
                raise DataError(
                    "`transform_batch` holds None, which here stands for no batch.",
                    remedy="transform_batch=None, or names of batches.",
                )
            return [int(code) for code in wanted if code is not None]
        codes = self._batches_with(modality)
        if len(codes) > MOST_BATCHES:
            codes = codes[np.linspace(0, len(codes) - 1, MOST_BATCHES).round().astype(int)]
        return [int(code) for code in codes]

    def _kept(self, modality: str, transform_batch: Any) -> Sequence[int] | np.ndarray:
        """Codes of the batches whose cells are decoded as what they are."""
        return [] if transform_batch is not None else self._batches_with(modality)


def _check_numbers(intervals: Any, n_samples: Any) -> None:
    if intervals is not None and not 0 < intervals < 1:
        raise DataError(
            f"`intervals` is {intervals!r}; it is the probability of the interval.",
            remedy="intervals=0.9, or None for none.",
        )
    if n_samples < 1:
        raise DataError(f"`n_samples` is {n_samples!r}.", remedy="n_samples=200, or more than 0.")


def _decoded(
    target: PosteriorTarget,
    modality: str,
    codes: Sequence[int],
    kept: Any,
    depth: float | None,
    posterior: str,
    n_samples: int,
) -> Iterator[Any]:
    """Yield likelihoods of one draw after the other, the batches in turn."""
    q = posterior_of(target, posterior)  # by the exposures that the cells have
    if depth is not None:
        column = torch.full_like(target.q0.mean[:, :1], math.log(depth))
        target = target.with_log_exposures({modality: column})
    targets = in_batches(target, codes, kept)
    for draw in range(n_samples):
        yield targets[draw % len(targets)].likelihood(q.sample(), modality)


@torch.no_grad()
def _summarized(
    likelihoods: Iterator[Any], columns: np.ndarray | None, n_samples: int, level: float | None
) -> list[np.ndarray]:
    """Means of likelihoods over draws, and bounds of what is drawn from them."""
    mean: Tensor | None = None
    drawn = []
    for px in likelihoods:
        of_draw = _chosen(px.mean, columns)
        mean = of_draw if mean is None else mean + of_draw
        if level is not None:
            drawn.append(_chosen(px.sample(), columns))
    assert mean is not None
    tables = [(mean / n_samples).cpu().numpy()]
    if level is not None:
        draws = torch.stack(drawn, dim=-1).sort(dim=-1).values
        tables += central(draws.cpu().numpy(), level)
    return tables


def _chosen(values: Tensor, columns: np.ndarray | None) -> Tensor:
    return values if columns is None else values[:, torch.as_tensor(columns)]

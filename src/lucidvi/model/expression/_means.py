"""Normalized means of drawn states, a block at a time, written to where they are wanted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lucidvi.module import DrawnStates


@dataclass(frozen=True)
class Scale:
    """Which values of a likelihood are asked for.

    Parameters
    ----------
    factor
        What normalized means are multiplied by; None for the means with the cells' own exposures.
        A modality without exposure has means without background in place of normalized ones.
    features
        Positions of the features, in their order; None for all.
    modality
        Name of the modality; None for the main one.
    """

    factor: float | None = 1.0
    features: NDArray[np.integer] | None = None
    modality: str | None = None
    _index: Tensor | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        """Keep the positions as a tensor, too."""
        if self.features is not None:
            object.__setattr__(self, "_index", torch.as_tensor(self.features))

    @property
    def is_whole(self) -> bool:
        """Whether it is the normalized means of all features."""
        return self.factor is not None and self.features is None and self.modality is None

    def of(self, states: DrawnStates) -> Tensor:
        """Return the values of some states, without ``factor``, ``(n_states, n_features)``."""
        likelihood = states.likelihood(self.modality)
        if self.factor is None:
            values = likelihood.mu
        elif self.modality is not None and not states.is_normalized(self.modality):
            values = likelihood.signal
        else:
            values = likelihood.normalized
        return values if self._index is None else values[:, self._index.to(values.device)]


def add_means(
    out: Tensor, states: DrawnStates, scale: Scale, weight: float, is_first: bool
) -> None:
    """Add the values of states to what is there, or write them.

    Parameters
    ----------
    out
        What is there, shape ``(n_states, n_features)``, on any device.
    states
        The states.
    scale
        Which values of them.
    weight
        What the values are multiplied by.
    is_first
        Whether nothing is there yet.
    """
    weight *= 1.0 if scale.factor is None else scale.factor
    for rows in states.blocks():
        there = out[rows]
        if is_first and scale.is_whole and there.device == states.z.device:
            likelihood = states.select(rows).likelihood(scale.modality)
            likelihood.write_normalized(there)
            if weight != 1.0:
                there.mul_(weight)
            continue
        values = scale.of(states.select(rows))
        if values.device != there.device or values.dtype != there.dtype:
            values = values.to(there)
        if is_first:
            torch.mul(values, weight, out=there)
        else:
            there.add_(values, alpha=weight)


def minibatch_means(
    draw: Callable[[], DrawnStates],
    n_cells: int,
    codes: Sequence[int | None],
    scale: Scale,
    out: Tensor,
) -> None:
    """Write the means of a minibatch over batches, and over draws or draw by draw.

    Parameters
    ----------
    draw
        Draws states of the cells, draw by draw; called once for each batch.
    n_cells
        Number of cells.
    codes
        Batches to decode the cells as; None for each cell's own.
    scale
        Which values.
    out
        Where they are written, shape ``(1, n_cells, n_features)`` for means over the draws, or
        ``(n_samples, n_cells, n_features)``.
    """
    for place, code in enumerate(codes):
        states = draw().in_batch(code)
        n_samples = len(states) // n_cells
        n_averaged = n_samples // len(out)
        for sample in range(n_samples):
            kept = sample // n_averaged
            add_means(
                out[kept],
                states.select(slice(sample * n_cells, (sample + 1) * n_cells)),
                scale,
                1.0 / (len(codes) * n_averaged),
                is_first=place == 0 and sample % n_averaged == 0,
            )


def state_means(
    states: Sequence[DrawnStates],
    codes: Sequence[int | None],
    scale: Scale,
    chosen: NDArray[np.integer],
    n_features: int,
) -> NDArray[np.floating[Any]]:
    """Means of chosen states over batches; of one that is chosen several times decoded once.

    Parameters
    ----------
    states
        States, of each batch its own draws.
    codes
        The batches.
    scale
        Which values.
    chosen
        Positions of states, shape ``(n,)``.
    n_features
        Number of features.

    Returns
    -------
    Shape ``(n, n_features)``.
    """
    each, place = np.unique(chosen, return_inverse=True)
    out = torch.empty(len(each), n_features)
    index = torch.from_numpy(each)
    for number, (drawn, code) in enumerate(zip(states, codes, strict=True)):
        rows = drawn.select(index.to(drawn.z.device)).in_batch(code)
        add_means(out, rows, scale, 1.0 / len(codes), is_first=number == 0)
    return out.numpy()[place]


class Rows:
    """An array that minibatches of cells are written to, one after the other.

    Parameters
    ----------
    shape
        First and last axis; the cells are between them.
    n_cells
        Number of cells, for which the array is made at once; None where that is not known.
    """

    def __init__(self, shape: tuple[int, int], n_cells: int | None) -> None:
        self._shape = shape
        self._whole = None if n_cells is None else torch.empty(shape[0], n_cells, shape[1])
        self._parts: list[Tensor] = []
        self._n_filled = 0

    def next(self, n: int) -> Tensor:
        """Return where the next ``n`` cells are written to."""
        start, self._n_filled = self._n_filled, self._n_filled + n
        if self._whole is not None:
            return self._whole[:, start : self._n_filled]
        self._parts.append(torch.empty(self._shape[0], n, self._shape[1]))
        return self._parts[-1]

    def array(self) -> NDArray[np.floating[Any]]:
        """Return what was written."""
        whole = torch.cat(self._parts, dim=1) if self._whole is None else self._whole
        return whole.numpy()

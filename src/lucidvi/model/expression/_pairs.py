"""Draws of two groups of cells, and how they are paired."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import scvi
import torch
from numpy.typing import NDArray
from torch import Tensor

from lucidvi.model.expression._means import Scale
from lucidvi.module import DrawnStates

#: Normalized means of the main modality.
NORMALIZED = Scale()
#: Draws states of cells: of some positions, so many draws of each, one position after the other.
Draw = Callable[[NDArray[np.integer], int], DrawnStates]


@dataclass(frozen=True)
class Side:
    """Draws of one of the groups.

    Parameters
    ----------
    states
        Drawn states, each once.
    rows
        Which of them make up the draws, by batch: each of shape ``(n_draws,)``.
    codes
        The batches that they are decoded as.
    scale
        Which values of them are compared.
    """

    states: DrawnStates
    rows: dict[Any, Tensor]
    codes: dict[Any, int | None]
    scale: Scale = NORMALIZED

    @classmethod
    def drawn(
        cls,
        draw: Draw,
        cells: NDArray[np.integer],
        batches: dict[Any, int | None],
        n_samples: int,
        scale: Scale = NORMALIZED,
    ) -> Side:
        """Choose draws with replacement, of as many draws of each cell as make up their number."""
        n = n_samples // len(batches)
        if n == 0:
            warnings.warn(
                "very small sample size, please consider increasing `n_samples_overall`: it is "
                f"{n_samples} for {len(batches)} batches, so that 2 of each are drawn.",
                UserWarning,
                stacklevel=scvi.settings.warnings_stacklevel,
            )
            n = 2
        n_each = n // len(cells) + 1
        chosen = np.random.randint(n_each * len(cells), size=(len(batches), n))  # noqa: NPY002
        sample, cell = np.divmod(chosen, len(cells))
        sample += n_each * np.arange(len(batches))[:, None]  # each batch has draws of its own
        used, cell = np.unique(cell, return_inverse=True)
        n_draws = n_each * len(batches)
        key, rows = np.unique(cell.reshape(chosen.shape) * n_draws + sample, return_inverse=True)
        states = draw(cells[used], n_draws).select(torch.from_numpy(key))
        by_batch = zip(batches, torch.from_numpy(rows.reshape(chosen.shape)), strict=True)
        return cls(states, dict(by_batch), batches, scale)

    @property
    def n_features(self) -> int:
        """Number of features that are compared."""
        return self.states.n_features(self.scale.modality)

    def decode(self, batch: Any, rows: Tensor) -> Tensor:
        """Return the values that are compared at some draws, ``(n, n_genes)``."""
        each, place = rows.unique_consecutive(return_inverse=True)
        states = self.states.select(each.to(self.states.z.device))
        scale = self.scale.of(states.in_batch(self.codes[batch]))
        return scale if len(each) == len(rows) else scale[place.to(scale.device)]


@dataclass(frozen=True)
class Pairs:
    """Pairs of draws of two groups.

    Parameters
    ----------
    first, second
        The draws of each.
    sections
        Pairs by the batches of both: these, and rows of the states of each.
    """

    first: Side
    second: Side
    sections: list[tuple[Any, Tensor, Any, Tensor]]

    @classmethod
    def of(
        cls,
        first: Side,
        second: Side,
        *,
        within_batches: bool,
        use_permutation: bool,
        m_permutation: int,
    ) -> Pairs:
        """Pair draws as scvi-tools does.

        Parameters
        ----------
        first, second
            The draws of each.
        within_batches
            Pair draws of the same batches where both groups have the same ones.
        use_permutation, m_permutation
            Pair so many draws of each at random, and not all in their order.
        """
        batches = set(first.rows), set(second.rows)
        if batches[0] == batches[1] and within_batches:
            n_pairs = m_permutation // len(first.rows)
            sections = []
            for batch, rows in first.rows.items():
                pair = _paired(
                    rows,
                    second.rows[batch],
                    use_permutation=use_permutation,
                    n_pairs=n_pairs,
                )
                sections.append((batch, pair[0], batch, pair[1]))
            return cls(first, second, sections)
        if batches[0] & batches[1] and within_batches:
            warnings.warn(
                "Batchids of cells groups 1 and 2 are different but have a non-null intersection: "
                f"{sorted(map(str, batches[0]))} and {sorted(map(str, batches[1]))}. Batch "
                "correction is not trustworthy; use the same batches, or none of them.",
                UserWarning,
                stacklevel=scvi.settings.warnings_stacklevel,
            )
        # Pairs of any batches: draws of all of them, batch by batch, in two rows of numbers.
        one, other = _paired(
            *(torch.stack(_numbered(side)).T for side in (first, second)),
            use_permutation=use_permutation,
            n_pairs=m_permutation,
        )
        names = list(first.rows), list(second.rows)
        sections = []
        for i, j in torch.stack([one[:, 0], other[:, 0]], dim=1).unique(dim=0).tolist():
            some = (one[:, 0] == i) & (other[:, 0] == j)
            sections.append((names[0][i], one[some, 1], names[1][j], other[some, 1]))
        return cls(first, second, sections)

    def __len__(self) -> int:
        return sum(len(section[1]) for section in self.sections)

    def decoded(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield normalized expression of both, some pairs at a time, ``(n, n_genes)`` each."""
        for one, rows, other, others in self.sections:
            # Draws that were chosen several times come together, and are decoded once.
            rows, order = rows.sort()
            others = others[order]
            for block in self.first.states.blocks(0, len(rows)):
                yield self.first.decode(one, rows[block]), self.second.decode(other, others[block])


def _numbered(side: Side) -> tuple[Tensor, Tensor]:
    """Return the number of the batch of each draw of a side, and its row."""
    number = [torch.full_like(rows, i) for i, rows in enumerate(side.rows.values())]
    return torch.cat(number), torch.cat(list(side.rows.values()))


def _paired(
    first: Tensor, second: Tensor, *, use_permutation: bool, n_pairs: int
) -> tuple[Tensor, Tensor]:
    """Pair draws in their order, or so many of each at random."""
    if use_permutation:
        chosen = (np.random.randint(len(rows), size=n_pairs) for rows in (first, second))  # noqa: NPY002
        one, other = map(torch.from_numpy, chosen)
        return first[one], second[other]
    n = min(len(first), len(second))  # numbers of draws are rounded down, by batch
    return first[:n], second[:n]

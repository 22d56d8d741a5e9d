"""What was counted in groups of cells: means and shares of each gene, in one pass."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from lucidvi import kernels
from lucidvi.data import Minibatch
from lucidvi.module import Modality

#: What the counts of a cell add up to once they are normalized.
NORMALIZED_TOTAL = 1e4


@dataclass(frozen=True)
class Summary:
    """Counts of the cells of a group in which a feature was measured, each ``(n_genes,)``.

    Where there is no such cell, they are NaN.

    Parameters
    ----------
    mean
        Mean count.
    share
        Share of the cells with a count.
    normalized
        Mean of counts that add up to 10,000 in each cell.
    """

    mean: NDArray[np.floating]
    share: NDArray[np.floating]
    normalized: NDArray[np.floating]


def summaries(
    minibatches: Iterable[Minibatch], groups: Sequence[NDArray[np.bool_]], modality: Modality
) -> list[Summary]:
    """Summarize the counts of groups of cells, which may overlap, in one pass over the cells.

    Cells that are in the same groups are summed first, so that a cell is looked at once, in
    however many groups it is.

    Parameters
    ----------
    minibatches
        Minibatches of the cells, in their order.
    groups
        Which of the cells are in each group, each of shape ``(n_cells,)``.
    modality
        Whose counts they are.
    """
    atoms, atom_of = np.unique(np.stack(groups), axis=1, return_inverse=True)
    atom_of = atom_of.reshape(-1)
    start, sums, n_measured = 0, None, None
    for minibatch in minibatches:
        x = _csr(minibatch[modality.field])
        of_cells = atom_of[start : start + x.shape[0]]
        total = np.asarray(x.sum(axis=1)).ravel()
        scaling = np.divide(NORMALIZED_TOTAL, total, out=np.zeros(len(total)), where=total > 0)
        ones = np.ones(len(total))
        terms = ((ones, x), (ones, x != 0), (scaling, x))
        part = np.stack([_summed(y, of_cells, atoms.shape[1], w) for w, y in terms])
        sums = part if sums is None else sums + part
        n = _summed(_measured(minibatch, modality, len(ones)), of_cells, atoms.shape[1], ones)
        n_measured = n if n_measured is None else n_measured + n
        start += x.shape[0]
    assert sums is not None
    assert n_measured is not None
    result = []
    for atoms_of_group in atoms:
        total, n = sums[:, atoms_of_group].sum(axis=1), n_measured[atoms_of_group].sum(axis=0)
        mean = np.divide(total, n, out=np.full_like(total, np.nan), where=n > 0)
        counts, share, normalized = mean
        single = np.float32  # as scvi-tools makes them
        result.append(Summary(counts.astype(single), share, normalized.astype(single)))
    return result


def _summed(
    x: sparse.csr_matrix,
    group_of: NDArray[np.integer],
    n_groups: int,
    weights: NDArray[np.floating],
) -> NDArray[np.floating]:
    """Weighted sums over the cells of each group, shape ``(n_groups, n_genes)``."""
    shape = n_groups, x.shape[0]
    member = sparse.csr_matrix((weights, (group_of, np.arange(x.shape[0]))), shape=shape)
    return (member @ x).toarray()


def _measured(minibatch: Minibatch, modality: Modality, n_cells: int) -> sparse.csr_matrix:
    """Which features were measured in which cells, of one column where all or none were."""
    measured = np.ones((n_cells, 1))
    for key in (modality.present_field, modality.features_field):
        if minibatch.get(key) is not None:
            measured = measured * minibatch[key].cpu().numpy().reshape(n_cells, -1)
    return sparse.csr_matrix(measured)


def _csr(x: Tensor) -> sparse.csr_matrix:
    x = kernels.as_csr(x)
    starts, genes, counts = (part.cpu().numpy() for part in kernels.csr_parts(x))
    return sparse.csr_matrix((counts.astype(float), genes, starts), shape=tuple(x.shape))

"""Log likelihoods of cells around one state each: value, slope and curvature along directions."""

from __future__ import annotations

import torch
from torch import Tensor

from lucidvi.kernels import _team
from lucidvi.kernels._states import N_LOGITS, StateCounts
from lucidvi.kernels._warm_up import announced

#: Cells that a thread takes at a time.
CELLS_PER_PART = 2


def expanded_log_likelihood(
    counts: StateCounts, hidden: Tensor, log_library: Tensor, weight: Tensor, bias: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    r"""Expand the log likelihood of cells whose hidden units are linear in a few coordinates.

    With :math:`h = h_0 + \sum_i \epsilon_i h_i`, a log exposure that is linear, too, outputs
    :math:`\eta = W h + b`, and :math:`C` the second derivatives by log means and other outputs,

    .. math::
        f(\epsilon) \approx f_0 + g^\top \epsilon - \tfrac12 \epsilon^\top H \epsilon, \quad
        H_{ij} = -\sum_g (\partial_i \eta_g)^\top C_g \, (\partial_j \eta_g)

    which is exact to second order. The products with ``W`` are those of ``1 + n_directions``
    states, where gradients at as many states on either side take four times as many.

    Parameters
    ----------
    counts
        The cells.
    hidden
        :math:`h_0` and below it each :math:`h_i`, shape ``(n_cells, 1 + n_directions, n_hidden)``.
    log_library
        The same of the log exposure, shape ``(n_cells, 1 + n_directions)``.
    weight, bias
        Of the layer, ``(n_outputs, n_hidden)`` and ``(n_outputs,)``.

    Returns
    -------
    :math:`f_0` in nats, ``(n_cells,)``, NaN beyond the range of the compiled code; :math:`g`,
    ``(n_cells, n_directions)``; and :math:`H`, ``(n_cells, n_directions, n_directions)``.
    """
    n_cells, n_rows, _ = hidden.shape
    n_directions, n_outputs = n_rows - 1, len(bias)
    value = torch.empty(n_cells)
    slope = torch.empty(n_cells, n_directions)
    curvature = torch.empty(n_cells, n_directions, n_directions)
    several = max(1, N_LOGITS // (n_rows * n_outputs))
    room = torch.empty(min(several, n_cells) * n_rows, n_outputs)
    spare = _scratch(counts)
    for first in range(0, n_cells, several):
        cells = slice(first, min(first + several, n_cells))
        units = hidden[cells].reshape(-1, hidden.shape[-1])
        outputs = torch.mm(units, weight.T, out=room[: len(units)])
        outputs.view(-1, n_rows, n_outputs)[:, 0] += bias
        of_cells = value[cells], slope[cells], curvature[cells]
        _run(counts, first, outputs, log_library[cells].contiguous(), of_cells, spare)
    return value, slope, curvature


def _run(
    counts: StateCounts,
    first: int,
    outputs: Tensor,
    log_library: Tensor,
    results: tuple[Tensor, Tensor, Tensor],
    spare: Tensor,
) -> None:
    """Let the compiled code take outputs, those of some cells from ``first`` on."""
    from lucidvi.kernels._compiled_expansions import KERNELS

    n_cells, n_rows = log_library.shape
    one_theta = len(counts.theta) <= 1
    arrays = [
        outputs,
        log_library,
        counts.theta if one_theta else counts.theta[first:],
        counts.starts[first:],
        counts.genes,
        counts.counts,
        counts.constant[first:],
        *results,
        spare,
    ]
    n_parts = -(-n_cells // CELLS_PER_PART)
    taken = torch.zeros(1, dtype=torch.int64)
    n_theta = min(1, len(counts.theta)) if one_theta else n_cells
    sizes = [n_cells, counts.n_genes, n_rows - 1, n_theta, outputs.shape[1]]
    addresses = [array.data_ptr() for array in (*arrays, taken)]
    with announced():
        kernel = KERNELS[counts.family]
        _team.run(kernel, [*sizes, *addresses], n_parts, min(_team.n_threads(), n_parts))


def _scratch(counts: StateCounts) -> Tensor:
    """Return memory for the compiled code to work in, for each thread."""
    from lucidvi.kernels._compiled_expansions import n_scratch

    return torch.empty(_team.n_threads() + 1, n_scratch(counts.n_genes))

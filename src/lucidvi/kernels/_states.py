"""Log likelihoods of many states of the same cells, of which a last layer makes the logits.

Neither the logits of all states are ever in memory nor the gradients by them: rows of logits are
made for some states, small enough for the cache, where the gradients take their place, from which
those by the hidden units are made.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Self

import torch
from torch import Tensor

from lucidvi.kernels import _team
from lucidvi.kernels._csr import csr, csr_parts, select_rows
from lucidvi.kernels._warm_up import announced

#: Families whose log likelihoods of states are compiled, and their parameters besides the mean
#: that differ from state to state, of which more outputs of the layer are made.
OF_STATES: dict[str, tuple[str, ...]] = {"poisson": (), "nb": (), "zinb": ("zi_logits",)}
#: Logits that are made at once.
N_LOGITS = 2**20
#: States that a thread takes at a time.
ROWS_PER_PART = 8
#: States of a cell from which on hidden units that are zero in all of them are left out: it
#: takes a copy of the others' weights.
N_SELECTED = 60
#: States of cells from which on the weights are transposed, which takes a copy.
N_TRANSPOSED = 1_000


class StateCounts(NamedTuple):
    """Counts of cells, and what their likelihoods in all states have in common.

    Parameters
    ----------
    starts, genes, counts
        Parts of the CSR matrix of the counts.
    theta
        Inverse dispersions and their reciprocals, ``(1 or n_cells, 2, n_genes)``; of no cell for
        a Poisson.
    constant
        Terms of the log likelihoods that no state changes, float64, shape ``(n_cells,)``.
    family
        One of :data:`OF_STATES`.
    """

    starts: Tensor
    genes: Tensor
    counts: Tensor
    theta: Tensor
    constant: Tensor
    family: str

    @classmethod
    def of(
        cls,
        family: str,
        x: Tensor,
        weight: Tensor,
        parameters: Mapping[str, Tensor],
        heads: tuple[str, ...] = (),
    ) -> Self | None:
        """Prepare counts; None where no code is compiled for them.

        Parameters
        ----------
        family
            Name of the likelihood.
        x
            Counts, CSR or dense, shape ``(n_cells, n_genes)``.
        weight
            Of the layer that makes the logits and ``heads``, ``(n_outputs, n_hidden)``.
        parameters
            Of the likelihood: of a negative binomial log inverse dispersions, ``(n_genes,)`` or
            ``(n_cells, n_genes)``.
        heads
            Names of the parameters that differ from state to state.
        """
        tensors = [weight, *parameters.values()]
        if OF_STATES.get(family) != heads or not all(
            _team.usable(tensor) and tensor.dtype == torch.float32 for tensor in tensors
        ):
            return None
        from lucidvi.kernels._compiled_states import KERNELS, constants

        parts, n_genes = csr_parts(x), x.shape[1]
        log_theta = parameters.get("log_theta", weight.new_empty(0, n_genes))
        log_theta = log_theta.reshape(-1, n_genes).contiguous()
        theta = torch.stack([log_theta.exp(), (-log_theta).exp()], dim=1)
        constant = torch.empty(len(parts[0]) - 1, dtype=torch.float64)
        with announced():
            constants(*(part.numpy() for part in (*parts, log_theta, constant)))
            _ = KERNELS[family].address
        return cls(*parts, theta, constant, family)

    def select(self, cells: Tensor) -> Self:
        """Return the counts of some of the cells, by position or mask."""
        x = select_rows(csr(self.starts, self.genes, self.counts, self.n_genes), cells)
        theta = self.theta if len(self.theta) <= 1 else self.theta[cells]
        return type(self)(*csr_parts(x), theta, self.constant[cells], self.family)

    @property
    def n_genes(self) -> int:
        """Number of genes."""
        return self.theta.shape[-1]

    def scratch(self) -> Tensor:
        """Return memory for the compiled code to work in, for each thread."""
        from lucidvi.kernels._compiled_states import n_scratch

        return torch.empty(_team.n_threads() + 1, n_scratch(self.n_genes))


def log_likelihood_of_states(
    counts: StateCounts,
    hidden: Tensor,
    log_library: Tensor,
    weight: Tensor,
    bias: Tensor,
    want_gradient: bool,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    r"""Sum over the genes of the log probability of each count, of many states of each cell.

    The mean is :math:`\ell \, \mathrm{softmax}(W h + b)`; of a family with further parameters that
    differ from state to state, theirs are the outputs of the layer that come after those.

    Parameters
    ----------
    counts
        The cells.
    hidden
        Hidden units, shape ``(n_cells, n_states, n_hidden)``.
    log_library
        Log exposure, shape ``(n_cells, n_states)``.
    weight, bias
        Of the layer, ``(n_outputs, n_hidden)`` and ``(n_outputs,)``.
    want_gradient
        Whether gradients are asked for.

    Returns
    -------
    Values in nats, ``(n_cells, n_states)``, NaN beyond the range of the compiled code, and the
    gradients by ``hidden`` and by ``log_library``.
    """
    n_cells, n_states, _ = hidden.shape
    n_rows = max(1, N_LOGITS // len(bias))
    value, by_library = torch.empty(2, n_cells, n_states)
    by_hidden = torch.zeros(hidden.shape) if want_gradient else None
    scratch = torch.empty(min(n_rows, n_cells * n_states), len(bias))
    spare = counts.scratch()
    layer = _Layer(weight, n_states >= N_SELECTED, n_cells * n_states >= N_TRANSPOSED)
    several = max(1, n_rows // n_states)
    for first in range(0, n_cells, several):
        cells = slice(first, min(first + several, n_cells))
        units = layer.take(hidden[cells])
        for start in range(0, n_states, n_rows):
            states = slice(start, min(start + n_rows, n_states))
            rows = hidden[cells, states][..., units]
            product = rows.reshape(-1, rows.shape[-1])
            logits = torch.addmm(bias, product, layer.forward, out=scratch[: len(product)])
            results = value[cells, states], by_library[cells, states]
            _run(counts, first, logits, log_library[cells, states], results, spare, want_gradient)
            if by_hidden is not None:
                by_hidden[cells, states, units] = (logits @ layer.backward).view_as(rows)
    return value, by_hidden, by_library if want_gradient else None


def log_likelihood_of_logits(
    counts: StateCounts, logits: Tensor, log_library: Tensor
) -> tuple[Tensor, Tensor]:
    """Log likelihood of one state of each cell, and its gradient in place of the outputs.

    Parameters
    ----------
    counts
        The cells.
    logits
        Outputs of the layer, ``(n_cells, n_outputs)``, contiguous; they are overwritten.
    log_library
        Log exposure, shape ``(n_cells, 1)``.

    Returns
    -------
    Values in nats, ``(n_cells, 1)``, NaN beyond the range of the compiled code, and the
    gradient by the logits.
    """
    value, by_library = torch.empty(2, len(logits), 1)
    _run(counts, 0, logits, log_library, (value, by_library), counts.scratch(), True)
    return value, logits


class _Layer:
    """The weights, transposed where that is worth it, of all hidden units or of some.

    Parameters
    ----------
    weight
        Shape ``(n_genes, n_hidden)``.
    selects
        Leave out the units that are zero in all states.
    transposes
        Lay the weights out by unit, by which products are faster.
    """

    def __init__(self, weight: Tensor, selects: bool, transposes: bool) -> None:
        self.forward = weight.T.contiguous() if selects or transposes else weight.T
        self.backward = weight
        self._all = self.forward if selects else None
        self._room = torch.empty_like(self.forward) if selects else None

    def take(self, hidden: Tensor) -> Tensor | slice:
        """Return which units of cells, ``(n_cells, n_states, n_hidden)``, are taken from here."""
        if self._all is None or self._room is None:
            return slice(None)
        units = hidden.any(dim=1).any(dim=0).nonzero().squeeze(-1)
        self.forward = torch.index_select(self._all, 0, units, out=self._room[: len(units)])
        self.backward = self.forward.T
        return units


def _run(
    counts: StateCounts,
    first: int,
    logits: Tensor,
    log_library: Tensor,
    results: tuple[Tensor, Tensor],
    spare: Tensor,
    want_gradient: bool,
) -> None:
    """Let the compiled code take rows of logits, all states of some cells from ``first`` on."""
    from lucidvi.kernels._compiled_states import KERNELS

    n_cells, per_cell = log_library.shape
    n_rows, n_outputs = logits.shape
    given, value, by_library = log_library.contiguous(), torch.empty(n_rows), torch.empty(n_rows)
    one_theta = len(counts.theta) <= 1
    arrays = [
        logits,
        given,
        counts.theta if one_theta else counts.theta[first:],
        counts.starts[first:],
        counts.genes,
        counts.counts,
        counts.constant[first:],
        value,
        by_library,
        spare,
    ]
    n_parts = -(-n_rows // ROWS_PER_PART)
    n_threads = min(_team.n_threads(), n_parts)
    taken = torch.zeros(1, dtype=torch.int64)
    sizes = [n_cells, counts.n_genes, per_cell, 1 if one_theta else n_cells, int(want_gradient)]
    addresses = [array.data_ptr() for array in (*arrays, taken)]
    _team.run(KERNELS[counts.family], [*sizes, n_outputs, *addresses], n_parts, n_threads)
    results[0].copy_(value.view(-1, per_cell))
    results[1].copy_(by_library.view(-1, per_cell))

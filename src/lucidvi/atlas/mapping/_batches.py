"""Batches that a reference's model does not know, each as a known one and what sets it apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from scvi import REGISTRY_KEYS
from torch import Tensor

from lucidvi._progress import track
from lucidvi.atlas.mapping._query import N_LEARNED, Query
from lucidvi.atlas.mapping._read_query import nothing_is_trained
from lucidvi.inference import PosteriorTarget, linearized, shift_information, shift_slopes
from lucidvi.model import Cells
from lucidvi.nn import frozen

BATCH_SIZE = 128
#: Cells by which known batches are compared: all of them by the first, the best by more. Each
#: time a quarter stays, or as many as are compared by all of the cells in any case.
N_COMPARED, STAY, N_STAY = (32, 64, 128, 256), 0.25, 8
#: Cells times batches that are decoded at once.
N_AT_ONCE = 512
#: Share of the genes from which on the encoder's states are taken, and not refined ones; of
#: several modalities all of them, since each encoder sees fewer features.
ENCODED = 0.5
#: Standard deviation of a gene's shift before anything is seen, in nats.
SHIFT_SD = 0.3
#: Evaluations of the log joint, at most; and the search for its maximum ends where each shift is
#: within this share of its standard error, or where a step gains less than this share of all.
N_EVALUATIONS, NEAR, GAIN = 60, 0.1, 1e-7
SEED = 0


@dataclass(frozen=True, eq=False)
class NewBatch:
    r"""A batch, as a known one whose genes are shifted.

    .. math::
        \rho_{cg} \propto \rho_g(z_c, s_\text{known}) \, e^{\delta_g},
        \quad \delta_g \sim \mathrm{Normal}(0, 0.3^2)

    Zero inflation, which differs most between technologies, is not carried over: its zeros are
    left to the overdispersion.

    Parameters
    ----------
    stand_in, code
        Name of the known batch that stands in for it, and its number in the model.
    shift
        Shift :math:`\delta` of the log expression, shape ``(n_genes,)``; zero for genes that
        were not measured.
    """

    stand_in: Any
    code: int
    shift: Tensor

    def cells(self, cells: Cells) -> Cells:
        """Return cells as if they were of the known batch."""
        return cells.with_codes({REGISTRY_KEYS.BATCH_KEY: self.code})

    def decoded(self, target: PosteriorTarget) -> PosteriorTarget:
        """Return the target of :meth:`cells`, decoded as of the batch."""
        return target.with_shift(self.shift)


def model_of_query(reference: Any, query: Query) -> tuple[Any, list[NewBatch]]:
    """Return a copy of the reference's model that takes the query, and the query's new batches.

    Parameters
    ----------
    reference
        Trained model; it is not changed.
    query
        The cells.
    """
    names = query.setup.batches
    sample = query.with_stand_ins([names[0]] * len(query.new_batches)).read(query.sample)
    with nothing_is_trained():
        model = type(reference).load_query_data(sample, reference)
    model.is_trained_ = True
    model.module.eval()
    group = query.group[query.sample]
    return model, [
        learn_batch(
            query.cells(model, model.adata, np.flatnonzero(group == i)), query.genes, names
        )
        for i in track(range(len(query.new_batches)), "Learning batches", slow_steps=True)
    ]


def learn_batch(
    cells: Cells,
    genes: NDArray[np.bool_],
    names: NDArray[Any],
    exclude: int | None = None,
) -> NewBatch:
    r"""Learn a new batch of its cells, with everything else as it is.

    The known batch is the one under which the counts are likeliest at the encoder's states; of
    many, those that are far behind on some of the cells are not tried on more. Given the states
    and the batch, the shifts that maximize :math:`\log p(x \mid z, \delta) + \log p(\delta)` are
    found by a quasi-Newton method (L-BFGS), in units of their standard errors.

    Parameters
    ----------
    cells
        Its cells, under any known batch.
    genes
        Which genes were measured, shape ``(n_genes,)``.
    names
        Names of the batches that the model knows, in the order of their numbers.
    exclude
        Number of a known batch that does not stand in for it; None for no such batch.
    """
    candidates = np.setdiff1d(np.arange(len(names)), [] if exclude is None else [exclude])
    cells = cells.select(np.random.default_rng(SEED).permutation(len(cells))[:N_LEARNED])
    code = _likeliest(cells, genes, candidates)
    of_batch = cells.with_codes({REGISTRY_KEYS.BATCH_KEY: code})
    targets = [target for _, target in of_batch.targets(None, BATCH_SIZE, _mask(genes))]
    return NewBatch(names[code], code, _shift(targets, genes))


def _likeliest(cells: Cells, genes: NDArray[np.bool_], candidates: NDArray[np.integer]) -> int:
    """Return the known batch under which the cells are likeliest, by successive halving."""
    fits = np.zeros(candidates.max() + 1)
    left = candidates
    for part in np.split(np.arange(len(cells))[: N_COMPARED[-1]], N_COMPARED[:-1]):
        if len(part):
            fits[left] += _fits(cells.select(part), genes, left)
            best_first = left[np.argsort(-fits[left], kind="stable")]
            left = best_first[: max(N_STAY, int(STAY * len(left)))]
    return int(left[0])


def _fits(
    cells: Cells, genes: NDArray[np.bool_], batches: NDArray[np.integer]
) -> NDArray[np.floating]:
    """Return the log joint density of cells and the encoder's states in each batch, in nats."""
    n_cells = len(cells)
    target = _target(cells, genes)
    fits = []
    for some in np.array_split(batches, -(-len(batches) * n_cells // N_AT_ONCE)):
        if cells.model.module.encode_covariates:
            key = REGISTRY_KEYS.BATCH_KEY
            targets = [_target(cells.with_codes({key: batch}), genes) for batch in some]
        else:  # the encoder's states are the same in every batch
            targets = [_repeated(target, some)]
        fits += [t.evaluate(t.q0.mean[None]).reshape(-1, n_cells).sum(dim=1) for t in targets]
    return torch.cat(fits).cpu().numpy()


def _target(cells: Cells, genes: NDArray[np.bool_]) -> PosteriorTarget:
    """Return the target of all of the cells at once, in a batch of no shifts."""
    ((_, target),) = cells.targets(None, len(cells), _mask(genes))
    return _unshifted(target)


def _unshifted(target: PosteriorTarget) -> PosteriorTarget:
    """Return a target without what is not carried over to a new batch."""
    (main, *_) = target.module.modalities.values()
    return target.with_shift(torch.zeros(main.n_features))


def _mask(genes: NDArray[np.bool_]) -> NDArray[np.bool_] | None:
    """Return which genes were measured; None for all, or none in cells without them."""
    return None if genes.all() or not genes.any() else genes


def _repeated(target: PosteriorTarget, batches: NDArray[np.integer]) -> PosteriorTarget:
    """Return the target of the same cells and first guess in each of several batches."""
    key = REGISTRY_KEYS.BATCH_KEY
    n_cells = target.n_cells
    several = target.select(torch.arange(n_cells, device=target.x.device).repeat(len(batches)))
    batch = torch.as_tensor(np.repeat(batches, n_cells)[:, None]).to(several.covariates[key])
    return several.with_covariates({key: batch})


def _shift(targets: Sequence[PosteriorTarget], genes: NDArray[np.bool_]) -> Tensor:
    """Return shifts of a batch that is decoded as a known one, see :func:`learn_batch`."""
    # The encoder takes missing genes for zeros; but refinement without shifts takes the effect of
    # a batch for a state of the cells, which is worse while most genes are there.
    several = len(targets[0].module.modalities) > 1
    encoded = genes.mean() >= (1.0 if several else ENCODED)
    states = [t.q0.mean if encoded else linearized(_unshifted(t)).loc for t in targets]
    of_targets = [shift_slopes(t, z) for t, z in zip(targets, states, strict=True)]
    if not genes.any():  # of other modalities alone, whose features are not shifted
        return states[0].new_zeros(len(genes))
    precision = states[0].new_full((len(genes),), SHIFT_SD**-2)
    for target, z in zip(targets, states, strict=True):
        precision[torch.as_tensor(genes)] += shift_information(target, z)
    error = precision.rsqrt()

    def loss(in_errors: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        shift = torch.as_tensor(in_errors).to(error) * error
        value, slope = -(shift / SHIFT_SD).double().square().sum() / 2, -shift / SHIFT_SD**2
        for slopes in of_targets:
            of_cells, by_shift = slopes(shift)
            value, slope = value + of_cells, slope + by_shift
        return -value.item(), -(slope * error).double().cpu().numpy()

    options = {"maxfun": N_EVALUATIONS, "gtol": NEAR, "ftol": GAIN}
    with frozen(targets[0].module):
        found = minimize(loss, np.zeros(len(genes)), method="L-BFGS-B", jac=True, options=options)
    return torch.as_tensor(found.x).to(error) * error

"""Batches that a reference's model does not know, each as a known one and what sets it apart."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scvi import REGISTRY_KEYS
from torch import Tensor

from lucidvi._progress import track
from lucidvi.atlas.mapping._query import Query, categories, nothing_is_trained
from lucidvi.distributions import likelihood_of
from lucidvi.inference import PosteriorTarget, refine
from lucidvi.nn import frozen

#: Cells by which a batch is learned, at most.
N_CELLS = 1_000
BATCH_SIZE = 128
#: Cells by which known batches are compared: all of them by the first, the best by more. Each
#: time a quarter stays, or as many as are compared by all of the cells in any case.
N_COMPARED, STAY, N_STAY = (32, 64, 128, 256), 0.25, 8
#: Cells times batches that are decoded at once.
N_AT_ONCE = 512
#: Share of the genes from which on the encoder's states are taken, and not refined ones.
ENCODED = 0.5
#: Standard deviation of a gene's shift before anything is seen, in nats.
SHIFT_SD = 0.3
#: Steps of Fisher scoring, at most; the size of one, at most, and of one that is the last, in
#: nats. Where the mean is far below the counts, a full step overshoots by orders of magnitude.
N_STEPS, LARGE_STEP, SMALL_STEP = 30, 1.0, 1e-2
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
    known, code
        Name of the known batch, and its number in the model.
    shift
        Shift :math:`\delta` of the log expression, shape ``(n_genes,)``; zero for genes that
        were not measured.
    """

    known: Any
    code: int
    shift: Tensor

    def of(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return a minibatch as cells of the known batch."""
        return _in_batch(tensors, self.code)

    @contextmanager
    def decoded(self, module: Any) -> Iterator[None]:
        """Let a module decode the batch where it decodes the known one."""
        decoder = module.decoder
        added = {decoder.px_scale_decoder[0].bias: self.shift}
        for name in decoder.heads:
            absent = likelihood_of(module).parameters[name].absent
            if absent is not None:
                added[decoder.head(name).bias] = torch.tensor(absent)
        kept = {bias: bias.detach().clone() for bias in added}
        with torch.no_grad():
            for bias, shift in added.items():
                bias += shift.to(bias)
        try:
            yield
        finally:
            with torch.no_grad():
                for bias, before in kept.items():
                    bias.copy_(before)


def model_of_query(reference: Any, query: Query) -> tuple[Any, list[NewBatch]]:
    """Return a copy of the reference's model that takes the query, and the query's new batches.

    Parameters
    ----------
    reference
        Trained model; it is not changed.
    query
        The cells.
    """
    names = categories(reference, REGISTRY_KEYS.BATCH_KEY)
    stand_in = query.known_as([names[0]] * len(query.new_batches))
    with nothing_is_trained():
        model = type(reference).load_query_data(stand_in.of(query.sample), reference)
    model.is_trained_ = True
    model.module.eval()
    group = query.group[query.sample]
    return model, [
        learn_batch(model, np.flatnonzero(group == i), query.genes)
        for i in track(range(len(query.new_batches)), "Learning batches", slow_steps=True)
    ]


def learn_batch(
    model: Any,
    cells: NDArray[np.integer],
    genes: NDArray[np.bool_],
    exclude: int | None = None,
) -> NewBatch:
    r"""Learn a new batch of its cells, with everything else as it is.

    The known batch is the one under which the counts are likeliest at the encoder's states; of
    many, those that are far behind on some of the cells are not tried on more. Given the states
    and the batch, the shifts that maximize :math:`\log p(x \mid z, \delta) + \log p(\delta)` are
    found by Fisher scoring, gene by gene.

    Parameters
    ----------
    model
        Model whose AnnData holds the cells, under any known batch.
    cells
        Their positions.
    genes
        Which genes were measured, shape ``(n_genes,)``.
    exclude
        Number of a known batch that it is not taken for; None for no such batch.
    """
    names = categories(model, REGISTRY_KEYS.BATCH_KEY)
    among = np.setdiff1d(np.arange(len(names)), [] if exclude is None else [exclude])
    cells = np.random.default_rng(SEED).permutation(cells)[:N_CELLS]
    with NewBatch(names[0], 0, torch.zeros(len(genes))).decoded(model.module):
        known = _likeliest(model, cells, genes, among)
        of_known = [_in_batch(tensors, known) for tensors in _minibatches(model, cells)]
        shift = _shift(model.module, of_known, genes)
    return NewBatch(names[known], known, shift)


def _likeliest(
    model: Any,
    cells: NDArray[np.integer],
    genes: NDArray[np.bool_],
    among: NDArray[np.integer],
) -> int:
    """Known batch under which the cells are likeliest, by successive halving."""
    fits = np.zeros(among.max() + 1)
    left = among
    for part in np.split(cells[: N_COMPARED[-1]], N_COMPARED[:-1]):
        if len(part):
            fits[left] += _fits(model, part, genes, left)
            best_first = left[np.argsort(-fits[left], kind="stable")]
            left = best_first[: max(N_STAY, int(STAY * len(left)))]
    return int(left[0])


def _fits(
    model: Any,
    cells: NDArray[np.integer],
    genes: NDArray[np.bool_],
    batches: NDArray[np.integer],
) -> NDArray[np.floating]:
    """Log joint density of some cells and the encoder's states in each batch, in nats."""
    module, n_cells = model.module, len(cells)
    (tensors,) = _minibatches(model, cells, n_cells)
    target = _target(module, tensors, genes)
    fits = []
    for some in np.array_split(batches, -(-len(batches) * n_cells // N_AT_ONCE)):
        if module.encode_covariates:
            targets = [_target(module, _in_batch(tensors, batch), genes) for batch in some]
        else:  # the encoder's states are the same in every batch
            targets = [_repeated(target, some)]
        fits += [t.evaluate(t.q0.mean[None]).reshape(-1, n_cells).sum(dim=1) for t in targets]
    return torch.cat(fits).cpu().numpy()


def _repeated(target: PosteriorTarget, batches: NDArray[np.integer]) -> PosteriorTarget:
    """Return the target of the same cells and first guess in each of several batches."""
    key = REGISTRY_KEYS.BATCH_KEY
    n_cells = target.n_cells
    several = target.select(torch.arange(n_cells, device=target.x.device).repeat(len(batches)))
    batch = torch.as_tensor(np.repeat(batches, n_cells)[:, None]).to(several.covariates[key])
    return replace(several, covariates=several.covariates | {key: batch})


def _minibatches(
    model: Any, cells: NDArray[np.integer], batch_size: int = BATCH_SIZE
) -> Iterator[dict[str, Tensor]]:
    yield from model._make_data_loader(adata=model.adata, indices=cells, batch_size=batch_size)


def _in_batch(tensors: dict[str, Tensor], batch: int) -> dict[str, Tensor]:
    key = REGISTRY_KEYS.BATCH_KEY
    return tensors | {key: torch.full_like(tensors[key], batch)}


def _target(module: Any, tensors: dict[str, Tensor], genes: NDArray[np.bool_]) -> PosteriorTarget:
    return PosteriorTarget.from_module(module, tensors, None if genes.all() else genes)


def _shift(module: Any, minibatches: list[dict[str, Tensor]], genes: NDArray[np.bool_]) -> Tensor:
    """Shifts of a batch that is decoded as a known one, see :func:`learn_batch`."""
    targets = [_target(module, tensors, genes) for tensors in minibatches]
    # The encoder takes missing genes for zeros; but refinement without shifts takes the effect of
    # a batch for a state of the cells, which is worse while most genes are there.
    encoded = genes.mean() >= ENCODED
    states = [t.q0.mean if encoded else refine(t).posterior.loc for t in targets]
    bias = module.decoder.px_scale_decoder[0].bias
    kept = bias.detach().clone()
    measured = torch.as_tensor(genes)
    shift = torch.zeros_like(kept)
    with frozen(module):
        bias.requires_grad_()
        for _ in range(N_STEPS):
            with torch.no_grad():
                bias.copy_(kept + shift)
            precision = torch.full_like(kept, SHIFT_SD**-2)
            slope = -shift * precision
            for target, z in zip(targets, states, strict=True):
                with torch.enable_grad():
                    value = target.log_joint(z[None]).sum()
                slope += torch.autograd.grad(value, bias)[0]
                with torch.no_grad():
                    precision[measured] += target.measured_likelihood(z).information.sum(dim=0)
            step = (slope / precision).clamp(-LARGE_STEP, LARGE_STEP)
            shift += step
            if step.abs().max() < SMALL_STEP:
                break
        with torch.no_grad():
            bias.copy_(kept)
    return shift

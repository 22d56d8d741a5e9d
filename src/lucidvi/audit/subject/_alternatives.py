"""Other likelihoods with the same means, fitted to training cells and tried on held-out ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lucidvi._brief import brief
from lucidvi.audit.subject._subject import Subject, to_numpy
from lucidvi.distributions import candidates, likelihood_of
from lucidvi.inference import elbo

#: Most cells of each kind, and most values, of cells x genes.
N_CELLS, N_VALUES = 1000, 2**23
#: Steps of the fit, and its first rate: parameters are logarithms, so that they can go far enough.
N_STEPS, RATE = 40, 0.3
#: Draws of each posterior for the ELBO.
N_DRAWS = 4


@dataclass(frozen=True)
class DecodedCells:
    """Counts and the model's means of some cells.

    Parameters
    ----------
    x
        Counts, CSR or dense, shape ``(n_cells, n_genes)``.
    log_mean
        Log mean of each count, zero inflation included, at a draw of each posterior.
    batch
        Number of each cell's batch, shape ``(n_cells,)``.
    log_px
        Log likelihood of the model's own likelihood, nats, shape ``(n_cells,)``.
    elbo
        Evidence lower bound, nats, shape ``(n_cells,)``.
    """

    x: Tensor
    log_mean: Tensor
    batch: Tensor
    log_px: Tensor
    elbo: Tensor


def cells_of(subject: Subject, positions: np.ndarray) -> DecodedCells:
    """Decode the cells at some positions in the sample."""
    batches = np.unique(subject.sample.batch, return_inverse=True)[1]
    parts = []
    with torch.no_grad():
        for _, target in subject.targets(positions):
            px = target.likelihood(target.q0.sample())
            dense = target.x.to_dense() if target.x.layout == torch.sparse_csr else target.x
            log_mean = px.mean.clamp(min=1e-30).log()
            bound = elbo(target, N_DRAWS)[0]
            parts.append((dense, log_mean, px.log_likelihood(target.x), bound))
    x, log_mean, log_px, bound = (torch.cat(part) for part in zip(*parts, strict=True))
    # Sparse once, so that no step of a fit looks for the zeros again.
    return DecodedCells(
        x.to_sparse_csr(), log_mean, torch.tensor(batches[positions]), log_px.double(), bound
    )


def two_sets(subject: Subject) -> tuple[np.ndarray, np.ndarray]:
    """Positions of cells to fit to and of others to try on, held-out ones where known."""
    sample, rng = subject.sample, subject.rng(5)
    n = min(N_CELLS, max(100, N_VALUES // subject.n_genes))
    fit, evaluate = rng.permutation(sample.trained), rng.permutation(sample.evaluated)
    if sample.split != "known":
        every = rng.permutation(len(sample.indices))
        fit, evaluate = np.array_split(every, 2)
    fit, evaluate = (cells[subject.counted[cells]] for cells in (fit, evaluate))
    return np.sort(fit[:n]), np.sort(evaluate[:n])


def tried(family: str, fit: DecodedCells, evaluate: DecodedCells) -> tuple[Tensor, Tensor]:
    """Fit a candidate's parameters, a value a gene (and batch), and return log likelihoods.

    Parameters
    ----------
    family
        Name of one of :func:`lucidvi.distributions.candidates`.
    fit, evaluate
        Cells to fit to, and cells to try the fit on.

    Returns
    -------
    Nats, shape ``(n_fit,)`` and ``(n_evaluated,)``.
    """
    likelihood, by_batch = candidates()[family]
    shape = (
        int(max(fit.batch.max(), evaluate.batch.max())) + 1 if by_batch else 1,
        fit.x.shape[1],
    )
    parameters = {
        name: torch.full(shape, kind.start, requires_grad=True)
        for name, kind in likelihood.parameters.items()
    }

    def value(cells: DecodedCells) -> Tensor:
        at = {name: p[cells.batch] if by_batch else p[0] for name, p in parameters.items()}
        return likelihood.with_mean(cells.log_mean, **at).log_likelihood(cells.x)

    if parameters:
        optimizer = torch.optim.Adam(parameters.values(), lr=RATE)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, N_STEPS, RATE / 20)
        for _ in range(N_STEPS):
            optimizer.zero_grad()
            (-value(fit).mean()).backward()
            optimizer.step()
            schedule.step()
    with torch.no_grad():
        return value(fit).double(), value(evaluate).double()


@dataclass(frozen=True)
class Comparison:
    """Log likelihoods of the same cells under several likelihoods, nats.

    Parameters
    ----------
    evaluated
        By name of the likelihood, ``"own"`` for the model's, shape ``(n_evaluated,)``.
    elbo_fit, elbo_evaluated
        Evidence lower bounds of the cells fitted to and of those tried on.
    null_fit, null_evaluated
        Log likelihoods of a model without latent state: each gene's share of the total counts,
        and a dispersion unless the model's likelihood is a Poisson.
    log_total_fit, log_total_evaluated
        Log total counts.
    """

    evaluated: dict[str, np.ndarray]
    elbo_fit: np.ndarray
    elbo_evaluated: np.ndarray
    null_fit: np.ndarray
    null_evaluated: np.ndarray
    log_total_fit: np.ndarray
    log_total_evaluated: np.ndarray

    __repr__ = brief


def comparison(subject: Subject) -> Comparison | None:
    """Try the other likelihoods, and the model without latent state; None without counts."""
    family = likelihood_of(subject.module)
    if not family.is_counts:
        return None
    fit, evaluate = (cells_of(subject, positions) for positions in two_sets(subject))
    many = len(torch.unique(fit.batch)) > 1
    names = [name for name, kind in candidates().items() if many or not kind.by_batch]
    values = {name: to_numpy(tried(name, fit, evaluate)[1]) for name in names}
    null = tried(
        family.without_state,
        *(without_state(cells, fit) for cells in (fit, evaluate)),
    )
    return Comparison(
        evaluated={"own": to_numpy(evaluate.log_px)} | values,
        elbo_fit=to_numpy(fit.elbo),
        elbo_evaluated=to_numpy(evaluate.elbo),
        null_fit=to_numpy(null[0]),
        null_evaluated=to_numpy(null[1]),
        log_total_fit=to_numpy(_log_total(fit)),
        log_total_evaluated=to_numpy(_log_total(evaluate)),
    )


def without_state(cells: DecodedCells, fit: DecodedCells) -> DecodedCells:
    """Give each cell the same shares of its total counts, those of the cells fitted to."""
    sums = torch.ones(len(fit.x)) @ fit.x + 0.5
    log_mean = _log_total(cells)[:, None] + (sums / sums.sum()).log()
    return DecodedCells(cells.x, log_mean, cells.batch, cells.log_px, cells.elbo)


def _log_total(cells: DecodedCells) -> Tensor:
    return (cells.x @ torch.ones(cells.x.shape[1])).clamp(min=0.5).log()

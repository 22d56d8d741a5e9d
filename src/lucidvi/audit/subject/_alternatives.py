"""Other likelihoods with the same means, fitted to training cells and tried on held-out ones."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lucidvi import kernels
from lucidvi._brief import brief
from lucidvi.audit.subject._subject import Subject, to_numpy
from lucidvi.distributions import candidates, likelihood_of
from lucidvi.inference import elbo
from lucidvi.module import Exposure, Modality

#: Most cells of each kind, and most values, of cells x features of all modalities.
N_CELLS, N_VALUES = 1000, 2**23
#: Steps of the fit, and its first rate: parameters are logarithms, so that they can go far enough.
N_STEPS, RATE = 40, 0.3
#: Draws of each posterior for the ELBO.
N_DRAWS = 4
#: Mean of what was not measured, and the highest probability that anything is counted.
NOTHING, MOST = 1e-30, math.log(1 - 1e-6)


@dataclass(frozen=True)
class DecodedCells:
    """Counts and the model's means of some cells.

    Parameters
    ----------
    x
        Counts, CSR, shape ``(n_cells, n_genes)``.
    log_mean
        Log mean of each count, zero inflation included, at a draw of each posterior; as of a
        certain zero where a gene was not measured.
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
            px = target.measured_likelihood(target.q0.sample())
            dense, measured = (
                kernels.to_dense(target.x),
                target.observed[subject.modality.key].measured,
            )
            log_mean, log_px = px.mean.clamp(min=NOTHING).log(), px.log_likelihood(target.x)
            if measured is not None:
                log_mean = log_mean.masked_fill(~measured, math.log(NOTHING))
                log_px = (px.log_prob(dense) * measured).sum(dim=-1)
            bound = elbo(target, N_DRAWS)[0]
            parts.append((dense, log_mean, log_px, bound))
    x, log_mean, log_px, bound = (torch.cat(part) for part in zip(*parts, strict=True))
    # Sparse once, so that no step of a fit looks for the zeros again.
    return DecodedCells(
        x.to_sparse_csr(), log_mean, torch.tensor(batches[positions]), log_px.double(), bound
    )


def two_sets(subject: Subject) -> tuple[np.ndarray, np.ndarray]:
    """Positions of cells to fit to and of others to try on, held-out ones where known."""
    sample, rng = subject.sample, subject.rng(5)
    n = min(N_CELLS, max(100, N_VALUES // subject.n_features))
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
        Log likelihoods of a model without latent state: each feature's share of the total counts
        of a modality, or its mean where counts have no exposure, and a dispersion unless the
        model's likelihood is a Poisson; of all modalities together.
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
    sets = two_sets(subject)
    fit, evaluate = (cells_of(subject, positions) for positions in sets)
    many = len(torch.unique(fit.batch)) > 1
    # Whether anything was counted is no count that others could have drawn.
    tried_here = {} if family.is_binary else candidates()
    names = [name for name, kind in tried_here.items() if many or not kind.by_batch]
    values = {name: to_numpy(tried(name, fit, evaluate)[1]) for name in names}
    nulls = [without_state(subject, modality, *sets) for modality in subject.modalities.values()]
    null = [sum(parts[1:], parts[0]) for parts in zip(*nulls, strict=True)]
    return Comparison(
        evaluated={"own": to_numpy(evaluate.log_px)} | values,
        elbo_fit=to_numpy(fit.elbo),
        elbo_evaluated=to_numpy(evaluate.elbo),
        null_fit=to_numpy(null[0]),
        null_evaluated=to_numpy(null[1]),
        log_total_fit=to_numpy(_log_total(fit)),
        log_total_evaluated=to_numpy(_log_total(evaluate)),
    )


def without_state(
    subject: Subject, modality: Modality, fit: np.ndarray, evaluate: np.ndarray
) -> tuple[Tensor, Tensor]:
    """Log likelihoods of a modality of cells that differ in nothing but their exposure.

    Parameters
    ----------
    subject
        Model and cells.
    modality
        The modality; of cells that lack it the log likelihood is zero.
    fit, evaluate
        Positions in the sample of the cells to fit to, and of others.

    Returns
    -------
    Nats, shape ``(n_fit,)`` and ``(n_evaluated,)``.
    """
    fitted, others = (_counts_of(subject, modality, cells) for cells in (fit, evaluate))
    (x, measured), sums = fitted, torch.ones(len(fit)) @ fitted[0] + 0.5
    if modality.exposure is Exposure.NONE:
        log_rate = (sums / measured.sum(dim=0).clamp(min=1)).log()
    else:
        log_rate = (sums / (x.sum(dim=1) @ measured.float()).clamp(min=1)).log()
    cells = [_alike(modality, log_rate, *counts) for counts in (fitted, others)]
    if modality.likelihood.is_binary:
        found = (modality.likelihood.with_mean(c.log_mean.clamp(max=MOST)) for c in cells)
        first, second = (px.log_likelihood(c.x) for px, c in zip(found, cells, strict=True))
        return first.double(), second.double()
    return tried(modality.likelihood.without_state, *cells)


def _counts_of(
    subject: Subject, modality: Modality, positions: np.ndarray
) -> tuple[Tensor, Tensor]:
    """Return counts of a modality of some cells, dense, and what was measured of them."""
    counts, masks = [], []
    for _, target in subject.targets(positions):
        x = kernels.to_dense(target.observed[modality.key].x)
        measured = target.observed[modality.key].measured
        counts.append(x)
        masks.append(torch.ones_like(x, dtype=torch.bool) if measured is None else measured)
    return torch.cat(counts), torch.cat(masks)


def _alike(modality: Modality, log_rate: Tensor, x: Tensor, measured: Tensor) -> DecodedCells:
    """Cells that show features at one rate each, by their exposure."""
    log_mean = log_rate.expand_as(x)
    if modality.exposure is not Exposure.NONE:
        rate = log_rate.exp() * measured
        log_mean = (x.sum(dim=1).clamp(min=0.5) / rate.sum(dim=1).clamp(min=NOTHING)).log()
        log_mean = log_mean[:, None] + log_rate
    log_mean = log_mean.masked_fill(~measured, math.log(NOTHING))
    zeros = torch.zeros(len(x))
    return DecodedCells(x.to_sparse_csr(), log_mean, zeros.long(), zeros, zeros)


def _log_total(cells: DecodedCells) -> Tensor:
    return (cells.x @ torch.ones(cells.x.shape[1])).clamp(min=0.5).log()

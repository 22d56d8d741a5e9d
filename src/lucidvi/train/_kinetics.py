"""Fitting the kinetics of splicing to molecules, once states are known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn

from lucidvi._progress import track
from lucidvi._random import isolated
from lucidvi.errors import DataError
from lucidvi.module.kinetics import (
    Decoded,
    Evidence,
    Kinetics,
    KineticVAE,
    Molecules,
    log_likelihood,
    log_odds_of_member,
    log_positive_slope,
    with_totals_met,
)
from lucidvi.nn import LastLayer

#: Cells a step, the highest rate of learning of the field and of weights, and that of numbers of
#: genes, which falls to zero as a cosine, and the share of the steps in which it rises.
N_CELLS, RATE, RATE_OF_GENES, RISE = 256, 5e-3, 1.5e-2, 0.2
#: Standard deviations of normal priors: of log rates of degradation, of the weights of splicing,
#: of how a batch differs, and of a velocity in units of the spread of the states.
PRIOR_OF_RATES, PRIOR_OF_WEIGHTS, PRIOR_OF_BATCHES, PRIOR_OF_VELOCITY = 0.5, 0.05, 0.3, 2.2
#: Fewest cells in which a gene has to have both kinds of molecules, and fewest such genes.
FEWEST_CELLS, FEWEST_GENES = 10, 4
#: How many velocities a field has that do not follow from one another, each with that prior. More
#: would slow the field, and with it the rates of the genes that say how fast it is.
N_VELOCITIES = 20
#: How long the overdispersion is remembered, in steps.
MEMORY = 0.98


class SplicedCells(NamedTuple):
    """Cells of which states and molecules are known.

    Parameters
    ----------
    z, scale
        Means and standard deviations of their posteriors, shape ``(n_cells, n_latent)``.
    covariates
        Tensors of all cells, as the decoder takes them.
    total, unspliced
        Counts, CSR, shape ``(n_cells, n_genes)``.
    """

    z: Tensor
    scale: Tensor
    covariates: Mapping[str, Tensor | None]
    total: sparse.csr_matrix
    unspliced: sparse.csr_matrix

    def s(self, rows: Tensor) -> dict[str, Any]:
        """Return the covariates of some cells."""
        return {k: None if v is None else v[rows] for k, v in self.covariates.items()}

    def molecules(self, rows: Tensor) -> Molecules:
        """Return the molecules of some cells."""
        at = rows.numpy()
        batch = self.covariates["batch"]
        assert batch is not None
        total, unspliced = (
            torch.from_numpy(x[at].toarray()).float() for x in (self.total, self.unspliced)
        )
        device = self.z.device
        return Molecules(total.to(device), unspliced.to(device), batch[rows])


def fit_kinetics(module: KineticVAE, cells: SplicedCells, *, n_steps: int, seed: int) -> None:
    """Fit field, rates and log odds of a module to cells, and measure what speaks for them.

    Parameters
    ----------
    module
        Trained; its autoencoder stays as it is.
    cells
        What it is fitted to.
    n_steps
        Steps of the training.
    seed
        Of the members' genes, their weights and all draws.

    Raises
    ------
    lucidvi.errors.DataError
        If fewer than four genes have enough molecules of both kinds.
    """
    s = cells.s(torch.arange(1))
    last = module.last_layer(s)
    assert last is not None
    with isolated(seed, module):
        kinetics = _start(module.kinetics, cells, np.random.default_rng(seed)).to(cells.z.device)
        _learn(kinetics, last, cells, n_steps)
        _measure(kinetics, last, cells)
    module.kinetics = kinetics


def _start(before: Kinetics, cells: SplicedCells, rng: np.random.Generator) -> Kinetics:
    """Return kinetics of which nothing is known yet but units and totals."""
    n_genes, n_hidden = before.splice_weight.shape
    kinetics = Kinetics(
        n_genes,
        n_hidden,
        cells.z.shape[1],
        before.batch_log_odds.shape[1],
        before.n_members // 2,
    )
    spliced = cells.total - cells.unspliced
    in_cells = [np.asarray((x > 0).sum(axis=0)).ravel() for x in (cells.unspliced, spliced)]
    used = (in_cells[0] >= FEWEST_CELLS) & (in_cells[1] >= FEWEST_CELLS)
    if used.sum() < FEWEST_GENES:
        raise DataError(
            f"Of {n_genes:,} genes, {used.sum():,} have spliced and unspliced molecules in "
            f"{FEWEST_CELLS} cells or more each, and kinetics need {FEWEST_GENES}.",
            remedy="give more cells or genes, or cells that were sequenced deeper.",
        )
    u, s = (np.asarray(x.sum(axis=0)).ravel().astype(float) for x in (cells.unspliced, spliced))
    ratio = np.log(max(u[used].sum(), 0.5) / max(s[used].sum(), 0.5))
    kinetics.is_used.copy_(torch.from_numpy(used))
    kinetics.n_unspliced.copy_(torch.from_numpy(u))
    kinetics.log_ratio.fill_(ratio)
    at_start = torch.from_numpy(np.log((u + 0.5) / (s + 0.5)) - ratio).float()
    kinetics.splice_bias.copy_(at_start)
    kinetics.mean_log_odds.copy_(at_start)
    kinetics.log_odds.copy_(at_start.expand_as(kinetics.log_odds))
    center = cells.z.mean(dim=0)
    centered = (cells.z - center).double()
    variances, axes = torch.linalg.eigh(centered.T @ centered / len(centered))
    # Each towards its longer tail: the field does not depend on how the states are turned.
    axes = axes.flip(1)
    skewed = (centered @ axes).pow(3).sum(dim=0)
    kinetics.axes.copy_(axes * torch.where(skewed < 0, -1.0, 1.0))
    kinetics.center.copy_(center)
    kinetics.spread.copy_(variances.mean().sqrt().clamp(min=1e-6))
    genes = np.flatnonzero(used)
    for pair in range(kinetics.n_members // 2):
        order = rng.permutation(genes)
        for half in range(2):
            kinetics.learned[2 * pair + half, torch.from_numpy(order[half::2])] = True
    return kinetics


def _learn(kinetics: Kinetics, last: LastLayer, cells: SplicedCells, n_steps: int) -> None:
    """Fit the field of each member and all numbers of genes."""
    with torch.no_grad():
        hidden = last.hidden(cells.z, cells.s(torch.arange(len(cells.z))))
        kinetics.hidden_mean.copy_(hidden.mean(dim=0))
    of_genes = [
        _as_parameter(kinetics, name) for name in ("log_odds", "log_rate", "batch_log_odds")
    ]
    of_splicing = [_as_parameter(kinetics, name) for name in ("splice_weight", "splice_bias")]
    fields = list(kinetics.velocities.requires_grad_(True).parameters())
    groups = [
        {"params": [*fields, *of_splicing], "lr": RATE},
        {"params": of_genes, "lr": RATE_OF_GENES},
    ]
    optimizer = torch.optim.Adam(groups)
    rates = [group["lr"] for group in groups]
    n_cells = len(cells.z)
    spread = torch.zeros(2, len(kinetics.is_used), device=cells.z.device)
    genes = [torch.nonzero(learned).squeeze(1) for learned in kinetics.learned]
    for step in track(range(n_steps), "Fitting kinetics", n_steps):
        share = (step + 1) / n_steps
        height = (
            min(1.0, share / RISE)
            * 0.5
            * (1 + np.cos(np.pi * max(0.0, share - RISE) / (1 - RISE)))
        )
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * height
        rows = torch.randint(n_cells, (min(N_CELLS, n_cells),))
        z = cells.z[rows] + cells.scale[rows] * torch.randn_like(cells.z[rows])
        molecules = cells.molecules(rows)
        decoded = Decoded.of(last, z, cells.s(rows))
        with torch.no_grad():
            weights = kinetics.weights
            log_spliced = kinetics.log_spliced(last, decoded)
        free = _freely(kinetics, decoded, log_spliced, molecules)
        loss = -(log_likelihood(free, molecules) * weights).sum()
        velocity = kinetics.velocity(z)
        loss = loss - _members(
            kinetics, last, decoded, velocity, log_spliced, molecules, weights, genes
        )
        still = (velocity / kinetics.spread).square().sum() / (2 * PRIOR_OF_VELOCITY**2)
        priors = _priors(kinetics) + still * N_VELOCITIES / len(rows)
        loss = loss / len(rows) + priors / n_cells
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            spread = MEMORY * spread + _spread(free, molecules)
            ratio = (spread[0] + 1) / (spread[1] + 1)
            kinetics.dispersion.copy_(ratio.clamp(min=1))
    kinetics.velocities.requires_grad_(False)
    for name in ("log_odds", "log_rate", "batch_log_odds", "splice_weight", "splice_bias"):
        value = getattr(kinetics, name).detach()
        delattr(kinetics, name)
        kinetics.register_buffer(name, value)


def _as_parameter(kinetics: Kinetics, name: str) -> nn.Parameter:
    """Let a buffer be learned."""
    value = nn.Parameter(getattr(kinetics, name).clone())
    delattr(kinetics, name)
    kinetics.register_parameter(name, value)
    return value


def _freely(
    kinetics: Kinetics, decoded: Decoded, log_spliced: Tensor, molecules: Molecules
) -> Tensor:
    """Return log odds that are linear in hidden units, which know of no kinetics."""
    by_state = (decoded.hidden - kinetics.hidden_mean) @ kinetics.splice_weight.T
    of_batch = kinetics.batch_log_odds.T[molecules.batch.squeeze(-1).long()]
    log_odds = kinetics.splice_bias + by_state + of_batch
    return with_totals_met(log_odds, log_spliced, molecules, kinetics.log_ratio, kinetics.weights)


def _members(
    kinetics: Kinetics,
    last: LastLayer,
    decoded: Decoded,
    velocity: Tensor,
    log_spliced: Tensor,
    molecules: Molecules,
    weights: Tensor,
    genes: list[Tensor],
) -> Tensor:
    """Return the log likelihood of each member's genes along its field, in all, in nats."""
    with torch.no_grad():
        weight, _ = kinetics.spliced(last)
        mean = log_spliced.exp() @ weight
    total = torch.zeros(())
    for member, own in enumerate(genes):
        change = decoded.along(velocity[member])
        slopes = change @ weight[own].T - (change * mean).sum(dim=-1, keepdim=True)
        odds = log_odds_of_member(kinetics, member, slopes, molecules.batch, own)
        seen = molecules.of(own)
        odds = with_totals_met(odds, log_spliced[:, own], seen, kinetics.log_ratio, weights[own])
        total = total + (log_likelihood(odds, seen) * weights[own]).sum()
    # The mean over pairs, each of which sees every gene once.
    return total / (len(genes) / 2)


def _priors(kinetics: Kinetics) -> Tensor:
    """Return minus the log density of the priors of all numbers of genes, in nats."""
    rates = (kinetics.log_rate.square() * kinetics.learned).sum() / (kinetics.n_members / 2)
    return (
        rates / (2 * PRIOR_OF_RATES**2)
        + kinetics.splice_weight.square().sum() / (2 * PRIOR_OF_WEIGHTS**2)
        + kinetics.batch_log_odds.square().sum() / (2 * PRIOR_OF_BATCHES**2)
    )


def _spread(log_odds: Tensor, molecules: Molecules) -> Tensor:
    """Return squared residuals of each gene, and what binomial ones would be, ``(2, n_genes)``."""
    share = torch.sigmoid(log_odds)
    residual = molecules.unspliced - molecules.total * share
    variance = molecules.total * share * (1 - share)
    return torch.stack([residual.square().sum(dim=0), variance.sum(dim=0)])


@torch.no_grad()
def _measure(kinetics: Kinetics, last: LastLayer, cells: SplicedCells) -> None:
    """Find how well each gene's rate is known, and whether it agrees with what others say."""
    sums = torch.zeros(5, len(kinetics.is_used), dtype=torch.float64)
    information = torch.zeros(3, *kinetics.log_rate.shape, dtype=torch.float64)
    blocks = torch.arange(len(cells.z)).split(2 * N_CELLS)
    for rows in track(blocks, "Measuring kinetics", len(blocks)):
        z, molecules = cells.z[rows], cells.molecules(rows)
        decoded = Decoded.of(last, z, cells.s(rows))
        said = Evidence.of(kinetics, last, decoded, z, molecules)
        r, v, d = said.residual, said.variance, said.slopes
        terms = (r, v, r * d, v * d, v * d.square())
        sums += torch.stack([x.sum(dim=0) for x in terms]).cpu()
        information += _information(kinetics, last, decoded, z, molecules)
    r, v, rd, vd, vdd = sums
    mean = vd / v.clamp(min=1e-12)
    score, variance = rd - mean * r, vdd - mean * vd
    kinetics.mean_slope.copy_(mean)
    kinetics.agreement.copy_(score / variance.clamp(min=1e-12).sqrt() * kinetics.is_used.cpu())
    # Of the two numbers of a gene, what is not known of the log odds is taken from the rate.
    odds, both, rates = information
    of_rate = rates - both.square() / odds.clamp(min=1e-12)
    seen = of_rate.sum(dim=0) / (kinetics.n_members / 2)
    kinetics.log_rate_scale.copy_((seen + 1 / PRIOR_OF_RATES**2).rsqrt())
    kinetics.is_fitted.fill_(True)


def _information(
    kinetics: Kinetics, last: LastLayer, decoded: Decoded, z: Tensor, molecules: Molecules
) -> Tensor:
    """Return the information on log odds and log rates, ``(3, n_members, n_genes)``."""
    found = torch.zeros(3, *kinetics.log_rate.shape, dtype=torch.float64)
    slopes = kinetics.slopes(last, decoded, kinetics.velocity(z))
    log_spliced = kinetics.log_spliced(last, decoded)
    for member, learned in enumerate(kinetics.learned):
        own = torch.nonzero(learned).squeeze(1)
        seen, slope = molecules.of(own), slopes[member][:, own]
        odds = log_odds_of_member(kinetics, member, slope, molecules.batch, own)
        weights = kinetics.weights[own]
        odds = with_totals_met(odds, log_spliced[:, own], seen, kinetics.log_ratio, weights)
        share = torch.sigmoid(odds)
        variance = weights * seen.total * share * (1 - share)
        x = slope * torch.exp(-kinetics.log_rate[member, own])
        change = -x * log_positive_slope(x)
        terms = (variance, variance * change, variance * change.square())
        found[:, member, own.cpu()] = torch.stack([x.sum(dim=0) for x in terms]).double().cpu()
    return found

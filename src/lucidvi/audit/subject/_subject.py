"""What the checks ask of a model: latent states, decoded cells and targets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from anndata import AnnData
from torch import Tensor

from lucidvi import kernels
from lucidvi.audit.cures._cures import Cures
from lucidvi.audit.subject._directions import direction_losses, predicted_from_preceding
from lucidvi.audit.subject._priors import CellPriors, inapplicable
from lucidvi.audit.subject._sample import Sample
from lucidvi.data import stratified
from lucidvi.inference import (
    NormalPosterior,
    PosteriorTarget,
    canonical,
    inference_gap,
    information_metric,
    refine,
)

#: Values, of cells x genes, of a minibatch.
MINIBATCH = 2**19
#: Cells whose information metric is averaged.
N_METRIC = 300
#: Cells that the worth of a direction is averaged over.
N_WORTH = 500
#: Cells that are refined, and chains of annealed importance sampling for each.
N_REFINED, N_CHAINS = 256, 16


@dataclass(frozen=True, eq=False)
class Subject:
    """A model and the cells that it is looked at with.

    Parameters
    ----------
    model
        A model of scvi-tools' kind; its module is in evaluation mode.
    adata
        Cells, registered with the model.
    sample
        Those that are looked at.
    seed
        Of everything random.
    batch_key, labels_key
        Columns of ``obs`` with batches and labels; None for what the model was set up with.
    """

    model: Any
    adata: AnnData
    sample: Sample
    seed: int
    batch_key: str | None = None
    labels_key: str | None = None

    @property
    def n_latent(self) -> int:
        """Dimension of the latent state, without a latent library."""
        return int(self.model.module.n_latent)

    @property
    def n_genes(self) -> int:
        """Number of genes."""
        return self.adata.n_vars

    @cached_property
    def gene_names(self) -> np.ndarray:
        """Names of the model's genes."""
        return np.asarray(self.model.get_var_names()).astype(str)

    @cached_property
    def cures(self) -> Cures:
        """What to do about problems, in the terms of the model."""
        keys = {"batch_key": self.batch_key, "labels_key": self.labels_key}
        return Cures.of_model(self.model, self.adata, **keys, total=self.latent.total)

    def rng(self, *key: int) -> np.random.Generator:
        """Return a generator of its own for each key."""
        return np.random.default_rng((self.seed, *key))

    def targets(self, positions: np.ndarray) -> Iterator[tuple[np.ndarray, PosteriorTarget]]:
        """Yield minibatches of the cells at some positions in the sample, and their targets."""
        size = max(1, min(512, MINIBATCH // self.n_genes))
        loader = self.model._make_data_loader(
            adata=self.adata, indices=self.sample.cells[positions], batch_size=size
        )
        start = 0
        for tensors in loader:
            target = PosteriorTarget.from_module(self.model.module, tensors)
            yield positions[start : start + target.n_cells], target
            start += target.n_cells

    @cached_property
    def metric(self) -> np.ndarray:
        """See :func:`information_metric`; shape ``(n_cells, n_latent, n_latent)``."""
        chosen = self.rng(2).permutation(len(self.sample.cells))[:N_METRIC]
        pairs = self.targets(np.sort(chosen))
        return np.concatenate([information_metric(t, self.n_latent) for _, t in pairs])

    @cached_property
    def refined(self) -> Refinement:
        """Refined posteriors and gaps of a stratified sample of the evaluated cells."""
        sample, evaluated = self.sample, self.sample.evaluated
        strata = np.char.add(np.char.add(sample.batch, "\n"), sample.label)[evaluated]
        codes = np.unique(strata, return_inverse=True)[1]
        chosen = np.sort(stratified(codes, N_REFINED, self.rng(6), evaluated))
        center = torch.tensor(self.latent.loc.mean(axis=0), dtype=torch.float32)
        parts = []
        for _, target in self.targets(chosen):
            gap = inference_gap(target, N_CHAINS)
            best, full = (refine(target, family).posterior for family in ("diagonal", "full"))
            state = slice(self.n_latent)
            covariance = full.scale_tril @ full.scale_tril.mT
            found = (best.loc[:, state], best.scale[:, state], covariance[:, state, state])
            explained = gap.elbo_refined - without_state(target, center)
            parts.append((gap.amortization_gap, gap.approximation_gap, explained, *found))
        arrays = (to_numpy(torch.cat(part)) for part in zip(*parts, strict=True))
        return Refinement(chosen, *arrays)

    @cached_property
    def losses(self) -> tuple[np.ndarray, np.ndarray]:
        """What evaluated cells lose without each canonical direction, see `direction_losses`.

        Set to the mean of all cells, and to what the directions before it tell.
        """
        directions = canonical(self.metric)[1]
        coordinates = self.latent.loc @ directions
        chosen = np.sort(self.rng(3).permutation(self.sample.evaluated)[:N_WORTH])
        mean = np.broadcast_to(coordinates.mean(axis=0), (len(chosen), self.n_latent))
        told = predicted_from_preceding(coordinates, chosen)
        parts = []
        for positions, target in self.targets(chosen):
            rows = np.searchsorted(chosen, positions)
            parts.append([direction_losses(target, directions, v[rows]) for v in (mean, told)])
        whole, own = (np.concatenate(part) for part in zip(*parts, strict=True))
        return whole, own

    @cached_property
    def latent(self) -> Latent:
        """The encoder's posteriors of all cells of the sample."""
        state = slice(self.n_latent)
        parts = []
        for _, target in self.targets(np.arange(len(self.sample.cells))):
            q = NormalPosterior.from_distribution(target.q0)
            totals = kernels.row_sums(target.x).squeeze(-1)
            # Of a lower triangular factor, what is of the state comes before the library.
            factors = q.scale_tril[:, state, state]
            parts.append((q.loc[:, state], q.scale[:, state], factors, totals))
        return Latent(*(to_numpy(torch.cat(part)) for part in zip(*parts, strict=True)))

    @cached_property
    def priors(self) -> CellPriors | None:
        """The model's priors of all cells of the sample; None where they have no density."""
        module = self.model.module
        if inapplicable(module):
            return None
        targets = (target for _, target in self.targets(np.arange(len(self.sample.cells))))
        return CellPriors.of(module, targets)

    @property
    def prior_variance(self) -> np.ndarray:
        """Variances of each cell's prior, shape ``(n_cells, n_latent)``; 1 if not known."""
        return np.ones_like(self.latent.loc) if self.priors is None else self.priors.variance


@dataclass(frozen=True)
class Latent:
    """The encoder's posteriors of several cells.

    Parameters
    ----------
    loc, scale
        Means and standard deviations, float64, shape ``(n_cells, n_latent)``.
    scale_tril
        Factors of the covariances, lower triangular, shape ``(n_cells, n_latent, n_latent)``.
    total
        Total counts, shape ``(n_cells,)``.
    """

    loc: np.ndarray
    scale: np.ndarray
    scale_tril: np.ndarray
    total: np.ndarray

    @property
    def factor(self) -> np.ndarray:
        """The standard deviations where the axes are independent, else the factors."""
        return self.scale_tril if np.tril(self.scale_tril, -1).any() else self.scale


@dataclass(frozen=True)
class Refinement:
    """Refined posteriors of some cells.

    Parameters
    ----------
    positions
        Of the cells in the sample.
    amortization_gap, approximation_gap
        Nats, shape ``(n_cells,)``.
    explained
        ELBO of the best posteriors above the log likelihood at the mean latent state, nats, shape
        ``(n_cells,)``.
    loc, scale
        Of the best posteriors with independent axes, shape ``(n_cells, n_latent)``.
    covariance
        Of the best full ones, shape ``(n_cells, n_latent, n_latent)``.
    """

    positions: np.ndarray
    amortization_gap: np.ndarray
    approximation_gap: np.ndarray
    explained: np.ndarray
    loc: np.ndarray
    scale: np.ndarray
    covariance: np.ndarray


def without_state(target: PosteriorTarget, center: Tensor) -> Tensor:
    """Log likelihood of each cell at the mean latent state, nats, shape ``(n_cells,)``."""
    z = target.q0.mean.clone()
    z[:, : len(center)] = center.to(z)
    with torch.no_grad():
        return target.likelihood(z).log_likelihood(target.x).double()


def to_numpy(tensor: Tensor) -> np.ndarray:
    """Return a tensor as a float64 array."""
    return tensor.detach().cpu().double().numpy()

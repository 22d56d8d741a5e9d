"""What the checks ask of a model: latent states, decoded cells and targets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from anndata import AnnData
from torch import Tensor

from lucidvi import kernels
from lucidvi.audit.cures import Cures
from lucidvi.audit.subject._directions import (
    active_directions,
    direction_losses,
    log_likelihood,
    predicted_from_preceding,
)
from lucidvi.audit.subject._priors import CellPriors, inapplicable
from lucidvi.audit.subject._sample import Sample
from lucidvi.data import stratified
from lucidvi.inference import (
    NormalPosterior,
    PosteriorTarget,
    as_generative,
    canonical,
    inference_gap,
    information_metric,
    refine,
)
from lucidvi.model import Cells
from lucidvi.module import Modality
from lucidvi.results import Posteriors

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
        Cells that are looked at.
    seed
        Seed of everything random.
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
    def module(self) -> Any:
        """The model's module."""
        return self.model.module

    @cached_property
    def modalities(self) -> Mapping[str, Modality]:
        """What is observed of the cells, by name; the first is the main one."""
        return as_generative(self.module).modalities

    @property
    def modality(self) -> Modality:
        """The main modality, whose features the checks look at."""
        return next(iter(self.modalities.values()))

    @property
    def n_latent(self) -> int:
        """Length of ``z``."""
        return int(self.module.n_latent)

    @property
    def n_genes(self) -> int:
        """Number of features of the main modality."""
        return self.modality.n_features

    @cached_property
    def gene_names(self) -> np.ndarray:
        """Names of the features of the main modality."""
        return np.asarray(self.model.get_var_names()).astype(str)

    @cached_property
    def cells(self) -> Cells:
        """The cells of the sample."""
        return Cells(self.model, self.adata, self.sample.indices)

    @cached_property
    def cures(self) -> Cures:
        """What to do about problems, in the terms of the model."""
        keys = {"batch_key": self.batch_key, "labels_key": self.labels_key}
        return Cures.of_model(self.model, self.adata, **keys, total=self.total)

    def rng(self, *key: int) -> np.random.Generator:
        """Return a generator of its own for each key."""
        return np.random.default_rng((self.seed, *key))

    def targets(self, positions: np.ndarray) -> Iterator[tuple[np.ndarray, PosteriorTarget]]:
        """Yield minibatches of the cells at some positions in the sample, and their targets."""
        for rows, target in self.cells.select(positions).targets(batch_size=self.minibatch):
            yield positions[rows], target

    @property
    def n_features(self) -> int:
        """Number of features of all modalities."""
        return sum(modality.n_features for modality in self.modalities.values())

    @property
    def minibatch(self) -> int:
        """Cells of a minibatch."""
        return max(1, min(512, MINIBATCH // self.n_features))

    @cached_property
    def counted(self) -> np.ndarray:
        """Which cells of the sample have the main modality, bool, shape ``(n_cells,)``."""
        return self.cells.have()

    @cached_property
    def common(self) -> Tensor | None:
        """Mask of the main modality's features that all counted cells have, ``(n_features,)``.

        None for all of them; also where two panels have nothing in common.
        """
        mask = self.cells.select(self.counted).measured_in_all()
        return None if mask is None or not mask.any() else torch.as_tensor(mask)

    @property
    def everyone(self) -> np.ndarray:
        """Positions of all cells in the sample."""
        return np.arange(len(self.cells))

    # -- posteriors ---------------------------------------------------------------------------

    @cached_property
    def _encoded(self) -> tuple[Posteriors, np.ndarray]:
        parts, totals = [], []
        for positions, target in self.targets(self.everyone):
            q = NormalPosterior.from_distribution(target.q0)
            parts.append(self.posteriors(target.latent_posterior(q), positions))
            totals.append(to_numpy(kernels.row_sums(target.x).squeeze(-1)))
        return Posteriors.concatenate(parts), np.concatenate(totals)

    @property
    def latent(self) -> Posteriors:
        """The encoder's posteriors of all cells of the sample."""
        return self._encoded[0]

    @property
    def total(self) -> np.ndarray:
        """Total counts of all cells of the sample, shape ``(n_cells,)``."""
        return self._encoded[1]

    @cached_property
    def refined(self) -> Refinement:
        """Refined posteriors and gaps of a stratified sample of the evaluated cells."""
        sample, evaluated = self.sample, self.sample.evaluated
        strata = np.char.add(np.char.add(sample.batch, "\n"), sample.label)[evaluated]
        codes = np.unique(strata, return_inverse=True)[1]
        refined_cells = np.sort(stratified(codes, N_REFINED, self.rng(6), evaluated))
        center = torch.tensor(self.latent.loc.mean(axis=0), dtype=torch.float32)
        values, diagonal = [], []
        for positions, target in self.targets(refined_cells):
            gap = inference_gap(target, N_CHAINS)
            best = target.latent_posterior(refine(target, "diagonal").posterior)
            diagonal.append(self.posteriors(best, positions))
            covariance = covariance_of(target, refine(target, "full").posterior)
            explained = gap.elbo_refined - without_state(target, center)
            values.append((gap.amortization_gap, gap.approximation_gap, explained, covariance))
        arrays = [to_numpy(torch.cat(part)) for part in zip(*values, strict=True)]
        return Refinement(
            positions=refined_cells,
            amortization_gap=arrays[0],
            approximation_gap=arrays[1],
            explained=arrays[2],
            covariance=arrays[3],
            diagonal=Posteriors.concatenate(diagonal),
        )

    def posteriors(self, posterior: NormalPosterior, positions: np.ndarray) -> Posteriors:
        """Return posteriors of ``z`` of the cells at some positions in the sample, as arrays."""
        names = self.cells.select(positions).names
        return Posteriors.of(posterior, names, full=True, dtype=np.float64)

    # -- what the latent space is worth, and its prior ------------------------------------------

    @cached_property
    def metric(self) -> np.ndarray:
        """See :func:`information_metric`; shape ``(n_cells, n_latent, n_latent)``."""
        metric_cells = self.rng(2).permutation(len(self.cells))[:N_METRIC]
        pairs = self.targets(np.sort(metric_cells))
        return np.concatenate([information_metric(t, self.n_latent) for _, t in pairs])

    @cached_property
    def losses(self) -> tuple[np.ndarray, np.ndarray]:
        """What evaluated cells lose without each canonical direction, see `direction_losses`.

        Set to the mean of all cells, and to what the directions before it tell.
        """
        directions = canonical(self.metric)[1]
        coordinates = self.latent.loc @ directions
        tested_cells = np.sort(self.rng(3).permutation(self.sample.evaluated)[:N_WORTH])
        mean = np.broadcast_to(coordinates.mean(axis=0), (len(tested_cells), self.n_latent))
        predicted = predicted_from_preceding(coordinates, tested_cells)
        parts = []
        for positions, target in self.targets(tested_cells):
            rows = np.searchsorted(tested_cells, positions)
            values = (mean[rows], predicted[rows])
            parts.append([direction_losses(target, directions, value) for value in values])
        whole, beyond = (np.concatenate(part) for part in zip(*parts, strict=True))
        return whole, beyond

    @property
    def n_used(self) -> int:
        """Number of canonical directions that are in use."""
        return int(active_directions(self.losses[0]).sum())

    @cached_property
    def priors(self) -> CellPriors | None:
        """The model's priors of all cells of the sample; None where they have no density."""
        if inapplicable(self.module):
            return None
        return CellPriors.of(self.module, (target for _, target in self.targets(self.everyone)))

    @property
    def prior_variance(self) -> np.ndarray:
        """Variances of each cell's prior, shape ``(n_cells, n_latent)``; 1 if not known."""
        return np.ones_like(self.latent.loc) if self.priors is None else self.priors.variance


@dataclass(frozen=True, eq=False)
class Refinement:
    """Refined posteriors of some cells.

    Parameters
    ----------
    positions
        Positions of the cells in the sample.
    amortization_gap, approximation_gap
        Gaps, nats, shape ``(n_cells,)``.
    explained
        ELBO of the best posteriors above the log likelihood at the mean latent state, nats, shape
        ``(n_cells,)``.
    diagonal
        The best posteriors with independent axes.
    covariance
        Covariances of the best posteriors without that, shape ``(n_cells, n_latent, n_latent)``.
    """

    positions: np.ndarray
    amortization_gap: np.ndarray
    approximation_gap: np.ndarray
    explained: np.ndarray
    diagonal: Posteriors
    covariance: np.ndarray


def covariance_of(target: PosteriorTarget, posterior: NormalPosterior) -> Tensor:
    """Covariances of ``z``, shape ``(n_cells, n_latent, n_latent)``."""
    of_state = posterior.scale_tril @ posterior.scale_tril.mT
    return target.latent(target.latent(of_state).mT).mT


def without_state(target: PosteriorTarget, center: Tensor) -> Tensor:
    """Log likelihood of each cell at the mean latent state, nats, shape ``(n_cells,)``."""
    state = target.q0.mean
    state = target.with_latent(state, center.to(state).expand(target.n_cells, -1))
    with torch.no_grad():
        return log_likelihood(target, state).double()


def to_numpy(tensor: Tensor) -> np.ndarray:
    """Return a tensor as a float64 array."""
    return tensor.detach().cpu().double().numpy()

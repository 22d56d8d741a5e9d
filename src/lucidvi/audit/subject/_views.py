"""What is said of cells by some of their modalities, and of a modality by the others."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from lucidvi import kernels
from lucidvi._brief import brief
from lucidvi.audit.subject._predictive import quantile_residuals
from lucidvi.audit.subject._subject import Subject
from lucidvi.data import stratified
from lucidvi.inference import NormalPosterior, PosteriorTarget
from lucidvi.module import Modality, measured_means
from lucidvi.results import Posteriors

#: Most cells and features that are imputed, and draws of each cell's state.
N_CELLS, N_FEATURES, N_DRAWS = 300, 300, 20


@dataclass(frozen=True, eq=False)
class Imputed:
    """A modality of some cells, beside what the others predict.

    Parameters
    ----------
    feature
        Names of the features, shape ``(n_features,)``.
    residuals
        Randomized quantile residuals, shape ``(n_cells, n_features)``; NaN where a feature was not
        measured.
    observed, predicted
        ``log(1 + x)`` of counts and of their means, at the exposure of a typical one of the cells;
        of the same shape, and NaN as ``residuals``.
    """

    feature: np.ndarray
    residuals: np.ndarray
    observed: np.ndarray
    predicted: np.ndarray

    __repr__ = brief


def told_by(subject: Subject, seen: Collection[str]) -> Posteriors:
    """Return the encoder's posteriors of all cells of the sample, from some modalities alone.

    Those of cells that have none of them are the encoder's of nothing.
    """
    cells, parts = subject.cells.with_modalities(seen), []
    for rows, target in cells.targets(batch_size=subject.minibatch):
        q = target.latent_posterior(NormalPosterior.from_distribution(target.q0))
        parts.append(subject.posteriors(q, subject.everyone[rows]))
    return Posteriors.concatenate(parts)


def imputed(subject: Subject, modality: str, positions: np.ndarray) -> Imputed:
    """Predict a modality of cells from their others, at the exposure that they have.

    Parameters
    ----------
    subject
        Model and cells.
    modality
        Name of the modality.
    positions
        Positions in the sample of cells that have it and another; of more than
        :data:`N_CELLS` some are taken, and of more than :data:`N_FEATURES` features too.
    """
    rng = subject.rng(5, list(subject.modalities).index(modality))
    batch = np.unique(subject.sample.batch[positions], return_inverse=True)[1]
    positions = np.sort(stratified(batch, N_CELLS, rng, positions))
    described = subject.modalities[modality]
    chosen = np.sort(rng.permutation(described.n_features)[:N_FEATURES])
    mask = np.zeros(described.n_features, dtype=bool)
    mask[chosen] = True
    features = torch.as_tensor(mask)
    cells = subject.cells.select(positions)
    others = cells.with_modalities([name for name in subject.modalities if name != modality])
    residuals: list[np.ndarray] = []
    observed: list[np.ndarray] = []
    predicted: list[np.ndarray] = []
    exposures: list[np.ndarray] = []
    pairs = zip(
        cells.targets(batch_size=subject.minibatch),
        others.targets(batch_size=subject.minibatch),
        strict=True,
    )
    for (_, whole), (_, seen) in pairs:
        x = kernels.to_dense(whole.observed[modality].x)[:, features.to(seen.q0.mean.device)]
        exposure = whole.log_exposures.get(modality)
        if exposure is not None:
            seen = seen.with_log_exposures({modality: exposure})
        measured = whole.observed[modality].measured
        known = np.True_ if measured is None else _array(measured)[:, mask].astype(bool)
        mean, below, at_most = _predictive(seen, described, measured, features, x)
        residual = quantile_residuals(below, at_most, rng)
        scale = np.ones((len(x), 1)) if exposure is None else _array(exposure.exp())
        for parts, values in (
            (residuals, residual),
            (observed, _array(x) / scale),
            (predicted, mean / scale),
        ):
            parts.append(np.where(known, values, np.nan))
        exposures.append(scale)
    typical = float(np.median(np.concatenate(exposures)))
    return Imputed(
        feature=_names(subject, modality)[chosen],
        residuals=np.concatenate(residuals),
        observed=np.log1p(typical * np.concatenate(observed)),
        predicted=np.log1p(typical * np.concatenate(predicted)),
    )


@torch.no_grad()
def _predictive(
    target: PosteriorTarget,
    modality: Modality,
    measured: torch.Tensor | None,
    features: torch.Tensor,
    x: torch.Tensor,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, and probability of less than and of at most each value, over draws of the states."""
    mean, below, at_most = (np.zeros(tuple(x.shape)) for _ in range(3))
    for _ in range(N_DRAWS):
        px = target.likelihood(target.q0.sample(), modality.key)
        if measured is not None and modality.is_renormalized:
            px = measured_means(px, measured)
        px = px.of_features(features.to(x.device))
        lower, upper = px.cumulative(x)
        mean += _array(px.mean) / N_DRAWS
        below += lower / N_DRAWS
        at_most += upper / N_DRAWS
    return mean, below, at_most


def _names(subject: Subject, modality: str) -> np.ndarray:
    """Names of the features of a modality; their positions where the model does not tell."""
    named = getattr(subject.model, "get_feature_names", None)
    if named is not None:
        return np.asarray(named(modality)).astype(str)
    if modality == subject.modality.key:
        return subject.gene_names
    return np.arange(subject.modalities[modality].n_features).astype(str)


def _array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().cpu().double().numpy()


def who_has(subject: Subject) -> pd.DataFrame:
    """Which cells of the sample have which modality, cells by modalities."""
    return pd.DataFrame(
        {name: subject.cells.have(name) for name in subject.modalities},
        index=subject.cells.names,
    )

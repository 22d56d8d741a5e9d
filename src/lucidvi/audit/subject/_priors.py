"""The model's own prior of each cell's latent state, whichever it is."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution, Normal

from lucidvi._brief import brief
from lucidvi._random import isolated
from lucidvi.inference import PosteriorTarget
from lucidvi.module import COVARIATE_KEYS
from lucidvi.nn import log_density, log_marginals

#: Nodes of the quadrature over one number of a posterior: exact where the prior is a normal.
N_NODES = 20
#: Draws of a posterior, half of them mirror images of the other half, for other expectations.
N_DRAWS = 16

#: Part of a module that makes the prior a model of its own, and why nothing is held against it.
HIERARCHICAL = (
    "decoder_z1_z2",
    "The prior of the latent state, p(z given z2, y), is a model of its own over a second latent "
    "state and the label, whose density has no closed form; so neither the KL to it nor its "
    "holes are known.",
)


@dataclass(frozen=True, eq=False)
class CellPriors:
    """The prior of each cell's latent state, before the softmax of a logistic normal.

    Parameters
    ----------
    parts
        Priors of consecutive minibatches of cells, over each number of a state or over states.
    group
        Number of the prior that a cell has, shape ``(n_cells,)``; cells of equal ones share it.
    name
        What kind it is, for a reader.
    """

    parts: tuple[Distribution, ...]
    group: np.ndarray
    name: str = "standard normal"

    __repr__ = brief

    @classmethod
    def standard_normal(cls, n_cells: int, n_latent: int) -> CellPriors:
        """Return the standard normal for all cells."""
        zeros = torch.zeros(n_cells, n_latent, dtype=torch.double)
        prior = Normal(zeros, torch.ones_like(zeros), validate_args=False)
        return cls((prior,), np.zeros(n_cells, dtype=int))

    @classmethod
    def of(cls, module: Any, targets: Iterable[PosteriorTarget]) -> CellPriors:
        """Ask a module for the priors of minibatches of cells."""
        prior = getattr(module, "prior", None)  # scvi-tools' modules have no name for theirs
        names = getattr(prior, "covariates", ())
        parts, columns = [], []
        for target in targets:
            parts.append(target.state_prior)
            columns.append(_columns(target.covariates, names, target.n_cells))
        values = np.concatenate(columns)
        group = np.unique(values, axis=0, return_inverse=True)[1].reshape(-1)
        if not values.shape[1]:
            group = np.zeros(len(values), dtype=int)
        name = "standard normal" if prior is None else type(prior).__name__
        return cls(tuple(parts), group, name)

    @property
    def is_independent(self) -> bool:
        """Whether the numbers of a state are independent of each other."""
        return not self.parts[0].event_shape

    @cached_property
    def spread(self) -> np.ndarray:
        """Variance of each number of a state over the prior of all cells, ``(n_latent,)``."""
        return self.variance.mean(axis=0) + self._of_all(lambda p: p.mean).var(axis=0)

    @cached_property
    def variance(self) -> np.ndarray:
        """Variances of each cell's prior, shape ``(n_cells, n_latent)``."""
        return self._of_all(lambda prior: prior.variance)

    def log_prob(self, z: np.ndarray) -> np.ndarray:
        """Log density of latent states, ``(n_cells, n_latent)``, shape ``(n_cells,)``."""
        return self._of_pieces(log_density, z)

    def log_marginals(self, z: np.ndarray) -> np.ndarray:
        """Log density of each number by itself, shape ``(n_cells, n_latent)``."""
        return self._of_pieces(log_marginals, z)

    def expected_log_marginals(self, loc: np.ndarray, scale: np.ndarray) -> np.ndarray:
        """Mean of :meth:`log_marginals` over normals, by Gauss-Hermite quadrature."""
        nodes, weights = np.polynomial.hermite_e.hermegauss(N_NODES)
        weights = weights / math.sqrt(2 * math.pi)
        values = (self.log_marginals(loc + scale * node) for node in nodes)
        return sum(
            (w * value for w, value in zip(weights, values, strict=True)), np.zeros_like(loc)
        )

    def expected_log_prob(
        self, loc: np.ndarray, factor: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """Mean of :meth:`log_prob` over normals, shape ``(n_cells,)``.

        Parameters
        ----------
        loc
            Means, shape ``(n_cells, n_latent)``.
        factor
            Standard deviations, of the same shape, or factors of the covariances.
        rng
            Draws, where there is no closed form.
        """
        if self.is_independent:
            return self.expected_log_marginals(loc, marginal_scale(factor)).sum(axis=1)
        draws = []
        for _ in range(N_DRAWS // 2):
            step = spread_by(factor, rng.normal(size=loc.shape))
            draws += [self.log_prob(loc + step), self.log_prob(loc - step)]
        return np.mean(draws, axis=0)

    def draw(self, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Draw at least ``n`` states, and say which cell's prior each is of."""
        times = math.ceil(n / len(self.group))
        with isolated(seed):
            # Of each cell equally often, so that the mean is one over the cells.
            states = [self._of_all(lambda prior: prior.sample()) for _ in range(times)]
        return np.concatenate(states), np.tile(np.arange(len(self.group)), times)

    def _of_all(self, value: Any) -> np.ndarray:
        return np.concatenate([_numpy(value(prior)) for prior in self.parts])

    def _of_pieces(self, value: Any, z: np.ndarray) -> np.ndarray:
        out, start = [], 0
        with torch.no_grad():
            for prior in self.parts:
                stop = start + prior.batch_shape[0]
                piece = torch.as_tensor(z[start:stop]).to(prior.mean)
                out.append(_numpy(value(prior, piece)))
                start = stop
        return np.concatenate(out)


def inapplicable(module: Any) -> str:
    """Say why the density of a module's prior is not known; empty where it is."""
    part, reason = HIERARCHICAL
    return reason if hasattr(module, part) else ""


def marginal_scale(factor: np.ndarray) -> np.ndarray:
    """Return standard deviations, which may be given by factors of covariances."""
    return factor if factor.ndim == 2 else np.sqrt(np.square(factor).sum(axis=-1))


def spread_by(factor: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Turn draws of a standard normal into deviations of each cell's normal from its mean."""
    return factor * noise if factor.ndim == 2 else np.einsum("nij,nj->ni", factor, noise)


def entropy(factor: np.ndarray) -> np.ndarray:
    """Differential entropy of normals, nats, shape ``(n_cells,)``."""
    scale = factor if factor.ndim == 2 else np.diagonal(factor, axis1=1, axis2=2)
    return np.log(scale).sum(axis=1) + 0.5 * scale.shape[1] * (1 + math.log(2 * math.pi))


def _columns(covariates: Mapping[str, Tensor], names: Iterable[str], n: int) -> np.ndarray:
    values = [covariates[COVARIATE_KEYS[name]].reshape(n, -1) for name in names]
    return np.concatenate([np.empty((n, 0)), *map(_numpy, values)], axis=1)


def _numpy(tensor: Tensor) -> np.ndarray:
    return tensor.detach().double().cpu().numpy()

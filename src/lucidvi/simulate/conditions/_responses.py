"""How cells answer to a condition, learned on latent states of labels that were seen under it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors

from lucidvi._transport import exact_plan, pot, squared_distances

#: Control cells of other labels that a cell's shift is the mean of.
N_NEIGHBOURS = 50
#: Cells of a label and condition that are matched, at most: the plan holds their pairs.
N_MATCHED = 2_000

States = NDArray[np.floating]


@dataclass(frozen=True)
class Seen:
    """Latent means of the labels that have cells under both conditions.

    Parameters
    ----------
    control, target
        By label, each of shape ``(n_cells, n_latent)``; both have the same labels.
    seed
        Seed of whatever is drawn.
    """

    control: Mapping[str, States]
    target: Mapping[str, States]
    seed: int = 0

    @property
    def shifts(self) -> States:
        """Difference of the means of each label, target less control, ``(n_labels, n_latent)``."""
        pairs = zip(self.control.values(), self.target.values(), strict=True)
        return np.stack([target.mean(axis=0) - control.mean(axis=0) for control, target in pairs])


def no_shift(z: States, seen: Seen) -> States:
    """Leave every state as it is."""
    return np.zeros_like(z)


def mean_shift(z: States, seen: Seen) -> States:
    r"""Shift every cell by the mean of the labels' shifts, each label counting the same.

    .. math:: \delta = \frac{1}{L} \sum_\ell
        (\bar z_\ell^\text{target} - \bar z_\ell^\text{control})
    """
    return np.tile(seen.shifts.mean(axis=0), (len(z), 1))


def nearest_shift(z: States, seen: Seen) -> States:
    r"""Shift each cell by the labels' shifts, weighted by its nearest control cells.

    .. math:: \delta_c = \sum_\ell w_{c\ell}
        (\bar z_\ell^\text{target} - \bar z_\ell^\text{control})

    where :math:`w_{c\ell}` is the share of label :math:`\ell` among the neighbours.
    """
    return shares_of_neighbours(z, seen) @ seen.shifts


def shares_of_neighbours(z: States, seen: Seen) -> States:
    """Share of each label among the nearest control cells, ``(n_cells, n_labels)``."""
    sizes = [len(control) for control in seen.control.values()]
    labels = np.eye(len(sizes), dtype=z.dtype)
    return _mean_of_neighbours(z, seen, np.repeat(labels, sizes, axis=0))


def transported_shift(z: States, seen: Seen) -> States:
    r"""Shift each cell as optimal transport does its nearest control cells.

    Within each label the plan :math:`\gamma` matches control with target cells at the least total
    squared distance; a control cell goes to the barycentre of those that it is matched with,

    .. math:: \delta_i = \frac{\sum_j \gamma_{ij} z_j}{\sum_j \gamma_{ij}} - z_i

    References
    ----------
    Flamary et al., JMLR 22 (2021), POT: Python Optimal Transport.
    """
    rng = np.random.default_rng(seen.seed)
    control = {label: _at_most(states, rng) for label, states in seen.control.items()}
    moved = [transport(part, _at_most(seen.target[label], rng)) for label, part in control.items()]
    return _mean_of_neighbours(z, Seen(control, seen.target), np.concatenate(moved))


def transport(control: States, target: States) -> States:
    """Return how far the plan of least squared distance moves each control cell, on average.

    Parameters
    ----------
    control, target
        States, of shapes ``(n_control, n_latent)`` and ``(n_target, n_latent)``.
    """
    otherwise = ", or take another method"
    ot = pot("`method='transport'`", "simulate", otherwise)
    first, second = np.asarray(control, np.float64), np.asarray(target, np.float64)
    plan = exact_plan(ot, squared_distances(ot, first, second))
    return plan @ second / plan.sum(axis=1, keepdims=True) - first


def _mean_of_neighbours(z: States, seen: Seen, values: States) -> States:
    """Mean value of the control cells that are nearest to each state."""
    control = np.concatenate(list(seen.control.values()))
    index = NearestNeighbors(n_neighbors=min(N_NEIGHBOURS, len(control))).fit(control)
    return values[index.kneighbors(z, return_distance=False)].mean(axis=1)


def _at_most(states: States, rng: np.random.Generator) -> States:
    return states if len(states) <= N_MATCHED else rng.permutation(states)[:N_MATCHED]


@dataclass(frozen=True)
class Method:
    """A way to predict.

    Parameters
    ----------
    shift
        Shift of each latent state, ``(n_cells, n_latent)``, of the states and what was seen.
    gene_weights
        Weights of the labels' log fold changes of genes, ``(n_cells, n_labels)``, of the same.
        None leaves log means to the decoder; otherwise cells are decoded under control, since fold
        changes are all that differs between the conditions.
    needs_covariate
        Whether the condition has to be a covariate of the model.
    package
        What it imports that may not be installed.
    """

    shift: Callable[[States, Seen], States] = no_shift
    gene_weights: Callable[[States, Seen], States] | None = None
    needs_covariate: bool = False
    package: str | None = None

    @property
    def is_installed(self) -> bool:
        """Whether what it imports is there."""
        return self.package is None or find_spec(self.package) is not None


#: The values of ``method``.
METHODS = {
    "shift": Method(mean_shift),
    "nearest": Method(nearest_shift),
    "transport": Method(transported_shift, package="ot"),
    "genes": Method(gene_weights=shares_of_neighbours),
    "decoder": Method(needs_covariate=True),
}

"""What was chosen is what is best where the truth is known."""

import numpy as np
import pytest
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra
from scipy.stats import spearmanr
from tests.dynamics.transitions.shapes import END, SPLIT, TURN, simulated, terminal_of

from lucidvi import dynamics
from lucidvi.dynamics.transitions._neighbours import Neighbours
from lucidvi.dynamics.transitions._transition_matrix import DRIFT


def surprise(known, drift):
    """Mean log loss of the fates: of cells on a branch, and of those before, which may yet choose.

    Before the split the truth is one over the number of branches, whose entropy is taken off.
    """
    terminal = terminal_of(known)
    fates = dynamics.fate_probabilities(known.z, known.velocity, terminal, drift=drift)
    logs = np.log(np.maximum(fates.to_numpy(), 1e-6))
    on_branch = (known.time > SPLIT) & (known.time < END - 0.4)
    before = known.time < SPLIT - 0.5
    own = logs[np.arange(len(logs)), known.branch]
    return -own[on_branch].mean() - logs[before].mean() - np.log(fates.shape[1])


@pytest.mark.parametrize("n_latent", [5, 15])
def test_drift(n_latent):
    """With less, cells wander to other branches; with more, noise decides before the split."""
    loss = {}
    for drift in (0.5, 1.0, DRIFT, 4.0, 6.0):
        loss[drift] = np.mean(
            [
                surprise(simulated(shape, 600, 0.15, noise, n_latent, seed), drift)
                for shape in ("bifurcation", "three-way")
                for noise in (0.5, 1.0)
                for seed in range(2)
            ]
        )
    assert min(loss, key=loss.get) == DRIFT


def shortest(known, root):
    """Time by the shortest path from the root, along which turning from the flow costs."""
    near = Neighbours.of(known.z)
    speed = np.linalg.norm(known.velocity, axis=1)[near.first]
    cosine = near.ahead(known.velocity) / np.maximum(near.distance * speed, 1e-12)
    costs = near.distance / speed * np.exp(4 * (1 - cosine))
    shape = (len(known.z), len(known.z))
    graph = csr_array((costs, (near.first, near.second)), shape=shape)
    return dijkstra(graph, indices=[root], min_only=True)


@pytest.mark.parametrize("shape", ["line", "bifurcation", "three-way", "cycle"])
def test_differences_of_time_rather_than_shortest_paths(shape):
    """Without cells near the cut of a cycle, which by their states may be at either end."""
    ours, theirs = [], []
    for noise in (0.5, 1.0):
        known = simulated(shape, 600, 0.15, noise, 15)
        root = int(known.time.argmin())
        inner = np.abs(known.time - TURN / 2) < TURN / 2 - 0.5 if shape == "cycle" else slice(None)
        time = dynamics.latent_time(known.z, known.velocity, root)
        ours.append(spearmanr(time[inner], known.time[inner])[0])
        theirs.append(spearmanr(shortest(known, root)[inner], known.time[inner])[0])
    assert np.mean(ours) > np.mean(theirs)

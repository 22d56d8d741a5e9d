"""Cells on shapes with known times, branches and velocities."""

from typing import NamedTuple

import numpy as np

#: Branches that leave the root at the time of the split, by shape.
N_BRANCHES = {"line": 1, "bifurcation": 2, "three-way": 3}
SPLIT, END, TURN = 3.0, 7.0, 2 * np.pi
#: Radius of the cycle, which takes as long as a turn: where it is cut, noise puts cells that have
#: just begun at the end.
RADIUS = 4.0


class Known(NamedTuple):
    """Cells of which everything is known.

    ``branch`` is -1 before the split, and of a cycle.
    """

    z: np.ndarray
    velocity: np.ndarray
    time: np.ndarray
    branch: np.ndarray


def simulated(shape, n=600, noise=0.1, velocity_noise=0.75, n_latent=5, seed=0):
    """Draw cells evenly over time, in a latent space that is turned at random.

    ``noise`` is that of each component of the states; ``velocity_noise`` is the length of the
    noise of a velocity, as a share of the speed.
    """
    rng = np.random.default_rng(seed)
    branch = np.full(n, -1)
    if shape == "cycle":
        time = rng.uniform(0, TURN, n)
        z, velocity = _embedded(_circle(time), n_latent), _embedded(_circle(time, 1), n_latent)
    else:
        n_branches = N_BRANCHES[shape]
        time = rng.uniform(0, SPLIT + n_branches * (END - SPLIT), n)
        after = time >= SPLIT
        branch[after] = ((time[after] - SPLIT) // (END - SPLIT)).astype(int)
        time[after] = SPLIT + (time[after] - SPLIT) % (END - SPLIT)
        angle = TURN * branch / n_branches
        away = np.maximum(time - SPLIT, 0)
        aside = np.column_stack([np.cos(angle), np.sin(angle)])
        z = np.column_stack([np.minimum(time, SPLIT) + 0.6 * away, 0.8 * away[:, None] * aside])
        velocity = np.column_stack([np.where(after, 0.6, 1), 0.8 * after[:, None] * aside])
        z, velocity = _embedded(z, n_latent), _embedded(velocity, n_latent)
    turn = np.linalg.qr(rng.normal(size=(n_latent, n_latent)))[0]
    z = z + noise * rng.normal(size=z.shape)
    speed = np.linalg.norm(velocity, axis=1, keepdims=True)
    velocity = velocity + velocity_noise * speed / np.sqrt(n_latent) * rng.normal(size=z.shape)
    return Known(z @ turn, velocity @ turn, time, branch)


def _circle(time, derivative=0):
    angle = time + derivative * np.pi / 2
    return RADIUS * np.column_stack([np.cos(angle), np.sin(angle)])


def _embedded(x, n_latent):
    return np.pad(x, [(0, 0), (0, n_latent - x.shape[1])])


def terminal_of(known):
    """Labels of the cells at the ends of the branches, None of the others."""
    ends = known.time > END - 0.4
    return np.where(ends, np.char.add("branch ", known.branch.astype(str)), None)

"""Fields whose paths are known: straight, with a growth that depends on the state alone."""

import numpy as np
import torch

from lucidvi.dynamics import VectorField
from lucidvi.nn import Networks


def straight(velocities, times=(0.0, 4.0), growth=None, *, is_stationary=False):
    """Members that move at one velocity each, ``(n_members, n_latent)``; growth by coordinates."""
    velocities = torch.tensor(np.atleast_2d(velocities), dtype=torch.float32)
    n, k = velocities.shape
    n_in = k if is_stationary else k + 1
    moving, growing = Networks(n, n_in, k, 1, 0), Networks(n, n_in, 1, 1, 0)
    with torch.no_grad():
        moving.biases[0][:, 0] = velocities
        if growth is not None:
            growing.weights[0][:, :k, 0] = torch.tensor(growth, dtype=torch.float32)
    return VectorField(
        moving,
        None if growth is None else growing,
        np.zeros(k),
        np.eye(k),
        1.0,
        np.array(times),
        1.0,
        1.0,
    )

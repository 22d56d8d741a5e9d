import numpy as np
import pytest

from lucidvi import dynamics

#: A field with known answers: cells circle once in ten units of time, and those on one side grow.
TURN, RATE = 2 * np.pi / 10, 0.3


def circling(n_cells, times, seed=0, radius=2.0):
    """States and times of cells that circle, with no growth."""
    rng = np.random.default_rng(seed)
    angle = rng.uniform(-0.5, 0.5, size=(len(times), n_cells))
    angle = angle + TURN * np.asarray(times)[:, None]
    r = radius + 0.1 * rng.normal(size=angle.shape)
    z = np.stack([r * np.cos(angle), r * np.sin(angle)], axis=-1).reshape(-1, 2)
    return z, np.repeat(times, n_cells).astype(float)


@pytest.fixture(scope="session")
def circle():
    return circling(200, [0, 1, 2, 3.5, 5])


@pytest.fixture(scope="session")
def field(circle):
    return dynamics.fit_flow(*circle, n_members=3, n_steps=500, seed=1)

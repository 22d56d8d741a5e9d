"""What is read back from axes, and every finding that has a plot."""

import numpy as np
import pytest

from lucidvi.audit import Run, across_runs


@pytest.fixture
def drawn():
    """Return a function that gives the points of each line on axes, by its label."""

    def lines(ax):
        return {line.get_label(): line.get_xydata().T for line in ax.lines}

    return lines


@pytest.fixture(scope="session")
def trainings():
    """Three trainings that agree about most: the same states with some noise."""
    rng = np.random.default_rng(0)
    z, change = 2 * rng.normal(size=(200, 4)), rng.normal(size=60)
    runs = [
        Run(z + 0.5 * rng.normal(size=z.shape), np.eye(4), 4, change + 0.1 * rng.normal(size=60))
        for _ in range(3)
    ]
    return across_runs(runs, ["given", "seed 1", "seed 2"], ("T", "B"))


@pytest.fixture(scope="session")
def findings(make_findings, trainings):
    return make_findings() | {"stability": trainings}

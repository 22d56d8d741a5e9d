"""What is read back from axes."""

import pytest


@pytest.fixture
def drawn():
    """Return a function that gives the points of each line on axes, by its label."""

    def lines(ax):
        return {line.get_label(): line.get_xydata().T for line in ax.lines}

    return lines


@pytest.fixture(scope="session")
def findings(make_findings):
    return make_findings()

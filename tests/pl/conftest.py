"""What is read back from axes, and every finding that has a plot."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from lucidvi.atlas import Calibration, Integration
from lucidvi.audit.retraining import Run, across_runs
from lucidvi.results import Setting
from lucidvi.simulate import DesignResult


@pytest.fixture(autouse=True)
def no_figure_is_left():
    """Close what pyplot would keep, and warn of after 20 figures."""
    yield
    plt.close("all")


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
    return across_runs(runs, ["model", "seed 1", "seed 2"], ("T", "B"))


@pytest.fixture(scope="session")
def findings(make_findings, trainings):
    return make_findings() | {"stability": trainings}


@pytest.fixture
def calibration():
    """Labels of 400 cells whose votes say too little."""
    rng = np.random.default_rng(0)
    truth = rng.uniform(0.5, 1, size=400)
    settings = (
        Setting(
            new_batch=new_batch,
            information=1.0,
            smoothing=0.1,
            power=2.0,
            distance=np.ones(400, np.float32),
            agreement=np.zeros(400, np.float32),
            confidence_raw=np.float32(0.4 + truth / 2),
            confidence=np.float32(truth),
            right=rng.random(400) < truth,
        )
        for new_batch in (False, True)
    )
    return Calibration(True, tuple(settings))


@pytest.fixture
def plan():
    """Powers that are all different, of two depths."""
    sizes = [(c, d, r) for r in (0.5, 1.0) for d in (4, 8, 12) for c in (100, 25, 50)]
    table = pd.DataFrame(sizes, columns=["n_cells", "n_donors", "depth_factor"])
    table["power"] = np.linspace(0.1, 0.9, len(table))
    table["power_se"] = 0.02
    table["fdr"] = np.linspace(0.03, 0.06, len(table))
    table["fdr_se"], table["n_repeats"] = 0.01, 100
    request = {"effect": -2.0, "share": 0.05, "fdr": 0.05, "test": "pseudobulk"}
    return DesignResult(table, request, pd.Series([0.2]), "5% of the genes", ("None.",))


@pytest.fixture
def integration():
    """Scores of two embeddings."""
    columns = [("bio conservation", "NMI"), ("batch correction", "iLISI"), ("total", "total")]
    values = np.random.default_rng(0).random((2, 3))
    names = ["model", "pca"]
    scores = pd.DataFrame(values, names, pd.MultiIndex.from_tuples(columns))
    seconds = pd.Series([1.5, np.nan], names)
    return Integration(scores, seconds, "cell_type", "batch", 1200, 4, 2, ())


@pytest.fixture
def results(findings, calibration, plan, integration):
    """What each function of ``lucidvi.pl`` is given, by the function's name."""
    others = {"reliability": calibration, "design": plan, "integration": integration}
    z = np.random.default_rng(0).normal(size=(200, 2))
    single = {name: (value,) for name, value in (findings | others).items()}
    fates = pd.DataFrame({"left": z[:, 0] < 0, "right": z[:, 0] >= 0}, dtype=float)
    of_cells = {"fates": (fates, z), "along_time": (z[:, 0], z[:, 1], "Gene")}
    return single | of_cells | {"stream": (z, z[:, ::-1])}

"""The example of the docs runs as it stands, and what comes out is right."""

import re
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

DOCS = Path(__file__).resolve().parents[3] / "docs" / "dynamics.md"


def test_velocities_of_a_branching():
    *_, code = re.findall(r"```python\n(.*?)```", DOCS.read_text(), flags=re.DOTALL)
    made = {}
    exec(compile(code, str(DOCS), "exec"), made)
    day, side, fates = made["day"], made["side"], made["fates"]
    assert spearmanr(made["time"], day)[0] > 0.99
    own = np.where(side > 0, fates["up"], fates["down"])
    assert own[day > 4].mean() > 0.99
    assert np.abs(fates["up"][day < 2] - 0.5).mean() < 0.1
    genes = made["genes"]
    assert genes[genes["fate"] == "up"]["gene"].iloc[0] == "Marker"
    np.testing.assert_allclose(made["steps"].sum(axis=1), 1)

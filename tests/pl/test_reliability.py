"""The reliability curve shows the calibration's own numbers."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from lucidvi import pl
from lucidvi.atlas import Calibration
from lucidvi.atlas._calibration import Setting


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


@pytest.mark.parametrize("new_batch", [False, True])
def test_points_are_bins(calibration, drawn, new_batch):
    ax = pl.reliability(calibration, new_batch=new_batch)
    shown = drawn(ax)
    for raw, name in ((True, "share of votes"), (False, "calibrated")):
        table = calibration.reliability(new_batch=new_batch, raw=raw)
        error = calibration.expected_calibration_error(new_batch=new_batch, raw=raw)
        points = shown[f"{name}: {error:.3f} off"]
        np.testing.assert_array_equal(points, table[["confidence", "accuracy"]].to_numpy().T)
        assert len(table) == 10
    assert "400 cells" in ax.get_title()


def test_given_axes(calibration):
    given, other = Figure().subplots(1, 2)
    assert pl.reliability(calibration, ax=given) is given
    assert not other.lines
    assert given.get_legend() is not None

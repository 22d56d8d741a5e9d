"""The reliability curve shows the calibration's own numbers."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from lucidvi import pl


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

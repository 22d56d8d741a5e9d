"""What each modality tells, beside the finding."""

import numpy as np

from lucidvi import pl


def test_points_are_the_shares(findings, drawn):
    found = findings["modalities"]
    ax = pl.modalities(found)
    order = np.argsort(-found.axes["variance", "all"].to_numpy(), kind="stable")
    for name in found.told.index:
        told, lost = f"told by {name} alone", f"lost without {name}"
        for label, part in ((told, "alone"), (lost, "left_out")):
            places, shares = drawn(ax)[label]
            np.testing.assert_array_equal(shares, found.axes[part, name].to_numpy()[order])
            assert (np.abs(places - np.arange(1, len(order) + 1)) < 0.5).all()

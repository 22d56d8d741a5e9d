"""The figure of a plan shows the table."""

from dataclasses import replace

import numpy as np

from lucidvi import pl


def test_lines_are_rows_of_the_table(plan):
    figure = pl.design(plan)
    assert len(figure.axes) == 2
    for ax, depth in zip(figure.axes, (0.5, 1.0), strict=True):
        lines = {bars.get_label(): bars.lines[0].get_xydata() for bars in ax.containers}
        assert list(lines) == ["4", "8", "12"]
        for donors, points in lines.items():
            here = (plan.table["depth_factor"] == depth) & (plan.table["n_donors"] == int(donors))
            rows = plan.table[here]
            expected = rows.sort_values("n_cells")[["n_cells", "power"]]
            np.testing.assert_array_equal(points, expected)


def test_says_what_is_planned_and_how_much_is_false(plan):
    figure = pl.design(plan)
    assert figure.get_suptitle() == "5% of the genes down 4-fold"
    assert figure.axes[0].get_title() == "0.5 times the depth\nrealised FDR 3.0% to 4.4%"
    assert figure.axes[1].get_title().startswith("depth of the data\n")
    assert figure.axes[0].get_ylabel() == "Power at FDR 5%"


def test_one_size(plan):
    one = replace(plan, table=plan.table[:1].assign(power_se=np.nan))
    assert len(pl.design(one).axes) == 1

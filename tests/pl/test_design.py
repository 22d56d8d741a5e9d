"""The figure of a plan shows the table."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from lucidvi import pl
from lucidvi.simulate import DesignResult


@pytest.fixture
def plan():
    """Powers that are all different, of two depths."""
    sizes = [(c, d, r) for r in (0.5, 1.0) for d in (4, 8, 12) for c in (100, 25, 50)]
    table = pd.DataFrame(sizes, columns=["cells", "donors", "depth"])
    table["power"] = np.linspace(0.1, 0.9, len(table))
    table["power_se"] = 0.02
    table["fdr"] = np.linspace(0.03, 0.06, len(table))
    table["fdr_se"], table["n_repeats"] = 0.01, 100
    request = {"effect": -2.0, "share": 0.05, "rate": 0.05, "test": "pseudobulk"}
    return DesignResult(table, request, pd.Series([0.2]), "5% of the genes", ("None.",))


def test_lines_are_rows_of_the_table(plan):
    figure = pl.design(plan)
    assert len(figure.axes) == 2
    for ax, depth in zip(figure.axes, (0.5, 1.0), strict=True):
        lines = {bars.get_label(): bars.lines[0].get_xydata() for bars in ax.containers}
        assert list(lines) == ["4", "8", "12"]
        for donors, points in lines.items():
            here = (plan.table["depth"] == depth) & (plan.table["donors"] == int(donors))
            rows = plan.table[here]
            expected = rows.sort_values("cells")[["cells", "power"]]
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

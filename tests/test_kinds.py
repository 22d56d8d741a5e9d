"""Arguments of another kind than a signature says are named, with the value and the remedy."""

import inspect
from typing import Literal

import numpy as np
import pytest

from lucidvi._kinds import check_kinds, checked, shown
from lucidvi.errors import ArgumentError, DataError


def function(
    n_cells: int = 3,
    seed: int = 0,
    batch_size: int | None = None,
    offset: int | None = None,
    dropout_rate: float = 0.1,
    silent: bool = True,
    kind: Literal["a", "b"] = "a",
    name: str | None = "a",
    anything: "list[int] | None" = None,
    untyped=2,
):
    """Take arguments of every kind."""
    return n_cells


SIGNATURE = inspect.signature(function)
GOOD = {
    "n_cells": (1, np.int64(4), 2**31 - 1),
    "seed": (0, 7),
    "batch_size": (None, 1),
    "offset": (None, -3, 0),
    "dropout_rate": (0, 0.5, np.float32(0.25)),
    "silent": (False, np.True_, 0, 1),
    "kind": ("a", "c", None),  # which texts there are, somebody else says
    "name": ("a", 3, 0.5, None, np.int64(2)),  # as a category may be
    "anything": (None, "x", [1], object()),
    "untyped": (1, 3),
}
BAD = {
    "n_cells": (0, -1, True, 1.0, "3", None, [3], np.array([1]), 10**30, np.nan),
    "seed": (-1, 0.5, None),
    "batch_size": (0, "a", True, 10**10),
    "offset": (0.5, "x"),
    "dropout_rate": (np.nan, np.inf, "a", None, 1e300, -0.1, 1.0, 1),
    "silent": (None, "yes", 2, 0.0, np.array([True, False])),
    "kind": (3, ["a"], np.array(["a"])),
    "name": (["a"], {"a": 1}, np.array("a"), np.array(["a"]), slice(3)),
    "untyped": ("x", None, 0),
}


@pytest.mark.parametrize(("name", "value"), [(k, v) for k, vs in GOOD.items() for v in vs])
def test_what_fits(name, value):
    check_kinds(SIGNATURE, {name: value})


@pytest.mark.parametrize(("name", "value"), [(k, v) for k, vs in BAD.items() for v in vs])
def test_what_does_not_fit(name, value):
    with pytest.raises(DataError, match=f"`{name}` is ") as raised:
        check_kinds(SIGNATURE, {name: value})
    assert " ".join(repr(value).split())[:40].replace("np.", "") in raised.value.problem.replace(
        "np.", ""
    ) or isinstance(value, np.ndarray | float | np.generic)
    # The remedy is code, and runs.
    given = eval(f"dict({raised.value.remedy})") if "=" in raised.value.remedy else {}
    check_kinds(SIGNATURE, given)


def test_annotations_of_scvi_tools_are_not_exact():
    check_kinds(SIGNATURE, {"n_cells": None, "name": ["a", "b"]}, exact=False)
    with pytest.raises(DataError, match="`n_cells` is 'x'"):
        check_kinds(SIGNATURE, {"n_cells": "x"}, exact=False)


def test_numbers_need_not_be_bounded():
    check_kinds(SIGNATURE, {"n_cells": 0, "batch_size": -1}, bounded=False)


def test_a_function_that_is_checked():
    call = checked(function)
    assert call(5) == 5
    assert inspect.signature(call) == SIGNATURE
    with pytest.raises(ArgumentError, match="`function` does not take `n_cell`") as raised:
        call(n_cell=3)
    assert "did you mean 'n_cells'?" in raised.value.remedy
    with pytest.raises(DataError, match="`n_cells` is 'x'"):
        call("x")


def test_values_are_shown_in_one_line():
    assert shown(1.5) == "1.5"
    assert shown("x") == "'x'"
    assert shown([1, 2]) == "[1, 2]"
    assert shown(np.arange(2)) == "array([0, 1]), a ndarray"
    assert len(shown("x" * 1_000)) == 60
    assert "\n" not in shown(np.zeros((30, 30)))

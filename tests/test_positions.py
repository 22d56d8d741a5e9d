"""Positions of cells and genes, as people write them."""

import numpy as np
import pandas as pd
import pytest

from lucidvi._positions import cell_positions, name_positions
from lucidvi.errors import DataError, LucidVIError, MissingKeyError

CELLS = pd.Index([f"c{i}" for i in range(6)])
GENES = pd.Index(["CD3D", "CD3E", "MS4A1", "NKG7"])


@pytest.mark.parametrize(
    ("indices", "expected"),
    [
        (None, [0, 1, 2, 3, 4, 5]),
        ([3, 1, 1], [3, 1, 1]),
        ([-1, 0], [5, 0]),
        (2, [2]),
        (np.array([4], dtype=np.uint8), [4]),
        (range(2), [0, 1]),
        (slice(4, None), [4, 5]),
        ([True, False, False, True, False, False], [0, 3]),
        (np.array([True, False, False, True, False, False], dtype=object), [0, 3]),
        (pd.Series([False, True] * 3, index=CELLS), [1, 3, 5]),
        (pd.array([False, True] * 3, dtype="boolean"), [1, 3, 5]),
        (["c4", "c0", "c4"], [4, 0, 4]),
        (CELLS[::-1], [5, 4, 3, 2, 1, 0]),
        (pd.array(["c2"], dtype="string"), [2]),
        (pd.Categorical(["c2", "c1"]), [2, 1]),
        ("c3", [3]),
    ],
)
def test_cells_are_chosen_in_every_way(indices: object, expected: list[int]):
    assert cell_positions(indices, CELLS).tolist() == expected


@pytest.mark.parametrize(
    ("indices", "message"),
    [
        ([], "empty"),
        (slice(6, None), "none of the 6 cells"),
        ([False] * 6, "none of the 6 cells"),
        ([True] * 5, "mask of 5 values, but there are 6 cells"),
        ([6], "position 6, but there are 6 cells"),
        ([-7, 1], "position -7"),
        ([0.5], "float64"),
        ([[0, 1]], "shape"),
        (["c1", "C99"], "C99"),
    ],
)
def test_what_chooses_no_cells_says_so(indices: object, message: str):
    with pytest.raises(LucidVIError, match=message):
        cell_positions(indices, CELLS)


def test_repeated_names_of_cells():
    names = pd.Index(["a", "b", "a", "c"])
    assert cell_positions(["c", "b"], names).tolist() == [3, 1]
    with pytest.raises(DataError, match="several cells"):
        cell_positions(["b", "a"], names)
    with pytest.raises(DataError, match="'d'"):
        cell_positions(["d"], names)


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        (None, [0, 1, 2, 3]),
        (["NKG7", "CD3D"], [3, 0]),
        ("MS4A1", [2]),
        (GENES[2:], [2, 3]),
        ([False, True, False, True], [1, 3]),
    ],
)
def test_genes_come_in_the_order_asked_for(chosen: object, expected: list[int]):
    assert name_positions(chosen, GENES, "gene_list").tolist() == expected


def test_an_unknown_gene_is_an_error_with_the_nearest_names():
    with pytest.raises(MissingKeyError, match=r"'CD3G'.*\n.*'CD3D'"):
        name_positions(["CD3D", "CD3G"], GENES, "gene_list")
    with pytest.raises(DataError, match="none of the genes"):
        name_positions([], GENES, "gene_list")
    with pytest.raises(DataError, match="mask of 2 values"):
        name_positions([True, False], GENES, "gene_list")

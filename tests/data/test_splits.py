"""Training, validation and test cells: positions, masks, names; and what cannot be."""

import re

import numpy as np
import pandas as pd
import pytest

from lucidvi.data._splits import splits
from lucidvi.errors import DataError
from lucidvi.model import SCVI

N = 12
NAMES = pd.Index([f"cell{i}" for i in range(N)])
I = np.arange(N)  # noqa: E741
TRAIN, VALIDATION, TEST = I[:8], I[8:11], I[11:]

#: Ways to say the same three sets.
SAME = {
    "positions": [TRAIN, VALIDATION, TEST],
    "lists": [list(TRAIN), list(VALIDATION), list(TEST)],
    "masks": [I < 8, (I >= 8) & (I < 11), I == 11],
    "lists of booleans": [list(I < 8), list((I >= 8) & (I < 11)), list(I == 11)],
    "series": [pd.Series(I < 8, index=NAMES), pd.Series(VALIDATION), pd.Series(TEST)],
    "names": [NAMES[:8], list(NAMES[8:11]), NAMES[11:].to_numpy()],
    "mixed": [I < 8, NAMES[8:11], [11]],
    "negative": [TRAIN, [-4, -3, -2], [-1]],
    "small integers": [TRAIN.astype("int8"), VALIDATION.astype("uint16"), TEST],
    "tuple": (TRAIN, VALIDATION, TEST),
    "test left out": [TRAIN, VALIDATION],
    "test empty": [TRAIN, VALIDATION, []],
    "test None": [TRAIN, VALIDATION, None],
    "test an empty mask": [I < 8, (I >= 8) & (I < 11), np.zeros(N, dtype=bool)],
    "test an empty array of floats": [TRAIN, VALIDATION, np.array([])],
}


@pytest.mark.parametrize("how", SAME)
def test_the_same_sets(how):
    for got, want in zip(splits(SAME[how], NAMES), (TRAIN, VALIDATION, TEST), strict=True):
        np.testing.assert_array_equal(got, want)
        assert got.dtype.kind == "i"


@pytest.mark.parametrize("given", [[TRAIN], [I < 8], [TRAIN, None], [TRAIN, [], []]])
def test_all_other_cells_validate(given):
    got = splits(given, NAMES)
    assert [list(cells) for cells in got] == [list(range(8)), [8, 9, 10, 11], []]


def test_a_test_set_without_a_validation_set():
    got = splits([TRAIN, None, TEST], NAMES)
    assert [list(cells) for cells in got] == [list(range(8)), [8, 9, 10], [11]]


def test_the_order_is_kept():
    assert list(splits([[3, 1, 2]], NAMES)[0]) == [3, 1, 2]


def test_everything_trains():
    assert [len(cells) for cells in splits([I], NAMES)] == [N, 0, 0]


ERRORS = {
    "no list": (np.arange(3), "`external_indexing` is a ndarray"),
    "a mask in no list": (I < 8, "`external_indexing` is a ndarray"),
    "text": ("cell1", "`external_indexing` is a str"),
    "no set": ([], "`external_indexing` is a list of 0"),
    "positions in no list": ([1, 2, 3], "has single cells for sets"),
    "names in no list": (["cell1", "cell2"], "has single cells for sets"),
    "many": ([TRAIN, VALIDATION, TEST, TEST], "is a list of 4"),
    "nothing to train on": ([[], I], "the training set, is empty"),
    "a mask of nothing": ([I < 0, I], "the training set, is empty"),
    "twice": ([[0, 1, 1]], "has 1 cells more than once, the first of them 'cell1' (position 1)"),
    "twice by its negative": ([[0, N - 1, -1]], "the first of them 'cell11' (position 11)"),
    "overlap": ([TRAIN, I[7:]], "1 cells both in the training and in the validation set"),
    "overlap of masks": ([I < 8, I < 11], "8 cells both in the training and in the validation"),
    "overlap with the test set": ([TRAIN, None, I[7:]], "in the training and in the test set"),
    "left out": ([TRAIN, VALIDATION[:2], TEST], "leaves out 1 of 12 cells, the first of them 'c"),
    "out of range": ([TRAIN, [8, 12]], "`external_indexing[1]` has position 12"),
    "short mask": ([np.ones(3, dtype=bool)], "`external_indexing[0]` is a mask of 3 values"),
    "unknown name": ([NAMES[:8], ["cell8", "zell9"]], "`external_indexing[1]` names 1"),
    "fractions": ([[0.5, 1.0]], "`external_indexing[0]` has dtype float64"),
}


@pytest.mark.parametrize("what", ERRORS)
def test_what_cannot_be(what):
    given, message = ERRORS[what]
    with pytest.raises(DataError, match=re.escape(message)) as caught:
        splits(given, NAMES)
    assert caught.value.remedy


def test_names_that_repeat_need_positions():
    names = pd.Index(["a", "a", "b"])
    assert [list(cells) for cells in splits([[0, 2]], names)] == [[0, 2], [1], []]
    with pytest.raises(DataError, match="several cells"):
        splits([["a"]], names)


@pytest.mark.parametrize("how", ["masks", "names", "positions"])
def test_a_model_trains_on_them(make_adata, how):
    adata = make_adata(N)
    SCVI.setup_anndata(adata)
    model = SCVI(adata, n_hidden=8, n_latent=2)
    given = list(SAME[how])
    model.train(
        max_epochs=1,
        datasplitter_kwargs={"external_indexing": given},
        check_val_every_n_epoch=1,
        enable_progress_bar=False,
    )
    np.testing.assert_array_equal(model.train_indices, TRAIN)
    np.testing.assert_array_equal(model.validation_indices, VALIDATION)
    np.testing.assert_array_equal(model.test_indices, TEST)
    assert "elbo_validation" in model.history
    assert len(given) == 3  # scvi-tools fills up the list that it is given

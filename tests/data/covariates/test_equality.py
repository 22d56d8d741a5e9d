"""When two values are the same category."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lucidvi.data import category_text, category_texts
from lucidvi.data.covariates._equality import AmbiguousError, Categories, distinct_values, extended

ONE = [1, np.int8(1), np.uint64(1), 1.0, np.float16(1), np.float32(1), True, np.bool_(True)]
SPELLED = ["1", "1.0", "True", "TRUE", "true", np.str_("1"), b"1", np.bytes_(b"True")]
OTHER = [
    2,
    1.5,
    np.nextafter(1, 2),
    False,
    "01",
    " 1",
    "1e0",
    "+1",
    "one",
    "1,0",
    "tRUE",
    "",
    "nan",
]


@pytest.mark.parametrize("known", [*ONE, *SPELLED], ids=repr)
@pytest.mark.parametrize("value", [*ONE, *SPELLED], ids=repr)
def test_one_is_one(known, value):
    """But for two texts, which are equal if they are the same."""
    texts = [v.decode() if isinstance(v, bytes) else v for v in (known, value)]
    both_text = all(isinstance(text, str) for text in texts)
    same = texts[0] == texts[1] if both_text else True
    assert Categories(["a", known]).position(value) == (1 if same else -1)


@pytest.mark.parametrize("value", OTHER, ids=repr)
@pytest.mark.parametrize("known", [1, 1.0, True, "1"])
def test_others_are_not(known, value):
    assert Categories([known]).position(value) == -1
    assert Categories([value]).position(known) == -1


@pytest.mark.parametrize("value", ["01", " 1", "1e0", "+1", "1.00"])
def test_what_seems_to_be_meant(value):
    assert Categories(["a", 1]).resembling(value) == [1]
    assert Categories([True]).resembling(value) == [0]
    assert Categories([value]).resembling(1.0) == [0]
    assert Categories(["1"]).resembling(value) == []  # names, such as of plates


@pytest.mark.parametrize(("first", "second"), [("1", "1.0"), ("True", "1"), ("0.0", "False")])
def test_texts_that_spell_one_number_differently(first, second):
    assert Categories([first]).resembling(second) == [0]


def test_the_same_kind_comes_first():
    both = Categories(["1.0", "1", "True"])
    assert [both.position(value) for value in (1, 1.0, True, "1.0")] == [1, 0, 2, 0]
    mixed = Categories(["1", 1])
    assert [mixed.position(value) for value in ("1", 1.0)] == [0, 1]
    with pytest.raises(AmbiguousError):
        Categories(["1", "1.0"]).position(True)


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_decimals_of_less_precision(kind):
    """0.1 has one text in all of them, and is found by it."""
    for known in ([0.1, 0.2], ["0.1", "0.2"], np.array([0.1, 0.2], dtype=np.float32)):
        assert Categories(list(known)).position(kind(0.2)) == 1
    assert category_text(kind(0.1)) == "0.1"
    upcast = float(np.float32(0.1))
    assert Categories([np.float32(0.1)]).position(upcast) == 0


def test_integers_beyond_the_precision_of_floats():
    large = 2**53
    assert Categories([large, large + 1]).position(large + 1) == 1
    assert Categories([large, large + 1]).position(str(large + 1)) == 1
    assert Categories([large]).position(float(large)) == 0


NUMBERS = st.integers(-5, 5) | st.floats(-3, 3) | st.booleans()
# To pandas before 3.0, text ends at a character of zero: "" and "\0" are one category.
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=3)


@given(st.lists(NUMBERS) | st.lists(TEXTS))
def test_a_value_is_found_by_itself_and_by_its_text(values):
    codes, distinct = distinct_values(pd.Series(values, dtype=object))
    known, texts = Categories(distinct), Categories([category_text(value) for value in distinct])
    assert [known.position(value) for value in values] == list(codes)
    assert [texts.position(value) for value in values] == list(codes)
    assert [known.position(category_text(value)) for value in values] == list(codes)


@given(st.lists(st.integers(0, 9), min_size=1), st.sampled_from(["int8", "float32", "string"]))
def test_texts_of_a_column(values, dtype):
    column = pd.Series(values).astype(dtype)
    expected = [str(value) for value in values]
    assert list(category_texts(column)) == expected
    assert list(category_texts(column.astype("category"))) == expected
    assert list(category_texts(pd.Categorical(values, categories=range(12)))) == expected


def test_what_is_missing_is_none():
    for column in (pd.Series(["a", None]), pd.Categorical(["a", None]), pd.array([1, None])):
        assert category_texts(column)[1] is None


@pytest.mark.parametrize(
    ("known", "new", "expected"),
    [
        ([1, 2], [4.0, 3.0], [1, 2, 3, 4]),
        ([1, 2], ["10", "9"], [1, 2, 9, 10]),
        ([1.0, 2.0], [np.int8(3)], [1.0, 2.0, 3.0]),
        ([False, True], [2], [0, 1, 2]),
        (["1", "2"], [10, 9.0], ["1", "2", "10", "9"]),
        ([1, 2], ["c", 3], ["1", "2", "3", "c"]),
        ([True, False], ["maybe"], ["True", "False", "maybe"]),
        (["b", "a"], ["d", "c"], ["b", "a", "c", "d"]),
        ([1, 2], [], [1, 2]),
    ],
)
def test_new_categories_come_behind_the_others(known, new, expected):
    """In one kind, so that scvi-tools can sort them; all are found there."""
    both = extended(np.array(known), new)
    assert both.tolist() == expected
    assert [type(value) for value in both.tolist()] == [type(value) for value in expected]
    assert len(np.unique(both)) == len(expected)
    assert [Categories(list(both)).position(value) for value in known] == list(range(len(known)))
    assert min((Categories(list(both)).position(value) for value in new), default=9) >= len(known)

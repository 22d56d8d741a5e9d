"""Groups that exist are compared, however they are named; others are refused."""

import numpy as np
import pandas as pd
import pytest
import torch

from lucidvi.errors import DataError, LucidVIError, MissingKeyError, UnknownModeError
from lucidvi.model import SCVI

QUICK = {"n_samples_overall": 200, "silent": True}
T, B = "adata.obs['label'] == 'T'", "adata.obs['label'] == 'B'"


def seeded(method, *args, **kwargs):
    np.random.seed(0)  # noqa: NPY002 (scvi-tools draws from the global generator)
    torch.manual_seed(0)
    return method(*args, **kwargs)


@pytest.fixture(scope="module")
def model(make_adata):
    """Return a trained model; no test changes its cells for good."""
    adata = make_adata(60, seed=5)
    SCVI.setup_anndata(adata, batch_key="batch")
    model = SCVI(adata, n_hidden=8, n_latent=2)
    model.train(max_epochs=5)
    return model


@pytest.fixture
def compare(model):
    return lambda **kwargs: seeded(model.differential_expression, **QUICK, **kwargs)


WAYS = {
    "positions": lambda adata, mask: np.flatnonzero(mask),
    "list": lambda adata, mask: np.flatnonzero(mask).tolist(),
    "negative": lambda adata, mask: np.flatnonzero(mask) - 60,
    "repeated": lambda adata, mask: np.repeat(np.flatnonzero(mask), 2),
    "mask": lambda adata, mask: mask,
    "Series": lambda adata, mask: pd.Series(mask, index=adata.obs_names),
    "nullable": lambda adata, mask: pd.array(mask, dtype="boolean"),
    "names": lambda adata, mask: adata.obs_names[mask],
    "query": lambda adata, mask: f"label == '{adata.obs['label'].astype(str)[mask].iloc[0]}'",
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("with_rest", [False, True])
def test_cells_of_a_group_are_chosen_in_every_way(model, compare, way, with_rest):
    adata = model.adata
    masks = [(adata.obs["label"] == label).to_numpy() for label in "TB"]
    second = {} if with_rest else {"idx2": WAYS[way](adata, masks[1])}
    got = compare(idx1=WAYS[way](adata, masks[0]), **second)
    group2 = {} if with_rest else {"group2": "B"}
    want = compare(groupby="label", group1="T", **group2)
    pd.testing.assert_frame_equal(got, want.drop(columns=["comparison", "group1", "group2"]))


def test_a_query_means_cells_and_not_their_names(make_adata):
    """scvi-tools takes every cell that is called as one that the query finds."""
    adata = make_adata(40)
    adata.obs_names = [f"barcode{i // 2}" for i in range(40)]
    adata.obs["first"] = np.arange(40) % 2 == 0
    SCVI.setup_anndata(adata)
    model = SCVI(adata, n_hidden=8, n_latent=2)
    model.train(max_epochs=1)
    got = model.differential_expression(idx1="first", **QUICK)
    want = pd.Series(adata.X[::2].toarray().mean(axis=0), index=adata.var_names)
    np.testing.assert_allclose(got["raw_mean1"], want[got.index], rtol=1e-5)


MISSING = {
    "Int64": pd.array([None] * 5 + [1, 0] * 27 + [1], dtype="Int64"),
    "Float64": pd.array([None] * 5 + [1, 0] * 27 + [1], dtype="Float64"),
    "boolean": pd.array([None] * 5 + [True, False] * 27 + [True], dtype="boolean"),
    "string": pd.array([None] * 5 + ["1", "0"] * 27 + ["1"], dtype="string"),
    "object": np.array([None] * 5 + ["1", "0"] * 27 + ["1"], dtype=object),
    "float": np.array([np.nan] * 5 + [1, 0] * 27 + [1]),
    "category": pd.Categorical([None] * 5 + ["1", "0"] * 27 + ["1"]),
    "category of integers": pd.Categorical([None] * 5 + [1, 0] * 27 + [1]),
    "category of Int64": pd.Series([None] * 5 + [1, 0] * 27 + [1], dtype="Int64")
    .astype("category")
    .array,
}


@pytest.mark.parametrize("kind", MISSING)
def test_cells_without_a_value_belong_to_the_rest(model, compare, kind):
    adata = model.adata
    adata.obs["state"] = MISSING[kind]
    before = adata.obs["state"].copy()
    ones = np.arange(60) % 2 == 1
    ones[:5] = False
    value = adata.obs["state"].iloc[5]
    want = compare(idx1=ones)
    got = compare(groupby="state", group1=value)
    pd.testing.assert_frame_equal(got.drop(columns=["comparison", "group1", "group2"]), want)
    against = compare(groupby="state", group1=[value], group2=adata.obs["state"].iloc[6])
    zeros = ~ones & (np.arange(60) >= 5)
    want = compare(idx1=ones, idx2=zeros)
    pd.testing.assert_frame_equal(against[want.columns], want)
    each = compare(groupby="state")
    assert each["comparison"].nunique() == 2
    pd.testing.assert_series_equal(adata.obs["state"], before)
    assert "_scvi_temp_de" not in adata.obs


def test_categories_without_cells_are_passed_over(model, compare):
    label = model.adata.obs["label"].astype(str)
    model.adata.obs["kind"] = pd.Categorical(label, categories=["none", "T", "B", "nil"])
    got = compare(groupby="kind")
    assert list(got["group1"].unique()) == ["T", "B"]
    pd.testing.assert_frame_equal(
        got[got["group1"] == "T"], compare(groupby="label", group1="T").loc[lambda t: t.index]
    )


@pytest.mark.parametrize(
    ("values", "name"), [([1, 2], 1.0), ([1.0, 2.0], 1), ([True, False], 1), ([1, 2], np.int8(1))]
)
def test_equal_values_are_equal(model, compare, values, name):
    model.adata.obs["number"] = np.array(values)[np.arange(60) % 2]
    got = compare(groupby="number", group1=name)
    want = compare(idx1=np.arange(60) % 2 == 0)
    pd.testing.assert_frame_equal(got[want.columns], want)


REFUSED = {
    "no such group": ({"groupby": "label", "group1": "Q"}, "which no cell has", "or another"),
    "spelled": ({"groupby": "label", "group1": "t"}, "which no cell has", "group1='T'?"),
    "second": ({"groupby": "label", "group1": "T", "group2": "b"}, "`group2`", "group2='B'?"),
    "text of a number": ({"groupby": "n", "group1": "1"}, "`group1` is '1'", "group1=1?"),
    "in a list": ({"groupby": "label", "group1": ["T", "Bb"]}, "'Bb'", "group1='B'?"),
    "none": ({"groupby": "label", "group1": []}, "empty", "group1=None"),
    "both the same": ({"groupby": "label", "group1": "T", "group2": "T"}, "both 'T'", "None"),
    "one group": ({"groupby": "one"}, "in all cells", "groupby=..."),
    "all of it": ({"groupby": "one", "group1": "x"}, "All cells have 'x'", "groupby=..."),
    "no value": ({"groupby": "nothing"}, "no value in all cells", "groupby=..."),
    "short mask": ({"idx1": [True, False]}, "mask of 2 values", "one value a cell"),
    "short second mask": ({"idx1": [0], "idx2": [True]}, "`idx2` is a mask", "one value"),
    "empty mask": ({"idx1": np.zeros(60, dtype=bool)}, "none of the 60 cells", "at least"),
    "empty": ({"idx1": []}, "empty", "at least"),
    "too far": ({"idx1": [60]}, "position 60", "0 to 59"),
    "no such cell": ({"idx1": ["cell1", "cel2"]}, "'cel2'", "'cell2'"),
    "overlap": ({"idx1": [1, 2], "idx2": [2, 3]}, "1 cells in common: 'cell2'", "setdiff1d"),
    "all cells": ({"idx1": range(60)}, "all 60 cells", "fewer"),
    "query of none": ({"idx1": "label == 'Q'"}, "holds for none", "some cells"),
    "no query": ({"idx1": "lable == 'T'"}, "no query of adata.obs", "'label'"),
    "second alone": ({"idx2": [1]}, "`idx1` does not say", "`idx1`"),
    "subset": (
        {"groupby": "label", "group1": "T", "subset_idx": "label == 'B'"},
        "which no cell has",
        "group1='B'",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_groups_that_do_not_exist_are_refused(model, compare, case):
    kwargs, problem, remedy = REFUSED[case]
    obs = model.adata.obs
    obs["n"], obs["one"], obs["nothing"] = np.arange(60) % 2, "x", np.nan
    before = obs.copy()
    with pytest.raises(DataError, match=problem) as error:
        compare(**kwargs)
    assert remedy in error.value.remedy
    pd.testing.assert_frame_equal(model.adata.obs, before)


@pytest.mark.parametrize("key", [None, "lable", "Label", 3])
def test_columns_that_do_not_exist_are_refused(model, compare, key):
    asks = {
        "groupby": [compare, model.get_inference_gap],
        "sample_key": [model.differential_abundance],
    }
    for argument, methods in asks.items():
        for ask in methods if key is not None else [methods[0]]:
            with pytest.raises(MissingKeyError, match=rf"`{argument}` is {key!r}") as error:
                ask(**{argument: key})
            assert key in (None, 3) or error.value.remedy == "did you mean 'label'?"
            assert "_scvi" not in str(error.value)


def test_several_second_groups_are_named_by_their_cells(model, compare):
    with pytest.raises(DataError, match="names 2 groups") as error:
        compare(groupby="donor", group1="0", group2=["1", "2"])
    adata = model.adata
    got = eval(f"compare({error.value.remedy})", {"compare": compare, "adata": adata})
    donor = adata.obs["donor"].astype(str)
    want = compare(idx1=(donor == "0").to_numpy(), idx2=donor.isin(["1", "2"]).to_numpy())
    pd.testing.assert_frame_equal(got, want)


def test_the_rest_of_a_subset_is_within_it(model, compare):
    """Of scvi-tools it is every cell outside of the group: findings/scvi_subset_rest.sh."""
    adata, subset = model.adata, np.arange(0, 60, 2)
    got = compare(groupby="donor", group1="0", subset_idx=subset)
    donor = adata.obs["donor"].astype(str).to_numpy()
    first = np.intersect1d(subset, np.flatnonzero(donor == "0"))
    want = compare(idx1=first, idx2=np.setdiff1d(subset, first))
    pd.testing.assert_frame_equal(got[want.columns], want)
    every = compare(groupby="donor", subset_idx=subset)
    counts = pd.Series(adata.X[np.setdiff1d(subset, first)].toarray().mean(axis=0), got.index)
    rest = every.loc[every["group1"] == "0", "raw_mean2"]
    np.testing.assert_allclose(np.sort(rest), np.sort(counts), rtol=1e-5)


def test_modes(compare):
    with pytest.raises(UnknownModeError, match="Mode chnage not recognized") as error:
        compare(groupby="label", mode="chnage")
    assert error.value.remedy == "did you mean 'change'?"


def test_statistics_are_those_of_the_counts_asked_about(model):
    """scvi-tools keeps the totals of a first call in ``obs``, and copies take them along."""
    whole = model.adata.copy()
    model.differential_expression(whole, groupby="label", group1="T", **QUICK)
    deeper = whole.copy()
    deeper.X = deeper.X.multiply(np.arange(1, 61)[:, None]).tocsr()
    got = model.differential_expression(deeper, groupby="label", group1="T", **QUICK)
    is_t = (deeper.obs["label"] == "T").to_numpy()
    counts = deeper.X.toarray()
    share = 1e4 * (counts / counts.sum(axis=1, keepdims=True))[is_t].mean(axis=0)
    want = pd.Series(share, index=deeper.var_names)
    np.testing.assert_allclose(got["raw_normalized_mean1"], want[got.index], rtol=1e-4)


def test_samples_without_a_value_are_refused(model):
    adata = model.adata.copy()
    adata.obs["sample"] = ["a"] * 30 + [None] * 30
    with pytest.raises(DataError, match=r"missing .* in 30 of 60 cells") as error:
        model.differential_abundance(adata, sample_key="sample")
    places = {"adata": adata}
    exec(error.value.remedy, places)
    model.differential_abundance(places["adata"], sample_key="sample")
    assert list(places["adata"].obsm["da_log_probs"].columns) == ["a"]


def test_minified_cells_have_no_statistics(model):
    mean, variance = model.get_latent_representation(return_dist=True)
    adata = model.adata.copy()
    adata.obsm["scvi_latent_qzm"], adata.obsm["scvi_latent_qzv"] = mean, variance
    adata.obs["observed_lib_size"] = np.asarray(adata.X.sum(axis=1)).ravel()
    adata.uns["_scvi_adata_minify_type"] = "latent_posterior_parameters"
    adata.X = None
    ask = {"groupby": "label", "group1": "T", **QUICK}
    with pytest.warns(UserWarning, match="Count statistics make no sense"):
        got = seeded(model.differential_expression, adata, **ask)
    want = seeded(model.differential_expression, all_stats=False, **ask)
    pd.testing.assert_frame_equal(got, want, rtol=1e-3)
    with pytest.raises(LucidVIError, match="`pseudocounts` are estimated from counts"):
        model.differential_expression(adata, mode="change", **ask)

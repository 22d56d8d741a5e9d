"""Differential expression: planted effects are found, every argument at work."""

import numpy as np
import pandas as pd
import pytest

from lucidvi.model.expression._pairs import Side

QUICK = {"n_samples_overall": 1000, "silent": True}
T_OR_B = {"groupby": "label", "group1": "T", "group2": "B"}


def columns(result, *names):
    return result.sort_index()[list(names)].to_numpy().squeeze()


def assert_alike(got, want):
    """Two results of sampling: the same columns, the same numbers but for the draws."""
    assert list(got.columns) == list(want.columns)
    got, want = got.sort_index(), want.sort_index()
    for name in got.columns:
        if name.startswith("scale"):
            np.testing.assert_allclose(got[name], want[name], rtol=0.2, err_msg=name)
        elif name == "pseudocounts":  # a largest value of the draws; expression/test_comparison.py
            np.testing.assert_allclose(got[name], want[name], rtol=0.4, err_msg=name)
        elif name.startswith(("proba", "lfc_mean", "lfc_median")):
            np.testing.assert_allclose(got[name], want[name], atol=0.15, rtol=0.1, err_msg=name)
        elif name.startswith(("raw", "non_zeros", "delta", "comparison", "group")):
            pd.testing.assert_series_equal(got[name], want[name], check_exact=False, rtol=1e-5)


@pytest.fixture
def in_t(ours):
    return (ours.adata.obs["label"] == "T").to_numpy()


@pytest.fixture
def raw(ours, in_t):
    """Mean share of each gene in the two groups, in the order of sorted gene names."""
    counts = ours.adata.X.toarray()
    share = pd.DataFrame(counts / counts.sum(1, keepdims=True), columns=ours.adata.var_names)
    return share[in_t].mean().sort_index(), share[~in_t].mean().sort_index()


# -- the two modes ----------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["vanilla", "change"])
def test_planted_effects_are_found(both, raw, mode):
    got, want = both("differential_expression", mode=mode, **T_OR_B, **QUICK)
    assert_alike(got, want)
    planted = np.log2((raw[0] + 1e-3) / (raw[1] + 1e-3))
    clear, absent = (planted.abs() > 1.5).to_numpy(), (planted.abs() < 0.2).to_numpy()
    assert clear.sum() >= 4
    assert absent.sum() >= 1
    if mode == "vanilla":
        assert np.corrcoef(planted, columns(got, "bayes_factor"))[0, 1] > 0.7
        assert (np.sign(columns(got, "bayes_factor")) == np.sign(planted))[clear].all()
    else:
        assert np.corrcoef(planted, columns(got, "lfc_mean"))[0, 1] > 0.9
        assert columns(got, "proba_de")[clear].min() > columns(got, "proba_de")[absent].max()
    np.testing.assert_allclose(columns(got, "scale1"), raw[0], rtol=0.3, atol=0.03)
    np.testing.assert_allclose(columns(got, "scale2"), raw[1], rtol=0.3, atol=0.03)


def test_vanilla_columns_are_those_of_their_definition(both):
    got, _ = both("differential_expression", mode="vanilla", **T_OR_B, **QUICK)
    m1, m2 = got["proba_m1"], got["proba_m2"]
    np.testing.assert_allclose(m1 + m2, 1)
    np.testing.assert_allclose(got["bayes_factor"], np.log(m1 + 1e-8) - np.log(m2 + 1e-8))
    assert got["bayes_factor"].is_monotonic_decreasing
    default, _ = both("differential_expression", **T_OR_B, **QUICK)
    pd.testing.assert_frame_equal(got, default)


@pytest.mark.parametrize("fdr_target", [0.05, 0.15])
def test_false_discovery_rate_is_that_of_its_definition(both, fdr_target):
    got, _ = both(
        "differential_expression",
        mode="change",
        delta=1.0,
        fdr_target=fdr_target,
        **T_OR_B,
        **QUICK,
    )
    called = got[f"is_de_fdr_{fdr_target}"]
    missed = np.sort(1 - got["proba_de"])
    expected_fdr = np.cumsum(missed) / np.arange(1, 21)
    assert called.sum() == (expected_fdr <= fdr_target).sum()
    assert 0 < called.sum() < 20
    assert (1 - got["proba_de"])[called].mean() <= fdr_target
    assert got["proba_de"][called].min() >= got["proba_de"][~called].max()


def test_larger_effects_are_rarer(both):
    found = []
    for delta in (0.1, 0.5, 2.0):
        got, _ = both("differential_expression", mode="change", delta=delta, **T_OR_B, **QUICK)
        assert (got["delta"] == delta).all()
        found.append(columns(got, "proba_de"))
    assert (found[0] >= found[1]).all()
    assert (found[1] >= found[2]).all()
    assert found[0].mean() > found[2].mean() + 0.2


def test_further_arguments_reach_the_computation(both):
    def change(**kwargs):
        ours, theirs = both(
            "differential_expression", mode="change", **T_OR_B, silent=True, **kwargs
        )
        assert_alike(ours, theirs)
        return ours

    few = {"n_samples_overall": 400}
    three, two = change(**few), change(test_mode="two", **few)
    assert (columns(two, "proba_de") >= columns(three, "proba_de")).all()
    assert (change(pseudocounts=0.05, **few)["pseudocounts"] == 0.05).all()
    credible = change(cred_interval_lvls=[0.5, 0.9], **few)
    inner = (
        credible["lfc_confidence_interval_0.5_max"] - credible["lfc_confidence_interval_0.5_min"]
    )
    outer = (
        credible["lfc_confidence_interval_0.9_max"] - credible["lfc_confidence_interval_0.9_min"]
    )
    assert (inner < outer).all()
    difference = change(change_fn=lambda x, y, pseudocounts: x - y, **few)
    np.testing.assert_allclose(
        difference["lfc_mean"], difference["scale1"] - difference["scale2"], atol=1e-5
    )
    never = change(m1_domain_fn=lambda samples: (samples > 1e6, samples < -1e6), **few)
    assert (never["proba_de"] == 0).all()


def test_a_mode_that_does_not_exist(ours):
    with pytest.raises(NotImplementedError, match="Mode fold not recognized"):
        ours.differential_expression(mode="fold", **T_OR_B, **QUICK)


# -- the groups -------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["indices", "mask", "query"])
def test_groups_by_cells(both, in_t, form):
    groups = {
        "indices": (np.flatnonzero(in_t), np.flatnonzero(~in_t)),
        "mask": (in_t, ~in_t),
        "query": ("label == 'T'", "label == 'B'"),
    }[form]
    got, want = both("differential_expression", idx1=groups[0], idx2=groups[1], **QUICK)
    assert_alike(got, want)
    reference, _ = both("differential_expression", **T_OR_B, **QUICK)
    pd.testing.assert_frame_equal(got, reference.drop(columns=["comparison", "group1", "group2"]))


def test_first_group_against_the_rest(both, in_t, ours):
    subset = np.flatnonzero(in_t)[:20]
    got, _ = both("differential_expression", idx1=subset, **QUICK)
    rest = np.setdiff1d(np.arange(150), subset)
    reference, _ = both("differential_expression", idx1=subset, idx2=rest, **QUICK)
    pd.testing.assert_frame_equal(got, reference)
    counts = pd.DataFrame(ours.adata.X[subset].toarray(), columns=ours.adata.var_names)
    np.testing.assert_allclose(columns(got, "raw_mean1"), counts.mean().sort_index(), rtol=1e-5)
    assert "_scvi_temp_de" not in ours.adata.obs


def test_every_group_in_turn(both):
    got, _ = both("differential_expression", groupby="donor", **QUICK)
    assert list(got["comparison"].unique()) == [f"{donor} vs Rest" for donor in "0123"]
    assert len(got) == 4 * 20
    two, _ = both("differential_expression", groupby="donor", group1=["2", "3"], **QUICK)
    assert list(two["group1"].unique()) == ["2", "3"]
    assert (two["group2"] == "Rest").all()
    pair, _ = both("differential_expression", groupby="donor", group1="2", group2="0", **QUICK)
    assert list(pair["comparison"].unique()) == ["2 vs 0"]


def test_other_data(both, make_adata):
    cells = make_adata(60, seed=5)
    got, want = both("differential_expression", adata=cells, **T_OR_B, **QUICK)
    assert_alike(got, want)
    is_t = (cells.obs["label"] == "T").to_numpy()
    means = pd.Series(cells.X.toarray()[is_t].mean(0), index=cells.var_names).sort_index()
    np.testing.assert_allclose(columns(got, "raw_mean1"), means, rtol=1e-5)


# -- statistics, batches, weights -------------------------------------------------------------


def test_statistics_of_the_counts(both, ours, in_t, raw):
    got, _ = both("differential_expression", all_stats=True, **T_OR_B, **QUICK)
    counts = pd.DataFrame(ours.adata.X.toarray(), columns=ours.adata.var_names)
    for group, cells in (("1", in_t), ("2", ~in_t)):
        mean, expressed = counts[cells].mean(), (counts[cells] > 0).mean()
        np.testing.assert_allclose(columns(got, "raw_mean" + group), mean.sort_index(), rtol=1e-5)
        np.testing.assert_allclose(
            columns(got, "non_zeros_proportion" + group), expressed.sort_index()
        )
    np.testing.assert_allclose(columns(got, "raw_normalized_mean1"), 1e4 * raw[0], rtol=1e-4)
    np.testing.assert_allclose(columns(got, "raw_normalized_mean2"), 1e4 * raw[1], rtol=1e-4)
    without, _ = both("differential_expression", all_stats=False, **T_OR_B, **QUICK)
    assert not [name for name in without.columns if "raw" in name or "zeros" in name]
    pd.testing.assert_frame_equal(without, got[without.columns])


def test_batches_to_decode_for(both, ours, in_t):
    observed, _ = both("differential_expression", **T_OR_B, **QUICK)
    corrected, want = both("differential_expression", batch_correction=True, **T_OR_B, **QUICK)
    assert_alike(corrected, want)
    one, want = both(
        "differential_expression",
        batch_correction=True,
        batchid1=["0"],
        batchid2=["2"],
        **T_OR_B,
        **QUICK,
    )
    assert_alike(one, want)

    def decoded(cells, batch):
        return (
            ours.get_normalized_expression(indices=cells, transform_batch=batch, n_samples=40)
            .mean()
            .sort_index()
        )

    cells1, cells2 = np.flatnonzero(in_t), np.flatnonzero(~in_t)
    np.testing.assert_allclose(columns(one, "scale1"), decoded(cells1, "0"), rtol=0.15)
    np.testing.assert_allclose(columns(one, "scale2"), decoded(cells2, "2"), rtol=0.15)
    average = (decoded(cells1, "0") + decoded(cells1, "1") + decoded(cells1, "2")) / 3
    np.testing.assert_allclose(columns(corrected, "scale1"), average, rtol=0.15)
    assert not np.allclose(columns(one, "scale1"), columns(observed, "scale1"), rtol=0.15)
    with pytest.raises(ValueError, match="Inconsistent batch policy"):
        ours.differential_expression(batchid1=["0"], **T_OR_B, **QUICK)


def test_weights_of_the_cells(ours, in_t, monkeypatch):
    seen = []

    def weights(adata, indices, qz, px, zs, **kwargs):
        seen.append((tuple(indices), kwargs))
        return np.eye(zs.reshape(-1, 3).shape[0])[0]

    monkeypatch.setattr(ours, "get_importance_weights", weights, raising=False)
    for choice in ("uniform", None):
        ours.differential_expression(weights=choice, **T_OR_B, **QUICK)
    assert not seen
    got = ours.differential_expression(
        weights="importance", importance_weighting_kwargs={"max_cells": 7}, **T_OR_B, **QUICK
    )
    assert [kwargs for _, kwargs in seen] == [{"max_cells": 7}] * 2
    assert seen[0][0] == tuple(np.flatnonzero(in_t))
    # All weight on one draw of each group: a gene is higher or it is not.
    assert set(got["proba_m1"]) <= {0.0, 1.0}


def test_outliers_are_left_out(both, ours, in_t, monkeypatch):
    used, drawn = [], Side.drawn
    monkeypatch.setattr(
        Side,
        "drawn",
        lambda draw, cells, *args: used.append(len(cells)) or drawn(draw, cells, *args),
    )
    kwargs = {**T_OR_B, **QUICK, "filter_outlier_cells": True}
    ours.differential_expression(**kwargs)
    assert used == pytest.approx([0.9 * in_t.sum(), 0.9 * (~in_t).sum()], abs=1)
    monkeypatch.undo()
    got, want = both("differential_expression", **kwargs)
    # scvi-tools adds up in float32.
    np.testing.assert_allclose(columns(got, "raw_mean1"), columns(want, "raw_mean1"), rtol=1e-6)


def test_batch_size_and_progress(ours, monkeypatch):
    sizes, bars, drawn = set(), [], ours.module.drawn
    monkeypatch.setattr(
        ours.module, "drawn", lambda tensors, n: sizes.add(len(tensors["X"])) or drawn(tensors, n)
    )
    monkeypatch.setattr(
        "lucidvi.model.expression._comparisons.track",
        lambda groups, what, n, **kw: bars.append(n) or groups,
    )
    for silent in (True, False):
        ours.differential_expression(batch_size=13, silent=silent, **T_OR_B, n_samples_overall=100)
        assert bars == ([] if silent else [1])
    assert max(sizes) == 13

"""Differential expression on counts of which the truth is known."""

from contextlib import nullcontext

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData, read_h5ad
from scipy import sparse, stats

from lucidvi.errors import DataError, MissingKeyError
from lucidvi.simulate import differential_expression

WARNING = "Cells are taken for replicates"


def cells_of(n_donors=8, n_cells=40, n_genes=300, spread=0.3, effect=(), paired=False, seed=0):
    """Counts of donors that vary, half of them in each group; the first genes have the effects."""
    rng = np.random.default_rng(seed)
    donor = np.repeat(np.arange(n_donors), n_cells)
    second = np.arange(len(donor)) % 2 == 1 if paired else donor >= n_donors // 2
    log = np.log(rng.uniform(0.3, 4, n_genes)) + rng.normal(0, spread, (n_donors, n_genes))[donor]
    log[np.ix_(second, np.arange(len(effect)))] += np.log(2) * np.asarray(effect)
    log += rng.normal(0, 0.3, (len(donor), 1))
    counts = rng.poisson(np.exp(log) * rng.gamma(3, 1 / 3, log.shape)).astype(np.float32)
    obs = pd.DataFrame(
        {"group": np.where(second, "b", "a"), "donor": [f"d{i}" for i in donor]},
        index=[f"cell{i}" for i in range(len(donor))],
    )
    return AnnData(sparse.csr_matrix(counts), obs=obs)


def test_null_p_values_are_uniform_with_donors_and_not_with_cells():
    p = {test: [] for test in ("pseudobulk", "cells")}
    for seed in range(4):
        adata = cells_of(seed=seed)
        for test, found in p.items():
            with pytest.warns(UserWarning, match=WARNING) if test == "cells" else nullcontext():
                table = differential_expression(adata, "group", donor_key="donor", test=test)
            found.append(table["p_value"])
    assert stats.kstest(np.concatenate(p["pseudobulk"]), "uniform").pvalue > 0.01
    assert np.mean(np.concatenate(p["cells"]) < 0.05) > 0.2


def test_cells_are_replicates_where_donors_do_not_vary():
    p = []
    for seed in range(4):
        with pytest.warns(UserWarning, match=WARNING):
            table = differential_expression(cells_of(spread=0.0, seed=seed), "group")
        p.append(table["p_value"])
    assert np.mean(np.concatenate(p) < 0.05) == pytest.approx(0.05, abs=0.02)
    assert np.mean(np.concatenate(p) < 0.5) == pytest.approx(0.5, abs=0.05)


def test_false_discovery_rate_and_changes_of_planted_effects():
    false, n_false = [], 0
    for seed in range(15):
        adata = cells_of(effect=np.repeat([-2.0, 1.5], 20), spread=0.2, seed=seed)
        table = differential_expression(adata, "group", donor_key="donor")
        found = table["fdr"].to_numpy() <= 0.1
        false.append(found[40:].sum() / found.sum())
        n_false += found[40:].sum()
        assert found[:40].mean() > 0.8
    change = table["log2_fold_change"]
    assert change[:20].mean() == pytest.approx(-2, abs=0.15)
    assert change[20:40].mean() == pytest.approx(1.5, abs=0.15)
    assert change[40:].median() == pytest.approx(0, abs=0.1)  # although the totals differ
    error = np.std(false, ddof=1) / np.sqrt(len(false))
    assert np.mean(false) == pytest.approx(0.1 * 260 / 300, abs=max(3 * error, 0.02))
    assert n_false > 0


def test_changes_to_one_side_leave_the_others_where_they_are():
    """A tenth of the genes rise eightfold: the median of all ratios would be off by 0.13."""
    medians = []
    for seed in range(6):
        adata = cells_of(n_donors=16, effect=np.full(30, 3.0), seed=seed)
        table = differential_expression(adata, "group", donor_key="donor")
        medians.append(table["log2_fold_change"][30:].median())
        assert (table["fdr"] <= 0.05)[30:].mean() < 0.05
    assert np.mean(medians) == pytest.approx(0, abs=0.03)


def test_pairs_see_what_is_hidden_between_donors():
    adata = cells_of(effect=np.ones(20), spread=1.0, paired=True)
    paired = differential_expression(adata, "group", donor_key="donor")
    adata.obs["apart"] = adata.obs["donor"] + adata.obs["group"]
    apart = differential_expression(adata, "group", donor_key="apart")
    assert (paired["fdr"] < 0.05)[:20].mean() > 0.8
    assert (paired["fdr"] < 0.05)[20:].mean() < 0.05
    assert (apart["fdr"] < 0.05)[:20].mean() < 0.2


def test_groups_say_which_is_compared_with_which():
    adata = cells_of(effect=[3.0])
    adata.obs["group"] = adata.obs["group"].replace("b", "B").astype("category")
    one = differential_expression(adata, "group", ["a", "B"], donor_key="donor")
    other = differential_expression(adata, "group", ["B", "a"], donor_key="donor")
    np.testing.assert_allclose(one["log2_fold_change"], -other["log2_fold_change"])
    assert one["log2_fold_change"].iloc[0] > 2


def test_cells_of_no_group_are_not_looked_at():
    adata = cells_of()
    more = adata.copy()
    more.obs["group"] = more.obs["group"].astype(object)
    more.obs.loc[more.obs_names[::3], "group"] = None
    kept = more[more.obs["group"].notna()].copy()
    for test in ("pseudobulk", "cells"):
        with pytest.warns(UserWarning, match=WARNING) if test == "cells" else nullcontext():
            tables = [
                differential_expression(a, "group", donor_key="donor", test=test)
                for a in (more, kept)
            ]
        pd.testing.assert_frame_equal(*tables)


@pytest.mark.parametrize("form", [sparse.csc_matrix, sparse.csr_array, lambda x: x.toarray()])
def test_formats_and_blocks_make_no_difference(monkeypatch, form):
    adata = cells_of()
    expected = differential_expression(adata, "group", donor_key="donor")
    adata.layers["raw"], adata.X = form(adata.X), None
    monkeypatch.setattr("lucidvi.data.matrices._stored.CHUNK", 300 * 7)
    found = differential_expression(adata, "group", donor_key="donor", layer="raw")
    pd.testing.assert_frame_equal(found, expected)


def test_backed(tmp_path):
    adata = cells_of()
    adata.write_h5ad(tmp_path / "cells.h5ad")
    backed = read_h5ad(tmp_path / "cells.h5ad", backed="r")
    found = differential_expression(backed, "group", donor_key="donor")
    backed.file.close()
    expected = differential_expression(adata, "group", donor_key="donor")
    pd.testing.assert_frame_equal(found, expected)


def test_genes_with_few_counts_are_not_tested():
    adata = cells_of()
    counts = adata.X.toarray()
    counts[:, 0] = 0
    counts[0, 0] = 4
    adata.X = sparse.csr_matrix(counts)
    table = differential_expression(adata, "group", donor_key="donor")
    assert table.iloc[0].isna().all()
    assert table.iloc[1:].notna().all(axis=None)


@pytest.mark.parametrize(
    ("kind", "message", "change", "arguments"),
    [
        (MissingKeyError, "`condition_key` is 'sex'", {}, {"condition_key": "sex"}),
        (MissingKeyError, "`donor_key` is 'who'", {}, {"donor_key": "who"}),
        (DataError, "`groups` is 'a', 'c'", {}, {"groups": ["a", "c"]}),
        (DataError, "`groups` is 'd0', 'd1',", {}, {"condition_key": "donor"}),
        (DataError, "`donor_key` is None", {}, {"donor_key": None, "test": "pseudobulk"}),
        (DataError, "`test` is 'wilcoxon'", {}, {"test": "wilcoxon"}),
        (DataError, "1 of the donors", {"donor": "group"}, {}),
        (DataError, "320 cells of 320 donors", {"donor": "name"}, {}),
        (DataError, "1 donors have no cells: 'nobody'", {"donor": "empty"}, {}),
        (DataError, "missing in 3 cells", {"donor": "missing"}, {}),
    ],
)
def test_errors(kind, message, change, arguments):
    adata = cells_of()
    donor = adata.obs["donor"]
    columns = {
        "group": adata.obs["group"],
        "name": adata.obs_names,
        "empty": pd.Categorical(donor, [*donor.unique(), "nobody"]),
        "missing": donor.where(np.arange(len(donor)) > 2),
    }
    for column, value in change.items():
        adata.obs[column] = columns[value]
    with pytest.raises(kind, match=message):
        differential_expression(
            adata, **{"condition_key": "group", "donor_key": "donor"} | arguments
        )

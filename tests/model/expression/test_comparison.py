"""Groups compared at pairs of draws: scvi-tools' estimator, from few cells and little memory."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse

from lucidvi._random import isolated
from lucidvi.distributions import FAMILIES
from lucidvi.model.expression import _comparisons
from lucidvi.model.expression._pairs import Pairs, Side
from lucidvi.model.expression._summaries import summaries
from lucidvi.module import Modality, _drawn

N_SEEDS = 8
#: What the counts of a minibatch are of.
GENES = Modality("rna", 6, FAMILIES["nb"], field="X")
#: Columns that depend on draws.
NUMBERS = ("proba", "scale", "lfc", "pseudocounts")


def answers(model, **kwargs):
    """Return tables of several seeds, shape ``(n_seeds, n_rows, n_columns)``, and the columns."""
    tables = []
    for seed in range(N_SEEDS):
        with isolated(seed):
            table = model.differential_expression(silent=True, n_samples_overall=600, **kwargs)
        names = [name for name in table if name.startswith(NUMBERS)]
        if "comparison" in table:
            table = table.set_index("comparison", append=True)
        tables.append(table.sort_index()[names])
    return np.stack([table.to_numpy(float) for table in tables]), names


CASES = {
    "vanilla": {"group1": "T", "group2": "B"},
    "change": {"group1": "T", "group2": "B", "mode": "change", "threshold_counts": 2.0},
    "all delta": {"group1": "T", "mode": "change", "delta": None, "test_mode": "two"},
    "batches": {"group1": "T", "batch_correction": True},
    "other batches": {
        "group1": "T",
        "batch_correction": True,
        "batchid1": ["0"],
        "batchid2": ["2", "1"],
        "mode": "change",
        "pseudocounts": 1e-3,
        "cred_interval_lvls": [0.8],
    },
    "permuted": {"group1": "T", "use_permutation": True, "m_permutation": 900},
    "permuted batches": {
        "group1": "T",
        "batch_correction": True,
        "use_permutation": True,
        "m_permutation": 900,
        "mode": "change",
    },
    "all groups": {},
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_it_is_the_estimator_of_scvi_tools(ours, theirs, case):
    """Means over seeds agree: of some hundred numbers the largest z score is below five."""
    key = "donor" if case == "all groups" else "label"
    got, names = answers(ours, groupby=key, **CASES[case])
    want, names_of_peer = answers(theirs, groupby=key, **CASES[case])
    assert names == names_of_peer
    error = np.sqrt((got.var(axis=0, ddof=1) + want.var(axis=0, ddof=1)) / N_SEEDS)
    difference = np.abs(got.mean(axis=0) - want.mean(axis=0))
    z = difference / (error + 1e-6 * (1 + np.abs(want.mean(axis=0))))
    assert z.max() < 5, dict(zip(names, z.max(axis=0).round(1), strict=True))
    assert np.median(z) < 1.2


def test_groups_that_share_draws_are_compared_as_alone(ours):
    """Of one comparison the draws are independent: as many find a gene higher, within error."""
    with isolated(0):
        every = ours.differential_expression(groupby="donor", silent=True)
    for donor in "0123":
        with isolated(1):
            alone = ours.differential_expression(groupby="donor", group1=donor, silent=True)
        shared = every[every["group1"] == donor].loc[alone.index]
        p = alone["proba_m1"].to_numpy()
        error = np.sqrt(np.maximum(p * (1 - p), 1e-3) * 2 / 5000)
        assert np.abs((shared["proba_m1"] - p) / error).max() < 5
        for column in ("scale1", "scale2"):
            np.testing.assert_allclose(shared[column], alone[column], rtol=0.05)
        counted = [name for name in alone if name.startswith(("raw", "non_zeros"))]
        pd.testing.assert_frame_equal(shared[counted], alone[counted])
        assert (shared["group2"] == "Rest").all()


def test_cells_of_no_group_are_part_of_the_rest(ours, monkeypatch):
    sizes, shared = [], _comparisons.one_against_rest

    def seen(pools, n_cells, n_groups):
        sizes.append((list(n_cells), n_groups))
        return shared(pools, n_cells, n_groups)

    monkeypatch.setattr(_comparisons, "one_against_rest", seen)
    ask = {"groupby": "donor", "n_samples_overall": 50, "silent": True}
    ours.differential_expression(group1=["0", "2"], **ask)
    donors = ours.adata.obs["donor"].astype(str)
    rest = (~donors.isin(["0", "2"])).sum()
    assert sizes == [([(donors == "0").sum(), (donors == "2").sum(), rest], 2)]
    ours.differential_expression(**ask)
    assert sizes[1] == ([(donors == d).sum() for d in "0123"], 4)


@pytest.mark.parametrize("mode", ["vanilla", "change"])
def test_a_seed_repeats_a_result_and_leaves_no_trace(ours, mode):
    ask = {"groupby": "label", "mode": mode, "n_samples_overall": 100, "silent": True, "seed": 7}
    first = ours.differential_expression(**ask)
    np.random.seed(5)  # noqa: NPY002 (what a seed has to be independent of)
    torch.manual_seed(5)
    states = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    second = ours.differential_expression(**ask)
    pd.testing.assert_frame_equal(first, second)
    np.testing.assert_array_equal(np.random.get_state()[1], states[0])  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), states[1])
    other = ours.differential_expression(**(ask | {"seed": 8}))
    assert not first["scale1"].equals(other.loc[first.index, "scale1"])


def test_only_cells_that_are_drawn_are_read(ours, monkeypatch):
    read, drawn = [], ours.module.drawn

    def seen(tensors, n_samples):
        read.append(len(tensors["X"]))
        return drawn(tensors, n_samples)

    monkeypatch.setattr(ours.module, "drawn", seen)
    ours.differential_expression(
        groupby="label", group1="T", all_stats=False, n_samples_overall=10, silent=True
    )
    assert 2 < sum(read) <= 20


@pytest.mark.parametrize("mode", ["vanilla", "change"])
def test_few_draws_are_decoded_at_a_time(ours, monkeypatch, mode):
    """The same numbers, to rounding, however many states a block has."""
    ask = {"groupby": "donor", "mode": mode, "n_samples_overall": 300, "silent": True, "seed": 0}
    whole = ours.differential_expression(**ask)
    monkeypatch.setattr(_drawn, "BLOCK_ON_CPU", 1)
    monkeypatch.setattr(_drawn, "FEWEST", 7)
    parts = ours.differential_expression(**ask)
    key = ["comparison"]
    whole, parts = (t.set_index(key, append=True).sort_index() for t in (whole, parts))
    if mode == "change":  # blocks of groups compared alone are all that differs
        numbers = [name for name in whole if name.startswith(("scale", "lfc", "pseudo"))]
        np.testing.assert_allclose(whole[numbers], parts[numbers], rtol=1e-3, atol=1e-5)
    else:  # which draws of the rest are paired depends on the blocks
        np.testing.assert_allclose(whole["scale1"], parts["scale1"], rtol=1e-4)
        np.testing.assert_allclose(whole["proba_m1"], parts["proba_m1"], atol=0.15)


def test_functions_of_a_user_are_given_all_draws(ours):
    shapes = []

    def change(x, y, pseudocounts):
        shapes.append((x.shape, y.shape))
        return x - y

    ours.differential_expression(
        groupby="label",
        group1="T",
        group2="B",
        mode="change",
        change_fn=change,
        n_samples_overall=90,
        silent=True,
    )
    assert set(shapes) == {((90, 20), (90, 20))}


# -- the parts --------------------------------------------------------------------------------


def side(ours, cells, batches, n):
    def draw(positions, n_draws):
        tensors = next(iter(ours._make_data_loader(ours.adata, indices=positions, batch_size=99)))
        states = ours.module.drawn(tensors, n_draws)
        return states.select(torch.arange(len(states)).reshape(n_draws, -1).T.flatten())

    return Side.drawn(draw, np.array(cells), batches, n)


@torch.inference_mode()
def test_draws_are_of_all_cells_and_batches_alike(ours):
    """Batch by batch each cell is drawn as often, and no draw serves two batches."""
    torch.manual_seed(0)
    drawn = side(ours, [3, 8, 20], {"0": 0, "1": 1}, 6_000)
    assert [len(rows) for rows in drawn.rows.values()] == [3_000, 3_000]
    assert not set(drawn.rows["0"].tolist()) & set(drawn.rows["1"].tolist())
    library = drawn.states.log_exposures["rna"].exp().squeeze(1)
    totals = np.asarray(ours.adata.X[[3, 8, 20]].sum(axis=1)).ravel()
    for rows in drawn.rows.values():
        of_draws = library[rows].round().numpy()
        counts = np.array([(of_draws == total).sum() for total in totals])
        assert counts.sum() == 3_000
        assert np.abs(counts - 1_000).max() < 5 * np.sqrt(3_000 * 2 / 9)


@torch.inference_mode()
def test_pairs_are_within_batches_where_both_groups_have_them(ours):
    both = {"0": 0, "1": 1}
    first, second = side(ours, [1, 2], both, 40), side(ours, [5, 6], both, 40)
    how = {"use_permutation": False, "m_permutation": 100}
    pairs = Pairs.of(first, second, within_batches=True, **how)
    assert [(one, other) for one, _, other, _ in pairs.sections] == [("0", "0"), ("1", "1")]
    assert len(pairs) == 40
    third = side(ours, [5, 6], {"1": 1, "2": 2}, 40)
    with pytest.warns(UserWarning, match="non-null intersection"):
        pairs = Pairs.of(first, third, within_batches=True, **how)
    assert [(one, other) for one, _, other, _ in pairs.sections] == [("0", "1"), ("1", "2")]
    chosen = Pairs.of(first, third, within_batches=False, use_permutation=True, m_permutation=101)
    assert len(chosen) == 101


def test_too_few_draws_for_the_batches_are_said(ours):
    with torch.inference_mode(), pytest.warns(UserWarning, match="very small sample size"):
        drawn = side(ours, [1, 2], {"0": 0, "1": 1, "2": 2}, 2)
    assert [len(rows) for rows in drawn.rows.values()] == [2, 2, 2]


@pytest.mark.parametrize("as_matrix", [np.asarray, sparse.csr_matrix])
def test_summaries_of_overlapping_groups(as_matrix):
    rng = np.random.default_rng(0)
    counts = rng.poisson(0.7, size=(50, 6)).astype(np.float32)
    counts[4] = 0
    groups = [rng.random(50) < share for share in (0.3, 0.5, 0.9)]
    groups.append(~groups[0])
    minibatches = []
    for start in range(0, 50, 20):
        part = counts[start : start + 20]
        x = torch.from_numpy(part)
        if as_matrix is not np.asarray:
            x = x.to_sparse_csr()
        minibatches.append({"X": x})
    totals = counts.sum(axis=1, keepdims=True)
    normalized = np.divide(1e4 * counts, totals, out=np.zeros_like(counts), where=totals > 0)
    for group, got in zip(groups, summaries(minibatches, groups, GENES), strict=True):
        np.testing.assert_allclose(got.mean, counts[group].mean(axis=0), rtol=1e-6)
        np.testing.assert_allclose(got.share, (counts[group] > 0).mean(axis=0))
        np.testing.assert_allclose(got.normalized, normalized[group].mean(axis=0), rtol=1e-5)


def test_summaries_of_what_was_measured():
    """Of each feature over the cells in which it was, and nothing of none."""
    rng = np.random.default_rng(0)
    counts = rng.poisson(3.0, size=(30, 6)).astype(np.float32)
    measured = rng.random((30, 6)) < 0.6
    present = np.arange(30) % 3 > 0
    seen = measured & present[:, None]
    counts[~seen] = 0
    minibatch = {
        "X": torch.from_numpy(counts),
        "X_features": torch.from_numpy(measured),
        "X_present": torch.from_numpy(present),
    }
    groups = [rng.random(30) < 0.5, ~present]
    got, nothing = summaries([minibatch], groups, GENES)
    expected = np.where(seen[groups[0]], counts[groups[0]], np.nan)
    np.testing.assert_allclose(got.mean, np.nanmean(expected, axis=0), rtol=1e-6)
    assert np.isnan(nothing.mean).all()
    assert np.isnan(nothing.normalized).all()

"""Differential abundance on compositions of which the truth is known."""

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse
from scipy.stats import fisher_exact

from lucidvi.errors import DataError, MissingKeyError
from lucidvi.simulate import differential_abundance

SHARES = np.array([0.35, 0.2, 0.15, 0.1, 0.08, 0.06, 0.04, 0.02])
WARNING = "Cells are taken for replicates"


def cells_of(effect=0.0, changed=0, n_donors=16, n_cells=500, spread=0.3, paired=False, seed=0):
    """Cells of donors whose shares vary; in the second group, one label is multiplied."""
    rng = np.random.default_rng(seed)
    n_samples = n_donors * (1 + paired)
    donor = np.arange(n_samples) % n_donors
    second = np.arange(n_samples) // n_donors == 1 if paired else donor % 2 == 1
    log = np.log(SHARES) + rng.normal(0, spread, (n_donors, len(SHARES)))[donor]
    log[second, changed] += effect * np.log(2)
    share = np.exp(log) / np.exp(log).sum(axis=1, keepdims=True)
    counts = np.concatenate([rng.multinomial(n_cells, p) for p in share])
    of = np.repeat(np.arange(n_samples * len(SHARES)), counts)
    sample, label = np.divmod(of, len(SHARES))
    obs = pd.DataFrame(
        {
            "type": [f"T{i}" for i in label],
            "donor": [f"d{i}" for i in donor[sample]],
            "group": np.where(second[sample], "b", "a"),
        },
        index=[f"cell{i}" for i in range(len(of))],
    )
    return AnnData(sparse.csr_matrix((len(of), 3), dtype=np.float32), obs=obs)


def abundance_of(adata, donor_key="donor", **arguments):
    return differential_abundance(
        adata, "group", labels_key="type", donor_key=donor_key, **arguments
    )


def test_null_p_values_with_donors_and_with_cells():
    """Share of p-values below 0.05 where nothing changes but donors vary: 160 of each test."""
    by_donors, by_cells = [], []
    for seed in range(20):
        adata = cells_of(seed=seed)
        by_donors.append(abundance_of(adata)["p_value"])
        with pytest.warns(UserWarning, match=WARNING):
            by_cells.append(abundance_of(adata, test="cells")["p_value"])
    assert np.mean(np.concatenate(by_donors) < 0.05) == pytest.approx(0.05, abs=0.045)
    assert np.mean(np.concatenate(by_donors) < 0.5) == pytest.approx(0.5, abs=0.12)
    assert np.mean(np.concatenate(by_cells) < 0.05) > 0.2


@pytest.mark.parametrize("effect", [-1.5, 1.5])
def test_what_changes_is_found_and_not_that_others_make_room(effect):
    """The largest label changes: shares of all others do so too, their numbers do not."""
    false, right = [], []
    for seed in range(40):
        table = abundance_of(cells_of(effect, spread=0.2, seed=seed))
        found = (table["fdr"] <= 0.05).to_numpy()
        right.append(found[0])
        false.append(found[1:].sum() / max(found.sum(), 1))
        if found[0]:
            assert np.sign(table["log2_fold_change"].iloc[0]) == np.sign(effect)
    assert np.mean(right) > 0.9
    assert np.mean(false) < 0.05 + 3 * np.std(false, ddof=1) / np.sqrt(len(false))
    assert np.mean(false) < 0.1


def test_changes_are_those_of_numbers():
    changes = [
        abundance_of(cells_of(1.0, changed=1, spread=0.1, n_cells=2000, seed=seed))[
            "log2_fold_change"
        ]
        for seed in range(10)
    ]
    mean = np.mean(changes, axis=0)
    assert mean[1] == pytest.approx(1.0, abs=0.1)
    np.testing.assert_allclose(np.delete(mean, 1), 0, atol=0.15)


def test_donors_of_both_groups_are_compared_with_themselves():
    power = {
        paired: np.mean(
            [
                abundance_of(cells_of(1.0, 2, 6, spread=0.8, paired=paired, seed=seed))[
                    "fdr"
                ].iloc[2]
                <= 0.05
                for seed in range(10)
            ]
        )
        for paired in (True, False)
    }
    assert power[True] > 0.8
    assert power[False] < 0.5


def test_over_cells_is_fishers_test():
    adata = cells_of(1.0, n_donors=4, n_cells=60)
    with pytest.warns(UserWarning, match=WARNING):
        table = abundance_of(adata, donor_key=None)
    numbers = pd.crosstab(adata.obs["group"], adata.obs["type"])
    total = numbers.sum(axis=1)
    for label, row in table[table["p_value"].notna()].iterrows():
        each = np.stack([numbers[label], total - numbers[label]])
        assert row["p_value"] == pytest.approx(fisher_exact(each).pvalue)
    assert (table["n_cells"] == numbers.sum()).all()
    few = table["n_cells"] < 10
    assert few.any()
    assert table["p_value"].isna().equals(few)


def test_cells_of_neither_group_do_not_count():
    adata = cells_of(1.0)
    some = adata[adata.obs["donor"] != "d0"]
    third = adata.copy()
    third.obs["group"] = np.where(adata.obs["donor"] == "d0", "c", adata.obs["group"])
    pd.testing.assert_frame_equal(abundance_of(third, groups=["a", "b"]), abundance_of(some))
    back = abundance_of(third, groups=["b", "a"])
    np.testing.assert_allclose(back["log2_fold_change"], -abundance_of(some)["log2_fold_change"])


@pytest.mark.parametrize(
    ("kind", "message", "change"),
    [
        (MissingKeyError, "`labels_key` is 'who'", {"labels_key": "who"}),
        (MissingKeyError, "`donor_key` is 'who'", {"donor_key": "who"}),
        (DataError, "`test` is 'pseudobulk'", {"test": "pseudobulk"}),
        (DataError, "`donor_key` is None, but `test='donors'`", {
            "donor_key": None, "test": "donors",
        }),
        (DataError, "has 2 labels", {"labels_key": "group"}),
        (DataError, "`groups` is", {"groups": ["a", "z"]}),
        (DataError, "is missing in 1 cells", {"labels_key": "gap"}),
    ],
)  # fmt: skip
def test_errors(kind, message, change):
    adata = cells_of(n_donors=4, n_cells=40)
    adata.obs["gap"] = adata.obs["type"].where(np.arange(adata.n_obs) > 0)
    asked = {"labels_key": "type", "donor_key": "donor"} | change
    with pytest.raises(kind) as error:
        differential_abundance(adata, "group", **asked)
    assert message in str(error.value)

"""Planned experiments against closed forms, and the same results however they are computed."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm, poisson
from statsmodels.stats.power import tt_ind_solve_power

from lucidvi.errors import DataError, FileError, MissingKeyError
from lucidvi.simulate import Design, DesignResult, design_expression
from lucidvi.simulate.comparisons._comparison import sample_sums
from lucidvi.simulate.designs import _expression_plan

SIZES = Design(n_cells=[5, 10], n_donors=[2, 3])
SMALL = {"donor_sd": 0.2, "n_repeats": 3, "share": 0.2}


@pytest.fixture(scope="module")
def flat(make_known):
    """A model of 200 Poisson genes, the same in every cell."""
    return make_known(np.full(200, 3.0), likelihood="poisson", n_cells=60)


def test_power_is_that_of_the_t_test(flat, monkeypatch):
    """Pseudobulks with normal logarithms of one variance, each gene tested for itself."""

    def plain_t(compared):
        from scipy.stats import ttest_ind

        sums = sample_sums(compared.counts, compared.sample, len(compared.second))
        y = np.log(sums + 0.5)
        p = ttest_ind(y[compared.second], y[~compared.second]).pvalue
        return p, p

    monkeypatch.setitem(_expression_plan.TESTS, "plain", plain_t)
    monkeypatch.setattr(_expression_plan, "adjusted", lambda p: p)
    design = Design(n_cells=[40], n_donors=[5, 8], effect=0.6)
    found = design_expression(flat, design, share=0.5, donor_sd=0.25, test="plain", n_repeats=20)
    for row in found.table.itertuples():
        sd = np.sqrt(0.25**2 + 1 / (3 * 40))
        exact = tt_ind_solve_power(0.6 * np.log(2) / sd, nobs1=row.n_donors, alpha=0.05)
        assert row.power == pytest.approx(exact, abs=0.03)


def test_counts_are_those_of_size_depth_and_effect(flat, monkeypatch):
    """Means and variances of all counts of donors alike, at two depths."""
    seen = []

    def look(compared):
        seen.append(compared)
        p = np.full(compared.counts.shape[1], np.nan)
        return p, p

    monkeypatch.setitem(_expression_plan.TESTS, "look", look)
    design = Design(n_cells=[4, 30], n_donors=[2, 6], depth_factor=[2.0, 0.5])
    design_expression(flat, design, share=1.0, donor_sd=0.0, test="look", n_repeats=1)
    assert [len(c.sample) for c in seen] == [16, 120, 48, 360] * 2
    for compared, depth in ((seen[3], 2.0), (seen[7], 0.5)):
        assert compared.second.sum() == 6
        x = compared.counts[:, :-1].toarray()  # the last gene of the model is there for technique
        side = compared.second[compared.sample]
        for part, mean in ((x[~side], 3 * depth), (x[side], 6 * depth)):
            assert part.mean() == pytest.approx(mean, abs=4 * np.sqrt(mean / part.size))
            assert part.var() == pytest.approx(mean, rel=0.05)
            assert (part == 0).mean() == pytest.approx(poisson.pmf(0, mean), abs=0.01)


def test_donors_vary_as_said(flat, monkeypatch):
    seen = []

    def look(compared):
        seen.append(sample_sums(compared.counts, compared.sample, len(compared.second)))
        return seen[-1][0], np.full(compared.counts.shape[1], np.nan)

    monkeypatch.setitem(_expression_plan.TESTS, "look", look)
    sd = np.append(np.tile([0.0, 0.5], 100), 0.0)
    design = Design(n_cells=[200], n_donors=[20])
    design_expression(flat, design, donor_sd=sd, share=0.0, test="look", n_repeats=1)
    variance = np.log(seen[0]).var(axis=0, ddof=1)[:-1] - 1 / 600
    assert variance[::2].mean() == pytest.approx(0, abs=0.001)
    assert variance[1::2].mean() == pytest.approx(0.25, rel=0.1)
    assert seen[0][:, 1:-1:2].mean() == pytest.approx(600, rel=0.05)  # donors' mean stays


def test_false_discoveries_with_donors_that_vary(flat):
    """Share of repetitions with a finding where nothing changes, by both tests."""
    design, nothing = Design(n_cells=[20], n_donors=[4]), {"share": 0.0, "donor_sd": 0.3}
    by_donors, by_cells = (
        design_expression(flat, design, test=test, n_repeats=40, **nothing).table.iloc[0]
        for test in ("pseudobulk", "cells")
    )
    assert np.isnan(by_donors["power"])
    assert by_donors["fdr"] <= norm.ppf(0.999) * np.sqrt(0.05 * 0.95 / 40) + 0.05
    assert by_cells["fdr"] > 0.9


def test_more_of_anything_finds_more(flat):
    design = Design(n_cells=[5, 40], n_donors=[3, 8], depth_factor=[0.3, 1.0], effect=0.7)
    found = design_expression(flat, design, share=0.2, donor_sd=0.2, n_repeats=8).table
    table = found.set_index(["n_cells", "n_donors", "depth_factor"])["power"]
    for less, more in (
        ((5, 8, 1.0), (40, 8, 1.0)), ((40, 3, 1.0), (40, 8, 1.0)), ((5, 8, 0.3), (5, 8, 1.0)),
    ):  # fmt: skip
        assert table[less] < table[more] - 0.05


def test_resumed_is_as_if_never_stopped(flat, tmp_path):
    file = tmp_path / "design.json"
    design_expression(flat, SIZES, **SMALL | {"n_repeats": 1}, resume=file)
    assert list(json.loads(file.read_text())["repeats"]) == ["0"]
    resumed = design_expression(flat, SIZES, **SMALL, resume=file)
    whole = design_expression(flat, SIZES, **SMALL)
    pd.testing.assert_frame_equal(resumed.table, whole.table, check_exact=True)
    assert [path.name for path in tmp_path.iterdir()] == ["design.json"]


def test_what_is_kept_is_not_computed_again(flat, tmp_path, monkeypatch):
    file = tmp_path / "design.json"
    first = design_expression(flat, SIZES, **SMALL, resume=file)
    monkeypatch.setattr(_expression_plan.ExpressionPlan, "__call__", None)
    again = design_expression(flat, SIZES, **SMALL, resume=file)
    pd.testing.assert_frame_equal(first.table, again.table, check_exact=True)


def test_another_request_is_refused(flat, make_known, tmp_path):
    file = tmp_path / "design.json"
    design_expression(flat, SIZES, **SMALL, resume=file)
    before = file.read_bytes()
    with pytest.raises(FileError, match="differs in effect, model, cells or their states, seed"):
        design_expression(flat, replace(SIZES, effect=2.0), **SMALL, seed=1, resume=file)
    other = make_known(np.full(200, 2.0), likelihood="poisson", n_cells=60)
    with pytest.raises(FileError, match="differs in model, cells or their states"):
        design_expression(other, SIZES, **SMALL, resume=file)
    assert file.read_bytes() == before
    file.write_text("cells,donors")
    with pytest.raises(FileError, match="holds no repeats"):
        design_expression(flat, SIZES, **SMALL, resume=file)


@pytest.mark.slow
def test_processes_make_no_difference(flat):
    one, two = (design_expression(flat, SIZES, **SMALL, n_jobs=n) for n in (1, 2))
    pd.testing.assert_frame_equal(one.table, two.table, check_exact=True)


def test_a_real_setup(model):
    """Batches, covariates, some cells, donors of the data; nothing else random moves."""
    import torch

    state = torch.get_rng_state()
    chosen = (model.adata.obs["label"] == "T").to_numpy()
    design, some = Design(n_cells=[10], n_donors=[3]), {"n_repeats": 2, "indices": chosen}
    found = design_expression(model, design, donor_key="donor", **some)
    assert torch.equal(torch.get_rng_state(), state)
    assert found.donor_sd.index.equals(model.adata.var_names)
    assert found.donor_sd.between(0, 0.5).all()
    again = design_expression(model, design, donor_key="donor", **some)
    pd.testing.assert_frame_equal(found.table, again.table)
    assert "effect=1.0" in repr(found)
    plain = json.loads(json.dumps(found.to_dict()))
    assert plain["table"][0]["n_cells"] == 10
    assert plain["request"]["donor_key"] == "donor"
    assert isinstance(found, DesignResult)


@pytest.mark.parametrize(
    ("message", "change"),
    [
        ("`effect` is 0", {"effect": 0}),
        ("`effect` is nan", {"effect": np.nan}),
        ("`effect` is inf", {"effect": np.inf}),
        ("`effect` is 'twice'", {"effect": "twice"}),
        ("`fdr` is 1.0", {"fdr": 1.0}),
        ("`fdr` is 0", {"fdr": 0}),
        ("`n_cells` is 0", {"n_cells": [10, 0]}),
        ("`n_cells` is 10", {"n_cells": 10}),
        ("`n_cells` is 2.5", {"n_cells": [2.5]}),
        ("`n_donors` is 1", {"n_donors": [1]}),
        ("`depth_factor` has 0", {"depth_factor": [1.0, 0]}),
        ("`depth_factor` has -1", {"depth_factor": [-1]}),
        ("`depth_factor` has 'deep'", {"depth_factor": ["deep"]}),
        ("`depth_factor` is ()", {"depth_factor": ()}),
    ],
)
def test_a_design_checks_itself(message, change):
    with pytest.raises(DataError) as error:
        Design(**{"n_cells": [10], "n_donors": [4]} | change)
    assert message in str(error.value)
    assert "effect" not in change or "`share=0`" in error.value.remedy
    assert "effect" not in change or "`changed=[]`" in error.value.remedy


def test_a_design_is_plain_frozen_and_all_combinations():
    design = Design(n_cells=np.array([25, 50]), n_donors=range(4, 6), depth_factor=[0.5, 1])
    assert design == Design(n_cells=(25, 50), n_donors=(4, 5), depth_factor=(0.5, 1.0))
    assert json.loads(json.dumps(design.to_dict()))["n_cells"] == [25, 50]
    assert [tuple(size) for size in design.sizes] == [
        (n_cells, n_donors, r) for r in (0.5, 1.0) for n_donors in (4, 5) for n_cells in (25, 50)
    ]
    with pytest.raises(AttributeError):
        design.effect = 2.0


@pytest.mark.parametrize(
    ("kind", "message", "arguments"),
    [
        (DataError, "`share` is 2", {"share": 2}),
        (DataError, "`design` is [50], and no `simulate.Design`", {"design": [50]}),
        (DataError, "`n_repeats` is 0", {"n_repeats": 0}),
        (DataError, "`posterior` is 'prior'", {"posterior": "prior"}),
        (DataError, "`test` is 't'", {"test": "t"}),
        (DataError, "fewer than the 20 donors", {
            "indices": range(10), "design": Design(n_cells=[5], n_donors=[10]),
        }),
        (DataError, "`donor_sd` is -1", {"donor_sd": -1}),
        (DataError, "`donor_key` is None and `donor_sd` is None", {"donor_sd": None}),
        (MissingKeyError, "`donor_key` is 'who'", {"donor_sd": None, "donor_key": "who"}),
        (DataError, "fewer than two donors", {
            "donor_sd": None, "donor_key": "donor", "indices": [0, 1, 2, 3],
            "design": Design(n_cells=[5], n_donors=[2]),
        }),
    ],
)  # fmt: skip
def test_errors_come_before_any_work(model, monkeypatch, kind, message, arguments):
    monkeypatch.setattr("lucidvi.simulate.designs._expression.Population", None)
    with pytest.raises(kind) as error:
        design_expression(model, **{"design": SIZES, "donor_sd": 0.2} | arguments)
    assert message in str(error.value)

"""Planned comparisons of abundance against closed forms and what was put in."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import scvi
import torch
from anndata import AnnData
from scipy import sparse
from scipy.special import softmax
from scipy.stats import ttest_ind
from statsmodels.stats.power import tt_ind_solve_power

from lucidvi import pl
from lucidvi.errors import DataError, FileError, MissingKeyError
from lucidvi.model import SCVI
from lucidvi.simulate import Design, design_abundance
from lucidvi.simulate.designs import _abundance, _abundance_plan
from lucidvi.simulate.designs._abundance_plan import AbundancePlan
from lucidvi.simulate.designs._design import Size
from lucidvi.simulate.designs._label_donors import label_centres, label_spread

SHARES = np.array([0.4, 0.3, 0.2, 0.1])
SIZES = Design(n_cells=[50, 200], n_donors=[2, 4])
SMALL = {"labels_key": "type", "donor_sd": 0.2}


@pytest.fixture(scope="module")
def typed():
    """A trained model of four types of cells that markers tell from each other, of ten donors."""
    rng = np.random.default_rng(0)
    label, donor = rng.choice(4, 400, p=SHARES), np.arange(400) % 10
    mean = np.full((4, 40), 1.0)
    for i in range(4):
        mean[i, 10 * i : 10 * (i + 1)] = 6.0
    counts = sparse.csr_matrix(rng.poisson(mean[label]).astype(np.float32))
    obs = pd.DataFrame(
        {"type": [f"T{i}" for i in label], "donor": [f"d{i}" for i in donor]},
        index=[f"cell{i}" for i in range(400)],
    )
    adata = AnnData(counts, obs=obs)
    scvi.settings.seed = 0
    SCVI.setup_anndata(adata)
    model = SCVI(adata, n_hidden=32, n_latent=4, gene_likelihood="poisson")
    model.train(max_epochs=40, batch_size=100, plan_kwargs={"lr": 5e-3})
    return model


def plan_of(**change):
    """Return a plan of eight equal labels that are never mistaken."""
    equal = {
        "centre": np.log(np.full(8, 1 / 8)),
        "log_effect": np.log(2.0),
        "changeable": np.arange(8),
        "spread": np.zeros(8),
        "called": {1.0: np.eye(8)},
        "sizes": (Size(400, 4, 1.0),),
        "test": "donors",
        "fdr": 0.05,
        "seed": 0,
    }
    return AbundancePlan(**equal | change)


def test_power_is_that_of_the_t_test(monkeypatch):
    """Log numbers relative to all other labels, which have many cells, of one variance."""

    def plain_t(compared):
        other = compared.counts.sum(axis=1, keepdims=True) - compared.counts
        y = np.log(compared.counts / other)
        p = ttest_ind(y[compared.second], y[~compared.second]).pvalue
        return p, p

    monkeypatch.setitem(_abundance_plan.LABEL_TESTS, "plain", plain_t)
    monkeypatch.setattr(_abundance_plan, "adjusted", lambda p: p)
    share, spread = np.full(20, 0.05), np.zeros(20)
    spread[0] = 0.4
    plan = plan_of(
        centre=np.log(share), spread=spread, changeable=np.array([0]), test="plain",
        called={1.0: np.eye(20)}, sizes=(Size(2000, 5, 1.0), Size(2000, 8, 1.0)),
    )  # fmt: skip
    power = np.mean([plan(i) for i in range(400)], axis=0)[:, 0]
    sd = np.sqrt(0.4**2 + 1 / 100 / 0.95)
    for found, n in zip(power, (5, 8), strict=True):
        exact = tt_ind_solve_power(np.log(2) / sd, nobs1=n, alpha=0.05)
        assert found == pytest.approx(exact, abs=0.07)


def test_numbers_are_those_of_share_effect_and_calls(monkeypatch):
    """Means of the numbers called, where a fifth of the first label is called the second."""
    seen = []

    def look(compared):
        seen.append(compared)
        return SHARES, np.full(4, np.nan)

    monkeypatch.setitem(_abundance_plan.LABEL_TESTS, "look", look)
    called = np.eye(4)
    called[0, :2] = 0.8, 0.2
    plan = plan_of(
        centre=np.log(SHARES), log_effect=np.log(3), changeable=np.array([3]),
        spread=np.zeros(4), called={1.0: called, 0.5: np.eye(4)}, test="look",
        sizes=(Size(5000, 20, 1.0), Size(100, 3, 0.5)),
    )  # fmt: skip
    plan(0)
    assert [compared.counts.sum(axis=1).tolist() for compared in seen] == [[5000] * 40, [100] * 6]
    tripled = SHARES * [1, 1, 1, 3] / 1.2
    for side, share in ((False, SHARES), (True, tripled)):
        found = seen[0].counts[seen[0].second == side].sum(axis=0) / 100_000
        np.testing.assert_allclose(found, share @ called, atol=4 * np.sqrt(0.25 / 100_000))


def test_false_discoveries_where_nothing_changes():
    """With donors that vary: about the rate with donors, nearly always with cells."""
    asked = {"changeable": np.array([], dtype=int), "spread": np.full(8, 0.5)}
    by_donors, by_cells = (
        np.mean([plan_of(test=test, **asked)(i)[0][1] for i in range(200)])
        for test in ("donors", "cells")
    )
    assert by_donors <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 200)
    assert by_cells > 0.9
    assert np.isnan(plan_of(**asked)(0)[0][0])


@pytest.mark.parametrize("sizes", [(50, 400), (200, 200), (1, 2000)])
def test_spread_of_donors_is_found_beneath_sampling_and_composition(sizes):
    """Donors of different numbers of cells, some that nearly lack a label."""
    rng = np.random.default_rng(0)
    share, spread = np.array([0.5, 0.3, 0.15, 0.05]), np.array([0.6, 0.2, 1.2, 0.2])
    centre = label_centres(share, spread)
    p = softmax(rng.normal(centre, spread, (300, 4)), axis=1)
    numbers = rng.multinomial(rng.integers(*sizes, 300, endpoint=True), p)
    np.testing.assert_allclose(label_spread(numbers), spread, atol=0.1)


def test_donors_that_do_not_differ_have_no_spread_and_few_no_extreme_one():
    rng = np.random.default_rng(0)
    alike = rng.multinomial(np.full(200, 300), SHARES)
    assert label_spread(alike).max() < 0.06
    share, spread = np.array([0.6, 0.395, 0.005]), np.full(3, 0.5)
    p = softmax(rng.normal(np.log(share), spread, (50, 6, 3)), axis=-1)
    for numbers in rng.multinomial(100, p):
        assert label_spread(numbers[:, numbers.any(axis=0)]).max() < 3


def test_mean_shares_of_donors_are_those_of_the_data():
    spread = np.array([0.0, 1.5, 0.5, 1.0])
    drawn = np.random.default_rng(1).normal(label_centres(SHARES, spread), spread, (40_000, 4))
    np.testing.assert_allclose(softmax(drawn, axis=1).mean(axis=0), SHARES, atol=0.005)


def test_labels_are_told_less_well_with_less_depth(typed):
    design = replace(SIZES, depth_factor=[0.03, 1.0], effect=1.5)
    found = design_abundance(typed, design, labels_key="type", donor_sd=0.0, n_repeats=80)
    by_depth = found.labels.groupby("depth_factor")["called"].mean()
    assert by_depth[1.0] > 0.95
    assert by_depth[0.03] < by_depth[1.0] - 0.1
    power = found.table.groupby("depth_factor")["power"].mean()
    assert power[0.03] < power[1.0] - 0.05
    largest = found.table.set_index(["n_cells", "n_donors", "depth_factor"])["power"]
    assert largest[200, 4, 1.0] > largest[50, 2, 1.0]


def test_a_whole_plan(typed):
    """Donors of the data, one label, plain values, a plot; nothing else random moves."""
    state = torch.get_rng_state()
    design, labelled = Design(n_cells=[100], n_donors=[3]), {"labels_key": "type", "n_repeats": 20}
    found = design_abundance(typed, design, **labelled, donor_key="donor", changed="T1")
    assert torch.equal(torch.get_rng_state(), state)
    assert list(found.donor_sd.index) == ["T0", "T1", "T2", "T3"]
    # Labels were given to donors by chance; of four cells a donor the variance is known to 0.12.
    assert (found.donor_sd.iloc[:3] < 0.4).all()
    assert found.donor_sd["T3"] ** 2 < 3 * 0.12
    assert found.labels["label"].tolist() == ["T1"]
    assert found.labels["power"].iloc[0] == found.table["power"].iloc[0]
    assert json.loads(json.dumps(found.to_dict()))["labels"][0]["n_repeats"] == 20
    assert pl.design(found)._suptitle.get_text() == "T1 up 2-fold"
    assert "T1, effect=1.0, test='donors'" in repr(found)
    nothing = design_abundance(typed, design, **labelled, donor_sd=0.0, changed=[])
    assert nothing.table["power"].isna().all()
    assert len(nothing.labels) == 0


@pytest.mark.slow
def test_resumed_and_in_processes_as_if_never_stopped(typed, tmp_path):
    file = tmp_path / "plan.json"
    design_abundance(typed, SIZES, **SMALL, n_repeats=3, resume=file)
    resumed = design_abundance(typed, SIZES, **SMALL, n_repeats=8, resume=file, n_jobs=2)
    whole = design_abundance(typed, SIZES, **SMALL, n_repeats=8)
    pd.testing.assert_frame_equal(resumed.table, whole.table, check_exact=True)
    pd.testing.assert_frame_equal(resumed.labels, whole.labels, check_exact=True)
    with pytest.raises(FileError, match="differs in changed"):
        design_abundance(typed, SIZES, **SMALL, changed="T0", resume=file)
    some = {"indices": np.arange(300), "n_repeats": 8, "resume": file}
    with pytest.raises(FileError, match="differs in model, cells or their labels"):
        design_abundance(typed, SIZES, **SMALL, **some)


@pytest.mark.parametrize(
    ("kind", "message", "arguments"),
    [
        (DataError, "`test` is 'pseudobulk'", {"test": "pseudobulk"}),
        (DataError, "fewer than the 20 donors", {
            "indices": range(10), "design": Design(n_cells=[5], n_donors=[10]),
        }),
        (DataError, "one a label", {"donor_sd": [0.1, 0.2]}),
        (DataError, "`donor_key` is None and `donor_sd` is None", {"donor_sd": None}),
        (DataError, "names a label twice", {"changed": ["T0", "T0"]}),
        (MissingKeyError, "`changed` names 'B'", {"changed": "B"}),
        (MissingKeyError, "`labels_key` is 'who'", {"labels_key": "who"}),
    ],
)  # fmt: skip
def test_errors_come_before_any_work(typed, monkeypatch, kind, message, arguments):
    monkeypatch.setattr(_abundance, "called_labels", None)
    with pytest.raises(kind) as error:
        design_abundance(typed, **{"design": SIZES} | SMALL | arguments)
    assert message in str(error.value)

"""Confidences are calibrated where the truth is known, and come back from a file."""

import json
import warnings

import anndata
import numpy as np
import pandas as pd
import pytest
import scvi

from lucidvi.atlas import Reference
from lucidvi.atlas.calibration._calibrated import calibrated_p_values, calibrated_probabilities
from lucidvi.atlas.calibration._probabilities import cross_fitted, fit, probabilities
from lucidvi.atlas.labels._neighbours import Neighbours
from lucidvi.atlas.labels._voters import Voters
from lucidvi.atlas.mapping._calibrate import by_other_batches, calibration_cells, n_others
from lucidvi.errors import DataError
from lucidvi.model import SCVI
from lucidvi.results import Calibration, Posteriors, Setting
from lucidvi.results._reliability import expected_calibration_error, reliability


def posteriors(loc, scale):
    return Posteriors(loc=loc, scale=scale, names=pd.RangeIndex(len(loc)).astype(str))


def simulated_votes(n_cells, smoothing, power, seed):
    """Votes and labels that are drawn from the probabilities under test."""
    rng = np.random.default_rng(seed)
    votes = rng.dirichlet([0.4, 0.4, 0.4], size=n_cells)
    p = probabilities(votes, smoothing, power)
    codes = (p.cumsum(axis=1) > rng.random((n_cells, 1))).argmax(axis=1)
    return votes, codes


def test_fit_finds_the_numbers_that_labels_were_drawn_with():
    votes, codes = simulated_votes(20_000, smoothing=0.3, power=0.6, seed=0)
    smoothing, power = fit(votes, codes)
    assert smoothing == pytest.approx(0.3, rel=0.15)
    assert power == pytest.approx(0.6, rel=0.05)


@pytest.mark.parametrize("power", [0.5, 2.0])
def test_confidences_become_as_right_as_they_say(power):
    votes, codes = simulated_votes(4_000, smoothing=0.2, power=power, seed=1)
    right = votes.argmax(axis=1) == codes
    p = cross_fitted(votes, codes)
    assert expected_calibration_error(votes.max(axis=1), right) > 0.06
    # Ten bins of 400 cells: chance alone gives about 0.4 / 20 = 0.02.
    assert expected_calibration_error(p.max(axis=1), right) < 0.03


def test_sixty_cells_do_not_run_away():
    votes = np.tile([1.0, 0.0], (60, 1))
    smoothing, power = fit(votes, np.zeros(60, dtype=int))
    p = probabilities(votes, smoothing, power)[0, 0]
    assert 0.95 < p < 1 - 1e-4  # 60 of 60 right leave a chance of about 1 in 60 of an error


def test_one_label_is_certain():
    votes = np.ones((30, 1))
    assert (cross_fitted(votes, np.zeros(30, dtype=int)) == 1).all()


def test_expected_calibration_error_by_hand():
    confidence = np.array([0.6, 0.6, 0.9, 0.9])
    right = np.array([True, False, True, True])
    table = reliability(confidence, right, n_bins=2)
    np.testing.assert_allclose(table["confidence"], [0.6, 0.9])
    np.testing.assert_allclose(table["accuracy"], [0.5, 1.0])
    assert expected_calibration_error(confidence, right, n_bins=2) == pytest.approx(0.1)
    assert len(reliability(np.ones(45), np.ones(45, bool))) == 2  # of at least 20 cells each


def setting(information, power, new_batch=False, scores=(0.0, 1.0)):
    ones = np.ones(2, np.float32)
    alone = np.full(2, np.nan, np.float32)
    return Setting(
        new_batch,
        information,
        smoothing=0.1,
        power=power,
        distance=np.exp(np.float32(scores)),
        agreement=alone,
        confidence_raw=ones,
        confidence=ones,
        right=ones.astype(bool),
    )


def test_between_two_shares_of_information_lies_the_line_between_them():
    found = Calibration(True, (setting(1.0, 2.0), setting(0.5, 1.0), setting(0.2, 0.5)))
    votes = np.array([[0.7, 0.3]])
    of = {power: probabilities(votes, 0.1, power) for power in (2.0, 1.0, 0.5)}
    for information, expected in {
        1.0: of[2.0],
        0.9: 0.8 * of[2.0] + 0.2 * of[1.0],
        0.5: of[1.0],
        0.35: (of[1.0] + of[0.5]) / 2,
        0.01: of[0.5],
    }.items():
        np.testing.assert_allclose(
            calibrated_probabilities(found, votes, information, False), expected
        )


def test_new_batches_have_numbers_of_their_own():
    shared = (setting(1.0, 1.0), setting(0.5, 1.0))
    own = (setting(1.0, 1.0, True, (5.0, 6.0)), setting(0.5, 1.0, True, (5.0, 6.0)))
    found = Calibration(True, shared + own)
    cell = np.exp([4.0]), np.array([np.nan]), 1.0
    assert calibrated_p_values(found, *cell, False) == pytest.approx(1 / 3)
    assert calibrated_p_values(found, *cell, True) == 1
    assert calibrated_p_values(Calibration(True, shared), *cell, True) == pytest.approx(1 / 3)


def test_calibrated_on_cells_that_the_model_did_not_see(model, reference):
    cells, held_out = calibration_cells(model, 300)
    assert held_out
    np.testing.assert_array_equal(cells, np.sort(model.validation_indices))
    assert reference.calibration.held_out
    assert reference.calibration.n_cells == len(cells) == 30
    assert reference.calibration.expected_calibration_error() < 0.1  # nearly all labels are right


def test_batches_vote_on_each_other():
    codes = np.array([0] * 20 + [1] * 20 + [0] * 20 + [2] * 20)
    batches = pd.Categorical(np.repeat(["one", "two"], 40))
    loc = np.random.default_rng(0).normal(size=(80, 2)).astype(np.float32)
    voters = Voters(posteriors(loc, np.ones_like(loc)), codes, 3, Neighbours(loc))
    elsewhere = n_others(voters, batches)
    np.testing.assert_array_equal(elsewhere, np.repeat([20, 0, 20, 0], 20))
    every_other = np.arange(0, 80, 2)
    groups = list(by_other_batches(every_other[elsewhere[every_other] > 0], voters, batches))
    # Label 1 is in the first batch alone, 2 in the second: nobody else could vote for them.
    judged = {group.batch: group.indices for group in groups}
    np.testing.assert_array_equal(judged["one"], np.arange(0, 20, 2))
    np.testing.assert_array_equal(judged["two"], np.arange(40, 60, 2))
    for group in groups:
        np.testing.assert_array_equal(group.truth, codes[group.indices])
        other = loc[40:] if group.batch == "one" else loc[:40]
        np.testing.assert_array_equal(group.voters.posteriors.loc, other)


def test_no_cell_votes_on_itself():
    loc = np.arange(6, dtype=np.float32)[:, None]
    neighbours = Neighbours(loc)
    np.testing.assert_array_equal(neighbours.find(loc, 1, np.arange(6)).ravel()[:2], [1, 0])
    assert (neighbours.find(loc, 9, np.arange(6)) != np.arange(6)[:, None]).all()


def test_round_trip(reference, tmp_path):
    reference.save(tmp_path / "atlas")
    loaded = Reference.load(tmp_path / "atlas").calibration
    assert loaded.held_out
    for before, after in zip(reference.calibration.settings, loaded.settings, strict=True):
        for name, value in vars(before).items():
            np.testing.assert_array_equal(getattr(after, name), value, name)
    card = (tmp_path / "atlas" / "README.md").read_text()
    error = reference.calibration.expected_calibration_error()
    assert "Calibrated on 30 cells that the model was not trained on" in card
    assert f"| {error:.3f} |" in card


def test_a_folder_without_calibration_is_read(reference, query, tmp_path):
    reference.save(tmp_path / "atlas")
    old = anndata.read_h5ad(tmp_path / "atlas" / "cells.h5ad")
    old.uns.clear()
    old.write_h5ad(tmp_path / "atlas" / "cells.h5ad")
    facts = tmp_path / "atlas" / "reference.json"
    said = json.loads(facts.read_text())
    # As it was before there were digests, and coarser labels.
    del said["sha256"], said["coarser_keys"]
    facts.write_text(json.dumps(said | {"layout": 1}))
    loaded = Reference.load(tmp_path / "atlas")
    out = loaded.map(query)
    assert loaded.calibration is None
    assert out.obs["lucidvi_novelty"].isna().all()
    assert (out.obs["lucidvi_call"].astype(str) == out.obs["lucidvi_label"].astype(str)).all()
    shares, _ = loaded.data.voters.judge(
        posteriors(out.obsm["X_lucidvi"], out.obsm["X_lucidvi_scale"])
    )
    np.testing.assert_array_equal(out.obs["lucidvi_confidence"], shares.max(axis=1))


def untrained(adata, **setup):
    SCVI.setup_anndata(adata, **setup)
    model = SCVI(adata, n_hidden=8, n_latent=2, gene_likelihood="nb")
    model.is_trained_ = True
    model.module.eval()
    return model


@pytest.mark.filterwarnings("ignore:Category 0 in adata:UserWarning")
@pytest.mark.parametrize("n_cells", [1, 2, 10])
def test_tiny_references(simulate, n_cells):
    scvi.settings.seed = 0
    reference = Reference.from_model(untrained(simulate(n_cells)))
    query = simulate(3, seed=2)
    if n_cells == 1:
        assert reference.calibration is None
    else:
        assert not reference.calibration.held_out
        with pytest.warns(UserWarning, match="No cell can be called unknown"):
            reference.map(query)
    out = reference.map(query, novelty_rate=0)
    assert set(out.obs["lucidvi_call"]) <= set(reference.labels.cat.categories)
    assert out.obs["lucidvi_confidence"].between(0, 1).all()


def test_one_label_and_a_label_of_one_cell(simulate):
    adata = simulate(40)
    adata.obs["one"] = "T"
    adata.obs["rare"] = ["rare"] + ["common"] * 39
    model = untrained(adata)
    for key in ("one", "rare"):
        reference = Reference.from_model(model, labels_key=key)
        out = reference.map(simulate(1, seed=5))
        assert 0 < out.obs["lucidvi_novelty"].iloc[0] <= 1
        assert out.obs["lucidvi_label"].iloc[0] in reference.labels.cat.categories
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        assert Reference.from_model(model, "one").map(adata).obs["lucidvi_confidence"].eq(1).all()


def test_warns_of_new_batches_if_batches_have_no_labels_in_common(simulate):
    adata = simulate(200)
    adata.obs["sorted"] = adata.obs["batch"].astype(str)
    adata.obs.loc[adata.obs_names[:60], "sorted"] = "both"  # 30 % of the cells
    model = untrained(adata, batch_key="batch")
    few = Reference.from_model(model, "sorted")
    assert few.calibration.share_compared == pytest.approx(0.3, abs=0.05)
    elsewhere = simulate(50, seed=5, first_batch=2)
    with pytest.warns(UserWarning, match=r"new batches cannot be relied on: for 7\d%.*'sorted'"):
        few.map(elsewhere)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        few.map(simulate(50, seed=5))  # of known batches
        all_shared = Reference.from_model(model)
        all_shared.map(elsewhere)
    assert all_shared.calibration.share_compared == 1


def test_warns_if_another_experiment_may_make_cells_unknown(simulate):
    adata = simulate(300, n_batches=1)
    SCVI.setup_anndata(adata)
    model = SCVI(adata, n_hidden=32, n_latent=4, gene_likelihood="nb")
    model.train(max_epochs=60, batch_size=64)
    reference = Reference.from_model(model)
    elsewhere = simulate(100, seed=5, n_batches=1)
    elsewhere.X = elsewhere.X[:, np.random.default_rng(0).permutation(elsewhere.n_vars)]
    with pytest.warns(UserWarning, match="of the cells are unknown.*`batch_key`"):
        out = reference.map(elsewhere)
    assert (out.obs["lucidvi_call"] == "unknown").mean() > 0.5
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        reference.map(simulate(100, seed=6, n_batches=1))
        reference.map(elsewhere, novelty_rate=1)  # as asked


@pytest.mark.parametrize("name", ["novelty_rate", "min_confidence"])
def test_rates_are_shares(reference, query, name):
    with pytest.raises(DataError, match=f"`{name}` is 5"):
        reference.map(query, **{name: 5})

"""Counterfactual covariates."""

import numpy as np
import pytest

from lucidvi.errors import DataError, MissingKeyError
from lucidvi.simulate import switch_covariates


def test_to_the_own_batch_is_the_posterior_predictive(model):
    own = switch_covariates(
        model, batch=model.adata.obs["batch"], covariates={"age": model.adata.obs["age"]}
    )
    predictive = switch_covariates(model)
    assert (own.X != predictive.X).nnz == 0
    np.testing.assert_array_equal(own.obsm["X_lucidvi"], predictive.obsm["X_lucidvi"])


def test_counts_are_those_of_the_new_covariates(model, scores, check_standard):
    indices = np.tile(np.arange(150), 10)
    out = switch_covariates(
        model, batch="2", covariates={"site": "a", "age": 1.5}, indices=indices
    )
    assert (out.obs["batch"] == "2").all()
    assert (out.obs["site"] == "a").all()
    assert (out.obs["age"] == 1.5).all()
    exposure = np.asarray(model.adata.X.sum(axis=1)).ravel()[indices]
    check_standard(scores(model, out, exposure))


def test_states_are_those_of_the_cells_own_covariates(model):
    out = switch_covariates(model, batch="2", covariates={"age": -3.0}, posterior="encoder")
    mean, variance = model.get_latent_representation(return_dist=True)
    standard = (out.obsm["X_lucidvi"] - mean) / np.sqrt(variance)
    assert abs(standard.mean()) < 4 / np.sqrt(standard.size)
    assert standard.std() == pytest.approx(1, abs=0.15)


def test_uncertainty_against_draws_one_by_one(model):
    cells = [0, 1, 2]
    several = switch_covariates(
        model, batch="1", indices=cells, posterior="encoder", n_samples=1000
    )
    repeated = switch_covariates(
        model, batch="1", indices=np.repeat(cells, 1000), posterior="encoder"
    ).X.toarray()
    draws = repeated.reshape(3, 1000, -1)
    error = draws.std(axis=1) / np.sqrt(1000)
    assert (np.abs(draws.mean(axis=1) - several.layers["expected"]) < 6 * error + 1e-3).all()
    np.testing.assert_allclose(draws.std(axis=1), several.layers["count_sd"], rtol=0.25)
    assert (several.layers["expected_sd"] < several.layers["count_sd"]).all()
    assert (several.layers["expected_sd"] > 0).all()


def test_record(model):
    record = switch_covariates(model, batch="1", covariates={"age": 2.0}).uns["lucidvi_simulation"]
    assert record["function"] == "switch_covariates"
    assert record["request"]["covariates"] == {"age": 2.0}
    assert any("extrapolation" in text for text in record["assumptions"])


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"batch": "lane9"}, DataError, "It knows '0', '1', '2'"),
        ({"batch": {"0": 1}}, DataError, "`batch` is a mapping"),
        ({"covariates": {"sight": "a"}}, MissingKeyError, "It has 'site', 'age'"),
        ({"covariates": {"age": [1.0, 2.0]}}, DataError, "150 cells"),
        ({"n_samples": 0}, DataError, "`n_samples` is 0"),
    ],
)
def test_bad_requests(model, arguments, error, message):
    with pytest.raises(error, match=message):
        switch_covariates(model, **arguments)

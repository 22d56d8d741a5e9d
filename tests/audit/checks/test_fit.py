"""Predictions against counts, with arrays whose fault is known."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm

from lucidvi.audit.checks import fit
from lucidvi.audit.subject import Comparison, Predictions

N_CELLS, N_GENES = 300, 200
#: A latent space that is not full.
ROOM = {"n_latent": 10, "n_used": 6}


def predictions(**changes):
    """What a right model would predict."""
    rng = np.random.default_rng(0)
    chance = rng.uniform(0.1, 0.9, N_GENES)
    zeros = rng.binomial(N_CELLS, chance) / N_CELLS
    log_counts = rng.normal(size=(N_CELLS, 5))
    of_genes = dict.fromkeys(
        ("mean_observed", "mean_predicted", "variance_observed", "variance_predicted"),
        np.ones(N_GENES),
    )
    of_cells = dict.fromkeys(
        ("library_observed", "library_predicted", "cv_observed", "cv_predicted"), np.ones(N_CELLS)
    )
    right = Predictions(
        gene=np.array([f"gene{i}" for i in range(N_GENES)]),
        cell=np.arange(N_CELLS),
        residuals=rng.random((N_CELLS, N_GENES)),
        zeros_observed=zeros,
        zeros_predicted=chance,
        zeros_error=np.sqrt(chance * (1 - chance) / N_CELLS),
        correlated=np.arange(5),
        log_observed=log_counts,
        log_predicted=log_counts[::-1],
        **of_genes,
        **of_cells,
    )
    return replace(right, **changes)


def comparison(**evaluated):
    """Likelihoods that differ by known nats from cells' own, 100 nats each."""
    rng = np.random.default_rng(0)
    own = -100 + rng.normal(size=200)
    evaluated = {name: own + gain + 0.1 * rng.normal(size=200) for name, gain in evaluated.items()}
    log_total = rng.normal(size=200)
    return Comparison({"own": own} | evaluated, own, own, own - 50, own - 50, log_total, log_total)


def verdicts(found):
    return {criterion.name: criterion.verdict for criterion in found.criteria}


GOOD = {"nb": 0.0, "zinb": 0.0, "poisson": -20.0, "nb by batch": 0.0}


def test_a_right_model():
    found = fit(predictions(), comparison(**GOOD), "nb", "known", **ROOM)
    assert set(verdicts(found).values()) == {"ok"}
    assert found.verdict == "ok"
    assert found.misfit_genes < 0.05
    assert found.zeros_off < 0.01
    assert found.coverage_90 == pytest.approx(0.9, abs=0.01)
    assert abs(found.overfitting) < 3 * found.overfitting_error + 1e-9
    assert found.residuals.sum() == N_CELLS * N_GENES
    np.testing.assert_allclose(
        found.correlation_observed, np.corrcoef(predictions().log_observed.T)
    )


def narrow(residuals, share):
    """Let a share of the genes have too many counts at the edges of their intervals."""
    n = int(share * N_GENES)
    edges = np.where(residuals < 0.5, 0.3 * residuals, 1 - 0.3 * (1 - residuals))
    return np.concatenate([edges[:, :n], residuals[:, n:]], axis=1)


@pytest.mark.parametrize(("share", "verdict"), [(0.0, "ok"), (0.2, "warn"), (0.6, "fail")])
def test_genes_that_are_not_distributed_as_predicted(share, verdict):
    right = predictions()
    found = fit(
        replace(right, residuals=narrow(right.residuals, share)), None, "nb", "known", **ROOM
    )
    assert found.misfit_genes == pytest.approx(share, abs=0.02)
    assert verdicts(found)["residuals"] == verdict


def test_genes_that_are_hardly_found_do_not_count():
    right = predictions()
    found = fit(
        replace(
            right,
            residuals=narrow(right.residuals, 0.5),
            zeros_observed=np.where(np.arange(N_GENES) < N_GENES // 2, 0.99, 0.5),
        ),
        None,
        "nb",
        "known",
        **ROOM,
    )
    assert found.misfit_genes == 0


@pytest.mark.parametrize(("off", "verdict"), [(0.03, "warn"), (0.1, "fail")])
def test_zeros(off, verdict):
    chance = predictions().zeros_predicted
    found = fit(predictions(zeros_predicted=chance + off), None, "nb", "known", **ROOM)
    assert verdicts(found)["zeros"] == verdict
    assert found.zeros_off == pytest.approx(off, abs=0.015)


def correlated_residuals():
    """Uniform ones, each two genes' of which correlate by 0.25 as normal scores."""
    rng = np.random.default_rng(0)
    own = rng.normal(size=(N_CELLS, N_GENES))
    return norm.cdf(0.5 * rng.normal(size=(N_CELLS, 1)) + np.sqrt(0.75) * own)


def test_correlation_that_is_left_over():
    found = fit(predictions(residuals=correlated_residuals()), None, "nb", "known", **ROOM)
    assert verdicts(found)["correlation"] == "fail"
    assert found.residual_correlation == pytest.approx(0.25, abs=0.05)


@pytest.mark.parametrize(
    ("likelihood", "gains", "criterion", "verdict"),
    [
        ("nb", {"zinb": 0.5}, "zero_inflation", "ok"),
        ("nb", {"zinb": 3.0}, "zero_inflation", "warn"),
        ("nb", {"zinb": 10.0}, "zero_inflation", "fail"),
        ("nb", {"nb by batch": 3.0}, "dispersion", "warn"),
        ("poisson", {"poisson": 0.0, "nb": 20.0}, "dispersion", "fail"),
        ("poisson", {"poisson": 0.0, "nb": 0.2}, "dispersion", "ok"),
        ("zinb", {"nb by batch": 3.0}, "dispersion", "warn"),
        ("nb by batch", {"zinb": 3.0, "nb by batch": 3.0}, "zero_inflation", "warn"),
    ],
)
def test_another_likelihood(likelihood, gains, criterion, verdict):
    found = fit(predictions(), comparison(**(GOOD | gains)), likelihood, "known", **ROOM)
    assert verdicts(found)[criterion] == verdict
    best = max(found.alternatives, key=lambda alternative: alternative.gain)
    assert found.alternatives[0] == best
    assert best.gain == pytest.approx(max((GOOD | gains).values()), abs=0.05)


@pytest.mark.parametrize(
    ("likelihood", "gains", "code"),
    [
        ("nb", {"zinb": 9.0}, "gene_likelihood='zinb'"),
        ("poisson", {"poisson": 0.0, "nb": 20.0}, "gene_likelihood='nb'"),
        ("zinb", {"nb by batch": 3.0}, "dispersion='gene-batch'"),
        ("nb", {"nb": 3.0}, "max_epochs"),  # its own, fitted anew: it was not trained to the end
        ("nb", {}, "max_epochs"),
    ],
)
def test_what_to_do_is_what_fits_better(likelihood, gains, code):
    right = predictions()
    found = fit(
        replace(right, residuals=narrow(right.residuals, 0.6)),
        comparison(**(GOOD | gains)),
        likelihood,
        "known",
        **ROOM,
    )
    (residuals,) = (c for c in found.criteria if c.name == "residuals")
    assert code in residuals.cure


@pytest.mark.parametrize(
    ("n_latent", "n_used", "code"),
    [(5, 5, "n_latent=10)"), (30, 30, "n_latent=60)"), (30, 7, "n_latent=30, n_layers=2")],
)
def test_more_dimensions_only_where_all_are_in_use(n_latent, n_used, code):
    shared = predictions(residuals=correlated_residuals())
    found = fit(shared, None, "nb", "known", n_latent=n_latent, n_used=n_used)
    (correlation,) = (c for c in found.criteria if c.name == "correlation")
    assert correlation.verdict != "ok"
    assert code in correlation.cure


def test_a_latent_state_that_costs_held_out_cells():
    """It explains 2 nats of training cells and takes 3 from the others: more than is there."""
    compared = comparison(**GOOD)
    nothing = np.zeros(200)
    compared = replace(
        compared,
        null_fit=compared.elbo_fit - 2,
        null_evaluated=compared.elbo_evaluated + 3,
        log_total_fit=nothing,
        log_total_evaluated=nothing,
    )
    found = fit(predictions(), compared, "nb", "known", **ROOM)
    (over,) = (c for c in found.criteria if c.name == "overfitting")
    assert over.verdict == "fail"
    assert "explains 2.0 nats" in over.statement
    assert "costs 3.0" in over.statement
    assert "%" not in over.statement


def test_without_held_out_cells():
    found = fit(predictions(), comparison(**GOOD), "nb", "unknown", **ROOM)
    assert verdicts(found)["overfitting"] == "skipped"
    assert np.isnan(found.overfitting)
    assert not found.held_out


def test_what_is_no_count_has_no_zeros():
    found = fit(
        predictions(zeros_predicted=np.full(N_GENES, np.nan)), None, "normal", "known", **ROOM
    )
    assert verdicts(found)["zeros"] == verdicts(found)["likelihood"] == "skipped"
    assert found.verdict == "ok"

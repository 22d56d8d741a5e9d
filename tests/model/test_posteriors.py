"""Models with richer posteriors, and trainings with other objectives, as a user calls them."""

import itertools

import numpy as np
import pytest
import scvi
import torch

from lucidvi.errors import ModelTypeError
from lucidvi.model import SCVI
from lucidvi.nn import ENCODERS
from lucidvi.train import OBJECTIVES, ImportanceWeighted

TRAIN = {"max_epochs": 25, "batch_size": 50, "train_size": 0.8}


def make(adata, *, plan_kwargs=None, **kwargs):
    scvi.settings.seed = 0
    adata = adata.copy()
    SCVI.setup_anndata(adata, batch_key="batch", labels_key="label")
    model = SCVI(adata, n_hidden=32, n_latent=3, **kwargs)
    model.train(**TRAIN, plan_kwargs=plan_kwargs)
    return model


@pytest.fixture(scope="module", params=["full", "flow"])
def model(request, make_adata):
    return make(make_adata(150, seed=5), posterior=request.param)


def test_latent_representation(model):
    mean, variance = model.get_latent_representation(return_dist=True)
    assert mean.shape == variance.shape == (150, 3)
    assert (variance > 0).all()
    np.testing.assert_allclose(model.get_latent_representation(), mean)
    draws = np.stack([model.get_latent_representation(give_mean=False) for _ in range(400)])
    error = 5 * np.sqrt(variance / 400) + 0.05 * np.sqrt(variance)
    assert (np.abs(draws.mean(axis=0) - mean) < error).mean() > 0.99


def test_bounds_agree(model):
    """IWAE and AIS come to log p(x) by different ways, and the ELBO stays below."""
    cells = np.arange(60)
    torch.manual_seed(0)
    iwae = model.get_marginal_ll(
        indices=cells, n_mc_samples=2000, return_mean=False, return_diagnostics=True
    )
    ais = model.get_marginal_ll(
        indices=cells, method="ais", n_mc_samples=1280, return_mean=False, return_diagnostics=True
    )
    both = (iwae["trusted"] & ais["trusted"]).to_numpy()
    assert both.sum() >= 15
    difference = (iwae["log_px"] - ais["log_px"]).to_numpy()
    error = np.hypot(iwae["standard_error"], ais["standard_error"]).to_numpy()
    # What no draw of the encoder's posterior comes near, such as a second mode, no error tells of.
    assert (np.abs(difference) < 0.5)[both].all()
    assert (np.abs(difference) < 3 * error)[both].mean() > 0.8
    elbo = np.mean([model.get_elbo(indices=cells).item() for _ in range(20)])
    assert elbo < ais["log_px"].mean() + 0.1


def test_gap_and_refinement(model):
    torch.manual_seed(0)
    gap = model.get_inference_gap(indices=np.arange(60))
    assert gap["elbo"].mean() == pytest.approx(
        np.mean([model.get_elbo(indices=np.arange(60)).item() for _ in range(30)]), abs=0.2
    )
    assert (gap["log_px"] > gap["elbo_refined"] - 0.2).all()
    refined = model.refine_posterior(indices=np.arange(60), family="full")
    assert (refined.elbo >= refined.elbo_before).all()


def test_files(model, tmp_path):
    model.save(tmp_path / "model", save_anndata=True)
    again = SCVI.load(tmp_path / "model")
    np.testing.assert_allclose(
        again.get_latent_representation(), model.get_latent_representation(), rtol=1e-5
    )
    assert type(again.module.z_encoder) is type(model.module.z_encoder)


def test_downstream(model):
    table = model.differential_expression(
        groupby="label", group1="T", group2="B", mode="change", silent=True
    )
    assert np.isfinite(table[["lfc_mean", "lfc_std"]].to_numpy(dtype=float)).all()
    expression = model.get_normalized_expression(n_samples=3, return_numpy=True)
    np.testing.assert_allclose(expression.sum(axis=-1), 1, rtol=1e-4)


def test_what_scvi_tools_cannot_do_is_refused(model):
    with pytest.raises(ModelTypeError, match="posterior"):
        model.to_scvi_model()
    with pytest.raises(ModelTypeError, match="Importance weights"):
        model.get_normalized_expression(weights="importance", n_samples_overall=10)


def test_query(model, make_adata):
    query = make_adata(60, seed=6)
    query.obs["batch"] = "new"
    mapped = SCVI.load_query_data(query, model, unfrozen=True)
    mapped.train(max_epochs=2, batch_size=30)
    assert np.isfinite(mapped.get_latent_representation()).all()


VARIANTS = [
    {"use_observed_lib_size": False},
    {"latent_distribution": "ln", "gene_likelihood": "nb"},
    {"n_latent": 1},
]
#: Each posterior with each objective; variants go round, so that any two choices meet.
COMBINATIONS = [
    (posterior, objective, VARIANTS[(i + j) % len(VARIANTS)])
    for i, posterior in enumerate(ENCODERS)
    for j, objective in enumerate(OBJECTIVES)
]


def test_any_two_choices_are_tried_together():
    chosen = [(posterior, objective, str(kwargs)) for posterior, objective, kwargs in COMBINATIONS]
    axes = tuple(ENCODERS), tuple(OBJECTIVES), tuple(map(str, VARIANTS))
    for one, other in itertools.combinations(range(3), 2):
        tried = {(choice[one], choice[other]) for choice in chosen}
        assert tried == set(itertools.product(axes[one], axes[other]))


@pytest.mark.parametrize(("posterior", "objective", "kwargs"), COMBINATIONS, ids=str)
def test_combinations(make_adata, posterior, objective, kwargs):
    adata = make_adata(80, seed=5)
    SCVI.setup_anndata(adata, batch_key="batch", labels_key="label")
    model = SCVI(adata, n_hidden=16, posterior=posterior, **{"n_latent": 2, **kwargs})
    plan = {"objective": objective, "kl_warmup": 0.3}
    model.train(max_epochs=4, batch_size=33, train_size=0.8, plan_kwargs=plan)
    assert np.isfinite(model.history["elbo_train"].to_numpy(dtype=float)).all()
    assert np.isfinite(model.get_latent_representation()).all()
    gap = model.get_inference_gap(indices=np.arange(6), n_chains=8)
    assert np.isfinite(gap[["elbo", "elbo_refined", "log_px"]].to_numpy()).all()


@pytest.mark.parametrize("prior", ["mixture", "vamp", "conditional"])
@pytest.mark.parametrize("objective", ["iwae", "semi_amortized"])
def test_objectives_with_priors(make_adata, prior, objective):
    adata = make_adata(80, seed=5)
    SCVI.setup_anndata(adata, batch_key="batch", labels_key="label")
    arguments = {} if prior == "conditional" else {"n_components": 5}
    model = SCVI(adata, n_hidden=16, n_latent=2, prior=prior, prior_kwargs=arguments)
    before = {name: weight.clone() for name, weight in model.module.prior.named_parameters()}
    plan = {"objective": objective, "kl_warmup": 0.3}
    model.train(max_epochs=4, batch_size=33, train_size=0.8, plan_kwargs=plan)
    for name, weight in model.module.prior.named_parameters():
        assert weight.isfinite().all(), name
        assert not weight.equal(before[name]), name


@pytest.mark.slow
def test_objectives_learn(make_adata):
    """From one start, each objective raises the held-out log p(x) by what the ELBO does."""
    adata = make_adata(400, seed=5)

    def held_out(**plan_kwargs):
        model = make(adata, gene_likelihood="nb", plan_kwargs=plan_kwargs)
        torch.manual_seed(0)
        return model.get_marginal_ll(indices=model.validation_indices, n_mc_samples=500)

    untrained = held_out(lr=1e-9)
    plain = held_out()
    assert plain > untrained + 1
    for other in ({"refine_steps": 1}, {"objective": ImportanceWeighted(4)}):
        assert held_out(**other) > plain - 0.1 * (plain - untrained)


def test_objective_of_a_training_plan(make_adata):
    adata = make_adata(60, seed=5)
    SCVI.setup_anndata(adata)
    model = SCVI(adata, n_hidden=8, n_latent=2)
    with pytest.raises(ValueError, match="`objective` is 'evidence'"):
        model.train(max_epochs=1, plan_kwargs={"objective": "evidence"})

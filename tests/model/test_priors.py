"""Every prior, as a user calls it: training, bounds, refinement, files, queries."""

import copy
import pickle
import warnings

import numpy as np
import pytest
import scvi
import torch
from torch._dynamo.utils import counters

from lucidvi._random import in_evaluation
from lucidvi.errors import DataError, ModelTypeError
from lucidvi.inference import PosteriorTarget, ais
from lucidvi.kernels import plain_torch, to_dense
from lucidvi.model import SCVI
from lucidvi.nn import PRIORS, log_density

SETUP = {
    "batch_key": "batch",
    "labels_key": "label",
    "categorical_covariate_keys": ["site"],
    "continuous_covariate_keys": ["age"],
}
EVERYTHING = ("labels", "batch", "categorical", "continuous")
#: Every prior, and what else a model of it may have.
SETTINGS = [{"prior": name} for name in PRIORS] + [
    {"prior": "vamp", "encode_covariates": True, "prior_kwargs": {"n_components": 7}},
    {"prior": "vamp", "encode_covariates": True, "batch_representation": "embedding"},
    {"prior": "conditional", "prior_kwargs": {"covariates": EVERYTHING}},
    {"prior": "vamp", "latent_distribution": "ln"},
    {"prior": "vamp", "posterior": "full"},
    {"prior": "conditional", "posterior": "full"},
]
OTHERS = [name for name in PRIORS if name != "standard_normal"]


def make_model(adata, setup=None, **kwargs):
    scvi.settings.seed = 0
    SCVI.setup_anndata(adata, **(SETUP if setup is None else setup))
    return SCVI(adata, n_hidden=16, n_latent=2, **kwargs)


@pytest.fixture(scope="module", params=SETTINGS, ids=str)
def model(request, make_adata):
    """A trained model that no test changes."""
    made = make_model(make_adata(120), **request.param)
    made.train(max_epochs=15, batch_size=40)
    return made


def minibatch(model, n_cells=20):
    return next(iter(model._make_data_loader(model.adata, batch_size=n_cells)))


# -- bounds and refinement --------------------------------------------------------------------


def test_bounds_are_in_order_and_agree(model):
    cells = np.arange(40)
    elbo = float(np.mean([model.get_elbo(indices=cells) for _ in range(20)]))
    by_weights, annealed = (
        model.get_marginal_ll(
            indices=cells, n_mc_samples=n, method=method, return_diagnostics=True
        )
        for method, n in (("iwae", 3000), ("ais", 640))
    )
    error = float(np.hypot(by_weights["standard_error"], annealed["standard_error"]))
    assert abs(by_weights["log_px"] - annealed["log_px"]) < 4 * error + 0.02
    assert elbo < annealed["log_px"]
    own = np.mean([model.module.marginal_ll(minibatch(model, 40), 3000, return_mean=True)])
    assert abs(own - by_weights["log_px"]) < 4 * error + 0.05


def test_refinement_and_gap(model):
    cells = np.arange(20)
    refined = model.refine_posterior(indices=cells)
    assert (refined.elbo >= refined.elbo_before).all()
    gap = model.get_inference_gap(indices=cells)
    assert (gap["amortization_gap"] > -0.05).all()
    assert (gap["approximation_gap"] > -4 * gap["standard_error"] - 0.05).all()


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("observed", [True, False])
def test_target_has_the_joint_prior(make_adata, prior, observed):
    """Each part by itself, as the module says it."""
    model = make_model(make_adata(), prior=prior, use_observed_lib_size=observed)
    model.module.eval()
    module, tensors = model.module, minibatch(model)
    target = PosteriorTarget.from_module(module, tensors)
    z = target.q0.sample((3,))
    state, library = z[..., :2], z[..., 2:]
    with torch.no_grad():
        latent = {"z": state, "library": torch.zeros(3, 20, 1) if observed else library}
        outputs = module.generative(**module._get_generative_input(tensors, latent))
    want = log_density(outputs["pz"], state)
    if not observed:
        want = want + outputs["pl"].log_prob(library).sum(dim=-1)
    torch.testing.assert_close(target.prior.log_prob(z), want)
    assert target.prior.batch_shape == target.q0.batch_shape
    assert target.prior.event_shape == target.q0.event_shape
    assert target.prior.sample((2,)).shape == (2, 20, 3 if not observed else 2)
    estimate = ais(target, 4, target.prior, n_temperatures=5)
    assert estimate.log_px.isfinite().all()


def test_dense_counts_and_plain_torch_give_the_same_loss(model):
    tensors = minibatch(model)
    losses = []
    for x in (tensors["X"], to_dense(tensors["X"]).to_sparse_csr()):
        torch.manual_seed(0)
        losses.append(model.module({**tensors, "X": x})[2].loss)
    with plain_torch():
        torch.manual_seed(0)
        losses.append(model.module(tensors)[2].loss)
    for other in losses[1:]:
        torch.testing.assert_close(other, losses[0], rtol=1e-4, atol=1e-4)


# -- one function, in a training and after it ---------------------------------------------------


def test_training_mode_does_not_change_the_prior(model):
    module, tensors = copy.deepcopy(model.module), minibatch(model)
    z = torch.randn(20, 2)
    given = module._get_generative_input(tensors, {"z": z, "library": torch.ones(20, 1)})
    densities = [log_density(m.generative(**given)["pz"], z) for m in (module, module.train())]
    torch.testing.assert_close(*densities, rtol=0, atol=0)
    assert all(layer.training for layer in module.modules())


def test_statistics_are_those_of_the_cells(make_adata):
    """After one pass in training mode: as with a prior that does not encode."""
    statistics = []
    for prior in ("standard_normal", "vamp"):
        model = make_model(make_adata(), prior=prior)
        model.module.train()
        torch.manual_seed(0)
        model.module(minibatch(model))
        statistics.append([b for n, b in model.module.named_buffers() if "z_encoder" in n])
    assert len(statistics[0]) == 3
    for one, other in zip(*statistics, strict=True):
        assert torch.equal(one, other)


def test_pseudo_inputs_start_at_training_cells(make_adata):
    model = make_model(
        make_adata(), prior="vamp", encode_covariates=True, prior_kwargs={"n_components": 9}
    )
    model.train(max_epochs=1, plan_kwargs={"lr": 0.0})
    prior, x = model.module.prior, np.log1p(model.adata.X.toarray())
    distance = np.abs(prior.pseudo_inputs.detach().numpy()[:, None] - x).max(axis=-1)
    cells = distance.argmin(axis=1)
    assert distance.min(axis=1).max() < 0.02
    assert set(cells) <= set(model.train_indices)
    assert len(set(cells)) == 9
    np.testing.assert_array_equal(prior.batch[:, 0], cells % 3)
    age = model.adata.obs["age"].to_numpy()[cells]
    np.testing.assert_allclose(prior.continuous[:, 0], age, rtol=1e-5)
    other = make_model(make_adata(), prior="vamp", prior_kwargs={"n_components": 9})
    drawn = other.module.prior.pseudo_inputs.detach().clone()
    other.train(max_epochs=1, plan_kwargs={"lr": 0.0, "start_from_data": False})
    torch.testing.assert_close(other.module.prior.pseudo_inputs.detach(), drawn)


@pytest.mark.parametrize("prior", OTHERS)
def test_one_seed_gives_the_same_other_weights(make_adata, prior):
    want = make_model(make_adata()).module.state_dict()
    got = make_model(make_adata(), prior=prior).module.state_dict()
    for name, weight in want.items():
        assert torch.equal(got[name], weight), name
    assert all(name.startswith("prior.") for name in got.keys() - want.keys())


@pytest.mark.filterwarnings("ignore")  # as errors they would stop torch from compiling
@pytest.mark.parametrize("prior", PRIORS)
def test_a_compiled_module_trains(make_adata, prior):
    torch._dynamo.reset()
    counters.clear()
    model = make_model(make_adata(), prior=prior)
    before = {name: w.clone() for name, w in model.module.state_dict().items()}
    compiled = {"compile": True, "compile_kwargs": {"backend": "eager"}}
    model.train(max_epochs=2, plan_kwargs=compiled)
    assert counters["frames"]["ok"] > 0
    assert np.isfinite(float(model.get_elbo()))
    after = model.module.state_dict()
    learned = [
        n for n in before if n.startswith("prior.") and not torch.equal(before[n], after[n])
    ]
    assert bool(learned) == (prior != "standard_normal")


@pytest.mark.parametrize("prior", PRIORS)
def test_flow_posteriors(make_adata, prior):
    model = make_model(make_adata(), prior=prior, posterior="flow")
    model.train(max_epochs=2)
    loss = model.module(minibatch(model))[2].loss
    assert loss.isfinite()
    loss.backward()
    assert all(weight.grad.any() for weight in model.module.prior.parameters())


# -- copies and files -------------------------------------------------------------------------


def test_copies_and_files(model, tmp_path):
    model.save(str(tmp_path / "model"), save_anndata=True)
    loaded = SCVI.load(str(tmp_path / "model"))
    tensors = minibatch(model)
    losses = []
    for module in (
        model.module,
        copy.deepcopy(model.module),
        pickle.loads(pickle.dumps(model.module)),
        loaded.module,
    ):
        torch.manual_seed(0)
        losses.append(module(tensors)[2].loss)
    assert all(torch.equal(loss, losses[0]) for loss in losses)
    names = list(model.module.state_dict())
    assert sum("mean_encoder.weight" in name for name in names) == 2  # of z and of the library


def test_minified_data(model):
    twin = copy.deepcopy(model)
    mean, variance = twin.get_latent_representation(return_dist=True)
    twin.adata.obsm["X_latent_qzm"], twin.adata.obsm["X_latent_qzv"] = mean, variance
    twin.minify_adata()
    expression = twin.get_normalized_expression(n_samples=2)
    assert np.isfinite(expression.to_numpy()).all()


# -- what scvi-tools does not have --------------------------------------------------------------


@pytest.mark.parametrize("prior", OTHERS)
def test_scvi_tools_has_no_such_model(make_adata, prior):
    model = make_model(make_adata(), prior=prior)
    with pytest.raises(ModelTypeError, match=rf"`prior='{prior}'`, which scvi-tools does not"):
        model.to_scvi_model()
    model.is_trained = True
    with pytest.raises(ModelTypeError, match="those of a standard normal prior"):
        model.get_normalized_expression(weights="importance", n_samples_overall=10)


def test_a_standard_normal_that_is_asked_for_is_converted(make_adata):
    model = make_model(make_adata(), prior="standard_normal", prior_kwargs={})
    back = SCVI.from_scvi_model(model.to_scvi_model())
    assert type(back.module.prior) is PRIORS["standard_normal"]


def test_bad_values(make_adata):
    adata = make_adata()
    with pytest.raises(ValueError, match=r"`prior` is 'gauss'; it must be one of 'standard_no"):
        make_model(adata, prior="gauss")
    with pytest.raises(DataError, match="has 'k'"):
        make_model(adata, prior="vamp", prior_kwargs={"k": 3})
    SCVI.setup_anndata(adata)
    with pytest.raises(DataError, match=r"'labels', which has one level only.\n.*labels_key=..."):
        SCVI(adata, prior="conditional")


# -- queries ----------------------------------------------------------------------------------


def query_of(make_adata, label=None):
    query = make_adata(40, n_batches=2, seed=3)
    query.obs["batch"] = [f"new{name}" for name in query.obs["batch"]]
    if label is not None:
        query.obs["label"] = label
    return query


@pytest.mark.parametrize("label", [None, "unknown"])
def test_query(model, make_adata, label):
    reference, query = model.module.state_dict(), query_of(make_adata, label)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Training this model on the query cannot move")
        surgery = SCVI.load_query_data(query, model)
    surgery.train(max_epochs=3, plan_kwargs={"weight_decay": 0.0, "lr": 0.05})
    assert np.isfinite(float(surgery.get_elbo()))
    own = set(query.obs["label"]) if label is None else {label}
    for name, weight in surgery.module.state_dict().items():
        if not name.startswith("prior."):
            continue
        old = reference[name]
        changed = (weight[..., : old.shape[-1]] != old).any()
        trained = ("tables.labels" in name and label is None) or "tables.categorical" in name
        if "tables" in name and name.endswith("weight") and "continuous" not in name:
            assert (
                weight.shape[-1] - old.shape[-1]
                == {
                    "labels": len(own - {"T", "B"}),
                    "batch": 2,
                    "categorical": 0,
                }[name.split(".")[2]]
            )
        # Levels that the query's cells have are trained with them; nothing else moves.
        assert bool(changed) == (trained and name.endswith("weight")), name


def test_reference_posteriors_stay_where_they_are(make_adata):
    """Pseudo-inputs of old batches must not train the old batches' weights of the encoder."""
    batches = {"batch_key": "batch"}
    model = make_model(make_adata(), batches, prior="vamp", encode_covariates=True)
    model.train(max_epochs=3)
    surgery = SCVI.load_query_data(query_of(make_adata), model)
    tensors = minibatch(model)
    z = torch.randn(20, 2)

    def seen(module):
        with torch.no_grad(), in_evaluation(module):
            given = module._get_generative_input(tensors, {"z": z, "library": torch.ones(20, 1)})
            return log_density(module.generative(**given)["pz"], z)

    before = seen(surgery.module)
    torch.testing.assert_close(before, seen(model.module))
    gradients = []
    for module in (surgery.module, copy.deepcopy(model.module)):
        module.train().zero_grad()
        z_prior = module.generative(
            **module._get_generative_input(tensors, {"z": z, "library": torch.ones(20, 1)})
        )["pz"]
        gradients.append(log_density(z_prior, z).requires_grad)
    assert gradients == [False, True]

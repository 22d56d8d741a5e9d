"""The module where it is more than scvi-tools' numbers: draws, embeddings, log likelihoods."""

import math

import numpy as np
import pytest
import scipy.stats
import scvi.module
import torch
from scvi import REGISTRY_KEYS

from lucidvi.module import VAE, ShiftedModule


def minibatch(n_cells=8, n_genes=6, n_batch=3):
    generator = torch.Generator().manual_seed(0)
    x = torch.poisson(3 * torch.rand(n_cells, n_genes, generator=generator), generator=generator)
    x[:, 0] += 1
    return {
        REGISTRY_KEYS.X_KEY: x,
        REGISTRY_KEYS.BATCH_KEY: torch.arange(n_cells)[:, None] % n_batch,
        REGISTRY_KEYS.LABELS_KEY: torch.arange(n_cells)[:, None] % 2,
    }


def make(**kwargs):
    kwargs = {"n_input": 6, "n_batch": 3, "n_labels": 2, "n_hidden": 8, "n_latent": 2, **kwargs}
    if kwargs.get("use_observed_lib_size") is False:
        kwargs |= {"library_log_means": np.full((1, 3), 2.0), "library_log_vars": np.ones((1, 3))}
    return VAE(**kwargs).eval()


@pytest.mark.parametrize("batches", ["one-hot", "embedding"])
@pytest.mark.parametrize("dispersion", ["gene", "gene-batch", "gene-label", "gene-cell"])
@pytest.mark.parametrize("observed", [True, False])
def test_several_draws_at_once(batches, dispersion, observed):
    """As many draws of z as asked for, each decoded as if it were alone."""
    module = make(
        batch_representation=batches, dispersion=dispersion, use_observed_lib_size=observed
    )
    tensors = minibatch()
    inference, generative = module(tensors, inference_kwargs={"n_samples": 5}, compute_loss=False)
    assert inference["z"].shape == (5, 8, 2)
    px = generative["px"].log_likelihood(tensors["X"])
    assert px.shape == (5, 8)
    for draw in range(5):
        one = {"z": inference["z"][draw], "library": inference["library"][draw]}
        alone = module.generative(**module._get_generative_input(tensors, one))["px"]
        torch.testing.assert_close(px[draw], alone.log_likelihood(tensors["X"]))


@pytest.mark.parametrize("likelihood", ["nb", "zinb", "poisson"])
def test_sample_has_the_moments_of_the_likelihood(likelihood):
    module = make(gene_likelihood=likelihood, n_latent=1)
    for parameter in module.z_encoder.parameters():
        parameter.data.zero_()  # q(z) = N(0, 1): the draws' spread comes from p(x | z) and it
    tensors = minibatch()
    draws = module.sample(tensors, n_samples=4000).double()
    assert draws.shape == (8, 6, 4000)
    outputs = module(tensors, inference_kwargs={"n_samples": 4000}, compute_loss=False)[1]
    mean = outputs["px"].mean.double()
    error = (draws.var(-1) / 4000 + mean.var(0) / 4000).sqrt()
    assert ((draws.mean(-1) - mean.mean(0)).abs() < 4.5 * error).all()


def test_poisson_draws_are_bounded():
    module = make(gene_likelihood="poisson")
    tensors = minibatch()
    tensors["X"] = tensors["X"] * 1e6
    assert module.sample(tensors, max_poisson_rate=2.0).max() < 30


@pytest.mark.parametrize("latent", ["normal", "ln"])
@pytest.mark.parametrize("observed", [True, False])
@pytest.mark.parametrize("per_pass", [1, 7, 50_000])
def test_marginal_likelihood_against_quadrature(latent, observed, per_pass):
    """One latent dimension, so that the integral over z (and log library) is a sum over a grid."""
    module = make(
        n_latent=1 if latent == "normal" else 2,
        latent_distribution=latent,
        use_observed_lib_size=observed,
        gene_likelihood="nb",
    )
    propose_from_the_prior(module)
    tensors = {key: value[:3] for key, value in minibatch().items()}
    n = {1: 300, 7: 700}.get(per_pass, 50_000)
    got = module.marginal_ll(tensors, n_mc_samples=n, n_mc_samples_per_pass=per_pass)
    want = quadrature(module, tensors)
    assert got.shape == (3,)
    tolerance = 0.02 if n == 50_000 else 0.5
    torch.testing.assert_close(got.double(), want, rtol=0, atol=tolerance)


def propose_from_the_prior(module):
    """An untrained encoder misses the posterior; from a proposal that is too narrow or elsewhere
    no number of samples would do."""
    for encoder, mean in ((module.z_encoder, 0.0), (module.l_encoder, 2.0)):
        for head in (encoder.mean_encoder, encoder.var_encoder):
            torch.nn.init.zeros_(head.weight)
            torch.nn.init.zeros_(head.bias)
        torch.nn.init.constant_(encoder.mean_encoder.bias, mean)


def quadrature(module, tensors, n_points=61):
    """Log of the integral of p(x | z, l) p(z) p(l) by the midpoint rule."""
    grid = torch.linspace(-5, 5, n_points)
    step = float(grid[1] - grid[0])
    latent = torch.cartesian_prod(*[grid] * module.n_latent).reshape(-1, module.n_latent)
    log_prior = torch.distributions.Normal(0, 1).log_prob(latent).sum(-1)
    libraries = [None] if module.use_observed_lib_size else list(2.0 + grid)
    total = []
    for library in libraries:
        n_cells = len(tensors["X"])
        z = module.z_encoder.z_transformation(latent)[:, None].expand(-1, n_cells, -1)
        log_weight = log_prior + module.n_latent * math.log(step)
        log_library = tensors["X"].sum(-1, keepdim=True).log()
        if library is not None:
            log_library = library.expand(n_cells, 1)
            prior = scipy.stats.norm.logpdf(float(library), 2.0, 1.0)
            log_weight = log_weight + prior + math.log(step)
        inputs = {"z": z, "library": log_library.expand(len(latent), -1, -1)}
        with torch.no_grad():
            px = module.generative(**module._get_generative_input(tensors, inputs))["px"]
            total.append(px.log_likelihood(tensors["X"]) + log_weight[:, None])
    return torch.cat(total).double().logsumexp(0)


def test_marginal_likelihood_of_the_mean(seed):
    module, tensors = make(), minibatch()
    torch.manual_seed(1)
    each = module.marginal_ll(tensors, n_mc_samples=10)
    torch.manual_seed(1)
    mean = module.marginal_ll(tensors, n_mc_samples=10, return_mean=True)
    assert mean == pytest.approx(each.mean().item())


def test_one_seed_gives_the_weights_of_scvi_tools():
    kwargs = {"n_input": 6, "n_batch": 3, "n_labels": 2, "dispersion": "gene-batch", "n_layers": 2}
    torch.manual_seed(7)
    ours = VAE(**kwargs).state_dict()
    torch.manual_seed(7)
    theirs = scvi.module.VAE(**kwargs).state_dict()
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_latent_library_needs_its_prior():
    with pytest.raises(ValueError, match="library_log_means"):
        VAE(6, n_batch=1, use_observed_lib_size=False)


def test_batches_of_equal_depth_have_a_prior(seed):
    """A variance of zero would make the KL divergence infinite."""
    module = VAE(
        6,
        n_batch=3,
        n_labels=2,
        use_observed_lib_size=False,
        library_log_means=np.zeros((1, 3)),
        library_log_vars=np.zeros((1, 3)),
    )
    assert torch.isfinite(module(minibatch())[2].loss)


def test_payload_for_autotune():
    tensors = minibatch()
    assert make()(tensors)[2].extra_metrics == {}
    payload = make(extra_payload_autotune=True)(tensors)[2].extra_metrics
    assert set(payload) == {"z", "batch", "labels"}
    assert payload["batch"] is tensors["batch"]


def test_transform_batch_decodes_as_that_batch():
    module, tensors = make(), minibatch()
    inference = module.inference(**module._get_inference_input(tensors))
    inputs = module._get_generative_input(tensors, inference)
    moved = module.generative(**inputs, transform_batch=2)["px"]
    inputs["batch_index"] = torch.full_like(inputs["batch_index"], 2)
    torch.testing.assert_close(moved.mu, module.generative(**inputs)["px"].mu)


@pytest.mark.parametrize(
    "kwargs",
    [
        {"gene_likelihood": "nb"},
        {"gene_likelihood": "zinb"},
        {"gene_likelihood": "poisson"},
        {"gene_likelihood": "zinb", "dispersion": "gene-cell"},
    ],
    ids=str,
)
def test_shifted_features(kwargs):
    """Shifted biases are what any module's shifted likelihood is; weights stay as they are."""
    module, tensors = make(**kwargs), minibatch()
    before = {name: weight.clone() for name, weight in module.state_dict().items()}
    shifts = [torch.linspace(-1, 1, 6, requires_grad=True) for _ in range(2)]
    observed, s = module.observe(tensors), module.covariates(tensors)
    z = module.encode(observed, s).latent.mean.detach()
    exposures = {"rna": observed["rna"].log_exposure}
    values, slopes = [], []
    for view, shift in zip(
        (module.shifted(shifts[0]), ShiftedModule(module, shifts[1])), shifts, strict=True
    ):
        assert not view.training
        (px,) = view.decode(z, s, exposures).values()
        values.append(px.log_likelihood(observed["rna"].x))
        slopes += torch.autograd.grad(values[-1].sum(), shift)
    torch.testing.assert_close(*values)
    torch.testing.assert_close(*slopes, rtol=1e-4, atol=1e-4)
    after = module.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], weight) for name, weight in before.items())

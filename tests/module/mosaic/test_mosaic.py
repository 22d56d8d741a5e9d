"""The autoencoder of several modalities: experts, their product, and what a training adds."""

import pytest
import torch
from scvi import REGISTRY_KEYS
from torch.distributions import Normal

from lucidvi.errors import DataError
from lucidvi.inference import PosteriorTarget, inference_gap
from lucidvi.module import Observed
from lucidvi.module.mosaic import KINDS, MosaicVAE
from lucidvi.module.mosaic._mosaic import aligned, one_of_several
from lucidvi.nn import Expert, ProductOfExperts

PARTS = {
    "rna": {"kind": "rna", "n_features": 12},
    "prot": {"kind": "protein", "n_features": 5},
    "atac": {"kind": "accessibility", "n_features": 9},
}


@pytest.fixture
def module(seed):
    module = MosaicVAE(PARTS, n_batch=2, n_latent=3, n_hidden=8)
    return module.eval()


def minibatch(n_cells=6):
    generator = torch.Generator().manual_seed(0)
    tensors = {
        field: torch.poisson(torch.full((n_cells, n), 2.0), generator=generator)
        for field, n in (("X", 12), ("prot", 5), ("atac", 9))
    }
    tensors[REGISTRY_KEYS.BATCH_KEY] = torch.arange(n_cells)[:, None] % 2
    return tensors


def test_product_is_bayes_rule_of_normals():
    """The posterior of a standard normal state, of which two instruments measure the numbers."""
    x = {"a": torch.tensor([[1.0, -2.0]]), "b": torch.tensor([[0.5, 3.0]])}
    noise = {"a": 0.7, "b": 2.0}
    q = ProductOfExperts({key: Expert(x[key], torch.full((1, 2), noise[key] ** -2)) for key in x})
    z = torch.linspace(-6, 6, 4001)[:, None, None].double()
    joint = Normal(0, 1).log_prob(z) + sum(
        Normal(z, noise[key]).log_prob(x[key].double()) for key in x
    )
    weights = joint.softmax(dim=0)
    mean = (weights * z).sum(0)
    torch.testing.assert_close(q.loc.double(), mean, rtol=1e-5, atol=1e-5)
    variance = (weights * (z - mean) ** 2).sum(0)
    torch.testing.assert_close(q.scale.double() ** 2, variance, rtol=1e-4, atol=1e-5)
    alone = q.only(["b"])
    torch.testing.assert_close(alone.loc, x["b"] / (1 + noise["b"] ** 2))
    nobody = q.where({key: torch.tensor([False]) for key in x})
    torch.testing.assert_close(nobody.loc, torch.zeros(1, 2))
    torch.testing.assert_close(nobody.scale, torch.ones(1, 2))


def test_what_is_missing_is_neither_encoded_nor_in_the_likelihood(module):
    tensors = minibatch()
    has = torch.tensor([True, False] * 3)
    lacking = {**tensors, "prot_present": has}
    changed = {**lacking, "prot": torch.where(has[:, None], tensors["prot"], 99.0)}
    states = torch.randn(2, 6, 3)
    one, other = (PosteriorTarget.from_module(module, t) for t in (lacking, changed))
    torch.testing.assert_close(one.q0.mean, other.q0.mean)
    torch.testing.assert_close(one.log_joint(states), other.log_joint(states))
    whole = PosteriorTarget.from_module(module, tensors)
    assert not torch.allclose(whole.log_joint(states)[:, ~has], one.log_joint(states)[:, ~has])
    torch.testing.assert_close(whole.log_joint(states)[:, has], one.log_joint(states)[:, has])


def test_a_panel_of_fewer_proteins(module):
    tensors = minibatch()
    features = torch.tensor([True, True, False, True, False]).expand(6, -1)
    panel = {**tensors, "prot_features": features}
    changed = {**panel, "prot": torch.where(features, tensors["prot"], 50.0)}
    states = torch.randn(1, 6, 3)
    one, other = (PosteriorTarget.from_module(module, t) for t in (panel, changed))
    torch.testing.assert_close(one.q0.mean, other.q0.mean)
    torch.testing.assert_close(one.log_joint(states), other.log_joint(states))


def test_background_lies_below_the_foreground_and_differs_between_batches(module):
    with torch.no_grad():
        module.part("prot").log_background[1] += 2.0
    z, batch = torch.randn(4, 3), torch.tensor([[0], [0], [1], [1]])
    z[2:] = z[:2]
    s = {"batch": batch, "categorical": None, "continuous": None, "labels": None}
    exposures = {key: torch.zeros(4, 1) for key in ("rna", "atac")}
    px = module.decode(z, s, exposures)["prot"]
    assert (px.background_mean < px.mu).all()
    assert (px.background_mean[2:] / px.background_mean[:2]).mean() > 2


def test_start_is_at_the_means_of_the_data(module):
    class Moments:
        counts = torch.tensor([10.0, 20, 30, 40, 50]).double()
        squares, exposed = counts * 60, counts
        exposure = squared_exposure = 10.0
        rate = counts / 10

    module.part("prot").start_from(Moments())
    s = {"batch": torch.zeros(500, 1).long(), "categorical": None, "continuous": None}
    with torch.no_grad():
        px = module.decode(torch.randn(500, 3), s, {"rna": torch.zeros(500, 1)})["prot"]
    ratio = px.mean.mean(0) / Moments.rate
    assert ((ratio > 0.5) & (ratio < 2)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_every_likelihood_of_a_kind(kind, seed):
    for name in KINDS[kind].likelihoods:
        parts = {"one": {"kind": kind, "n_features": 7, "likelihood": name}}
        module = MosaicVAE(parts, n_latent=2, n_hidden=8).eval()
        x = torch.poisson(torch.full((5, 7), 1.5))
        tensors = {"X": x, REGISTRY_KEYS.BATCH_KEY: torch.zeros(5, 1).long()}
        gap = inference_gap(PosteriorTarget.from_module(module, tensors))
        assert torch.isfinite(gap.marginal.log_px).all(), name
        assert (gap.elbo_refined > gap.elbo - 1e-3).all(), name


def test_one_modality_of_those_that_a_cell_has(seed):
    loc = torch.zeros(3000, 1)
    q = ProductOfExperts({key: Expert(loc, loc + 1) for key in "abc"})
    has = {"a": None, "b": torch.arange(3000) % 2 == 0, "c": torch.arange(3000) % 3 == 0}
    observed = {key: Observed(loc, None, mask) for key, mask in has.items()}
    heard = torch.stack(list(one_of_several(q, observed, 0.4).values()))
    n_heard = heard.sum(0)
    alone = n_heard == 1
    assert 0.36 < alone.float().mean() < 0.44
    assert (n_heard[~alone] == 3).all()
    chosen = heard[:, alone].float().argmax(0)
    cells = alone.nonzero().squeeze(1)
    for number, mask in enumerate(has.values()):
        if mask is not None:
            assert mask[cells[chosen == number]].all()


def test_alignment_is_of_the_moments():
    """Where the posterior of all is fixed, the best of one has the mean and the variance of it."""
    torch.manual_seed(0)
    loc = torch.randn(4000, 1)
    full = {"a": Expert(loc, torch.full_like(loc, 3.0)), "b": Expert(loc, torch.zeros_like(loc))}
    nothing = Observed(torch.zeros(4000, 1), None)
    free = torch.tensor([0.3, 0.0], requires_grad=True)
    optimizer = torch.optim.Adam([free], lr=0.05)
    for _ in range(400):
        shared = free[0].expand(4000, 1), free[1].exp().expand(4000, 1)
        student = ProductOfExperts({"a": full["a"], "b": Expert(*shared)})
        teacher = ProductOfExperts(full)
        student.loc, student.scale = teacher.loc, teacher.scale
        loss = aligned(student, {"b": nothing, "a": nothing}).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    precision = 1 + free[1].exp()
    mean = free[1].exp() * free[0] / precision
    moments = teacher.loc.mean(), teacher.loc.var() + teacher.scale[0] ** 2
    torch.testing.assert_close(mean.detach(), moments[0], atol=0.02, rtol=0)
    torch.testing.assert_close(1 / precision.detach(), moments[1].squeeze(), atol=0.03, rtol=0.05)


def test_weights_of_features_have_a_prior_in_a_training(seed):
    """Its log density, a normal's, is spread over the cells that have the modality."""
    module = MosaicVAE(PARTS, n_batch=2, n_latent=3, n_hidden=8, n_cells=(50, 40, 20))
    want = torch.zeros(())
    for key, kind, n in (("rna", "rna", 50), ("atac", "accessibility", 20)):
        weights = module.part(key).decoder.px_scale_decoder[0].weight
        prior = Normal(0, KINDS[kind].weight_scale)
        want = want + (prior.log_prob(torch.zeros(())) - prior.log_prob(weights)).sum() / n
    assert KINDS["protein"].weight_scale is None  # a few features, with many counts
    torch.testing.assert_close(module._shrinkage(), want)
    assert MosaicVAE(PARTS, n_batch=2, n_latent=3, n_hidden=8)._shrinkage() == 0

    def loss_of(of):
        torch.manual_seed(0)
        return of(minibatch())[2].loss

    bare = MosaicVAE(PARTS, n_batch=2, n_latent=3, n_hidden=8)
    bare.load_state_dict(module.state_dict())
    torch.testing.assert_close(loss_of(module.train()), loss_of(bare.train()) + want)
    torch.testing.assert_close(loss_of(module.eval()), loss_of(bare.eval()))


def test_what_no_module_has():
    with pytest.raises(DataError, match="'poisson'"):
        MosaicVAE({"prot": {"kind": "protein", "n_features": 3, "likelihood": "poisson"}})
    with pytest.raises(DataError, match="its own"):
        MosaicVAE(PARTS, prior="vamp")

"""Modules that are written with the contracts alone: two modalities, of which cells lack one."""

import copy

import lightning.pytorch
import numpy as np
import pytest
import torch
from scvi import REGISTRY_KEYS
from torch import nn
from torch.distributions import MultivariateNormal, Normal, kl_divergence
from torch.utils.data import DataLoader

from lucidvi.distributions import NegativeBinomial
from lucidvi.errors import DataError
from lucidvi.inference import (
    NormalPosterior,
    PosteriorTarget,
    ais,
    bracket,
    elbo,
    inference_gap,
    iwae,
    refine,
)
from lucidvi.module import Exposure, GenerativeModule, Modality
from lucidvi.nn import StateDistribution
from lucidvi.train import OBJECTIVES, TrainingPlan

N_CELLS, N_GENES, N_PROTEINS, N_LATENT = 60, 12, 5, 2


class Toy(GenerativeModule):
    """Genes with an observed total, and proteins with a latent exposure or none.

    Each modality that a cell has is an expert on its latent state.
    """

    def __init__(self, exposure=Exposure.LATENT, weight=1.0):
        super().__init__()
        self.n_latent = N_LATENT
        self.protein_exposure, self.weight = exposure, weight
        sizes = {"rna": N_GENES, "protein": N_PROTEINS}
        self.encoders_of_z = nn.ModuleDict({k: nn.Linear(n, 4) for k, n in sizes.items()})
        if exposure is Exposure.LATENT:
            self.exposure_encoder = nn.Linear(N_PROTEINS, 2)
            self.log_exposure = nn.Parameter(torch.tensor([2.0, 0.0]))
        self.decoders = nn.ModuleDict({k: nn.Linear(3, n) for k, n in sizes.items()})
        self.log_theta = nn.ParameterDict({k: torch.zeros(n) for k, n in sizes.items()})

    @property
    def modalities(self):
        return {
            "rna": Modality("rna", N_GENES, NegativeBinomial, field=REGISTRY_KEYS.X_KEY),
            "protein": Modality(
                "protein", N_PROTEINS, NegativeBinomial, self.protein_exposure, self.weight
            ),
        }

    def encode(self, observed, s):
        precision, product = 1.0, 0.0
        for key, layer in self.encoders_of_z.items():
            x, present = observed[key].x.to_dense(), observed[key].present
            loc, log_scale = layer(x.log1p()).chunk(2, dim=-1)
            weight = (-2 * log_scale).exp()
            weight = weight if present is None else weight * present[:, None]
            precision, product = precision + weight, product + weight * loc
        qz = Normal(product / precision, precision**-0.5)
        if self.protein_exposure is not Exposure.LATENT:
            return StateDistribution(qz)
        x, present = observed["protein"].x, observed["protein"].present
        loc, log_scale = self.exposure_encoder(x.log1p()).chunk(2, dim=-1)
        prior = self._exposure_prior(loc)
        missing = torch.zeros_like(loc).bool() if present is None else ~present[:, None]
        loc = torch.where(missing, prior.loc, loc)
        scale = torch.where(missing, prior.scale, log_scale.exp())
        return StateDistribution(qz, Normal(loc, scale))

    def _exposure_prior(self, like):
        loc, log_scale = self.log_exposure
        return Normal(loc.expand_as(like), log_scale.exp().expand_as(like))

    def prior_of(self, z, s):
        pl = None
        if self.protein_exposure is Exposure.LATENT:
            pl = self._exposure_prior(z[..., :1])
        return StateDistribution(Normal(torch.zeros_like(z), torch.ones_like(z)), pl)

    def decode(self, z, s, log_exposures):
        batch = s["batch"].float().expand(*z.shape[:-1], 1)
        means = {k: layer(torch.cat([z, batch], dim=-1)) for k, layer in self.decoders.items()}
        nothing = torch.zeros_like(z[..., :1])
        return {
            "rna": NegativeBinomial(
                means["rna"], log_exposures["rna"], log_theta=self.log_theta["rna"]
            ),
            "protein": NegativeBinomial(
                log_library=log_exposures.get("protein", nothing),
                log_theta=self.log_theta["protein"],
                **{self._mean_name: means["protein"]},
            ),
        }

    @property
    def _mean_name(self):
        return "log_scale" if self.protein_exposure is Exposure.NONE else "logits"


EXPOSURES = [Exposure.LATENT, Exposure.NONE, Exposure.OBSERVED]


def minibatch(n=N_CELLS, seed=0):
    """Cells, of which every third lacks its proteins, with 99 in place of them."""
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(n, 2, generator=generator)
    loadings = torch.randn(2, N_GENES + N_PROTEINS, generator=generator)
    x = torch.poisson((z @ loadings / 2 + 1.5).exp(), generator)
    present = torch.arange(n) % 3 > 0
    protein = torch.where(present[:, None], x[:, N_GENES:], 99.0)
    return {
        REGISTRY_KEYS.X_KEY: x[:, :N_GENES],
        "protein": protein,
        "protein_present": present[:, None],
        REGISTRY_KEYS.BATCH_KEY: (torch.arange(n) % 2)[:, None],
        REGISTRY_KEYS.LABELS_KEY: torch.zeros(n, 1, dtype=torch.long),
    }


def make(exposure=Exposure.LATENT, seed=0, **kwargs):
    torch.manual_seed(seed)
    return Toy(exposure, **kwargs)


def trained(objective="elbo", epochs=100, exposure=Exposure.LATENT):
    """Train by the plan, and return the module and its losses by epoch."""
    module, cells = make(exposure), minibatch()
    rows = torch.arange(N_CELLS).split(20)
    loader = DataLoader([{k: v[i] for k, v in cells.items()} for i in rows], batch_size=None)
    plan = TrainingPlan(module, objective=objective, lr=0.03, minibatches_per_step=1)
    losses = []

    class Losses(lightning.pytorch.Callback):
        def on_train_epoch_end(self, trainer, pl_module):
            losses.append(float(trainer.callback_metrics["elbo_train"]))

    trainer = lightning.pytorch.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
        callbacks=[Losses()],
        log_every_n_steps=1,
    )
    trainer.fit(plan, loader, loader)
    return module.eval(), losses


def by_hand(module, cells, z, log_exposure):
    """Log joint as a sum over what was measured, with torch's distributions."""
    batch = cells[REGISTRY_KEYS.BATCH_KEY].float()
    x = {"rna": cells[REGISTRY_KEYS.X_KEY], "protein": cells["protein"]}
    total = Normal(0.0, 1.0).log_prob(z).sum(dim=-1)
    exposures = {"rna": x["rna"].sum(dim=1, keepdim=True), "protein": x["protein"].sum(1, True)}
    if module.protein_exposure is Exposure.LATENT:
        loc, log_scale = module.log_exposure
        total = total + Normal(loc, log_scale.exp()).log_prob(log_exposure).sum(dim=-1)
        exposures["protein"] = log_exposure.exp()
    for key, counts in x.items():
        eta = module.decoders[key](torch.cat([z, batch], dim=-1))
        is_softmax = key == "rna" or module.protein_exposure is not Exposure.NONE
        mu = exposures[key] * eta.softmax(dim=-1) if is_softmax else eta.exp()
        theta = module.log_theta[key].exp().expand_as(mu)
        px = torch.distributions.NegativeBinomial(theta, logits=mu.log() - theta.log())
        terms = px.log_prob(counts).sum(dim=-1)
        if key == "protein":
            terms = terms * cells["protein_present"].squeeze(-1)
        total = total + terms
    return total


@pytest.mark.parametrize("exposure", EXPOSURES)
def test_every_weight_gets_a_gradient(exposure):
    module = make(exposure)
    module(minibatch())[2].loss.backward()
    for name, weight in module.named_parameters():
        assert torch.isfinite(weight.grad).all(), name
        assert weight.grad.abs().sum() > 0, name


@pytest.mark.parametrize("exposure", EXPOSURES)
def test_the_target_is_the_sum_over_what_was_measured(exposure):
    module, cells = make(exposure), minibatch()
    target = PosteriorTarget.from_module(module, cells)
    assert target.n_state == N_LATENT + (exposure is Exposure.LATENT)
    state = target.q0.sample((3,))
    got = target.log_joint(state)
    for draw, value in zip(state, got, strict=True):
        want = by_hand(module, cells, draw[:, :N_LATENT], draw[:, N_LATENT:])
        torch.testing.assert_close(value, want, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("exposure", EXPOSURES)
def test_what_stands_in_place_of_a_missing_modality_is_not_looked_at(exposure):
    module, cells = make(exposure), minibatch()
    other = {**cells, "protein": torch.where(cells["protein_present"], cells["protein"], 0.0)}
    one, two = (PosteriorTarget.from_module(module, c) for c in (cells, other))
    state = one.q0.sample((2,))
    torch.testing.assert_close(one.q0.mean, two.q0.mean, rtol=0, atol=0)
    torch.testing.assert_close(one.q0.stddev, two.q0.stddev, rtol=0, atol=0)
    torch.testing.assert_close(one.log_joint(state), two.log_joint(state), rtol=0, atol=0)
    torch.manual_seed(0)
    first = module(cells)[2]
    torch.manual_seed(0)
    assert torch.equal(first.loss, module(other)[2].loss)


def test_a_missing_modality_leaves_the_other_alone():
    """Of a cell without proteins, everything is as in a model that has none."""
    module, cells = make(Exposure.NONE), minibatch()
    none = {**cells, "protein_present": torch.zeros(N_CELLS, 1, dtype=torch.bool)}
    target = PosteriorTarget.from_module(module, none)
    state = target.q0.sample((1,))
    want = target.likelihood(state[0]).log_likelihood(target.x) + target.prior.log_prob(state[0])
    torch.testing.assert_close(target.log_joint(state)[0], want, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_objective_trains_it(objective):
    module, losses = trained(objective, epochs=40)
    assert np.isfinite(losses).all()
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 5
    for weight in module.parameters():
        assert torch.isfinite(weight).all()


def test_weights_of_modalities_are_those_of_the_training_alone():
    cells, plain, heavy = minibatch(), make(), make(weight=3.0)
    losses = []
    for module in (plain, heavy):
        torch.manual_seed(0)
        losses.append(module(cells)[2])
    of_protein = losses[0].extra_metrics["reconstruction_loss_protein"]
    assert losses[1].loss.item() == pytest.approx((losses[0].loss + 2 * of_protein).item())
    terms = [loss.reconstruction_loss["reconstruction_loss"] for loss in losses]
    torch.testing.assert_close(*terms)
    targets = [PosteriorTarget.from_module(module, cells) for module in (plain, heavy)]
    state = targets[0].q0.sample((2,))
    torch.testing.assert_close(*(target.log_joint(state) for target in targets))


@pytest.fixture(scope="module")
def well_trained():
    return trained()[0]


def test_posteriors_are_refined_and_their_gap_is_measured(well_trained):
    target = PosteriorTarget.from_module(well_trained, minibatch())
    refined = refine(target, "full")
    assert (refined.elbo >= refined.elbo_before).all()
    assert (refined.elbo - refined.elbo_before).mean() > 0.05
    gap = inference_gap(target, n_chains=16)
    assert gap.amortization_gap.mean() > 0.05
    assert gap.approximation_gap.mean() > -0.1
    assert gap.marginal.log_px.isfinite().all()


def test_the_bracket_holds_the_importance_weighted_bound(well_trained):
    """Of cells that the model simulates, with the exposure that they were simulated with."""
    cells = minibatch()
    target = PosteriorTarget.from_module(well_trained, cells)
    torch.manual_seed(1)
    with torch.no_grad():
        state = target.prior.sample()
        drawn = {key: target.likelihood(state, key).sample() for key in ("rna", "protein")}
    simulated = {**cells, REGISTRY_KEYS.X_KEY: drawn["rna"], "protein": drawn["protein"]}
    of_simulated = PosteriorTarget.from_module(well_trained, simulated)
    of_simulated = of_simulated.with_log_exposures(target.log_exposures)
    start = refine(of_simulated, "full").posterior.distribution
    bounds = bracket(of_simulated, state, 32, start, n_temperatures=20)
    estimate = iwae(of_simulated, 500, start).log_px.mean()
    assert bounds.lower.log_px.mean() - 0.05 < estimate < bounds.upper.log_px.mean() + 0.05
    assert bounds.width.mean() < 0.2


def test_marginal_likelihood_of_the_module_and_of_its_target_agree(well_trained):
    cells = minibatch()
    target = PosteriorTarget.from_module(well_trained, cells)
    exact = ais(target, 16, refine(target, "full").posterior.distribution).log_px
    got = well_trained.marginal_ll(cells, 2000)
    assert got.shape == (N_CELLS,)
    assert got.mean().item() == pytest.approx(exact.mean().item(), abs=0.3)
    assert well_trained.marginal_ll(cells, 10, return_mean=True) < exact.mean() + 0.5


def test_draws_have_the_shapes_of_their_modalities(well_trained):
    drawn = well_trained.sample(minibatch(), n_samples=4)
    assert drawn["rna"].shape == (N_CELLS, N_GENES, 4)
    assert drawn["protein"].shape == (N_CELLS, N_PROTEINS, 4)
    assert well_trained.sample(minibatch())["protein"].shape == (N_CELLS, N_PROTEINS)


def test_a_target_can_be_asked_about_each_modality(well_trained):
    cells = minibatch()
    target = PosteriorTarget.from_module(well_trained, cells)
    state = target.q0.mean
    assert target.counts("protein").shape == (N_CELLS, N_PROTEINS)
    assert target.x is target.counts("rna")
    assert target.likelihood(state, "protein").batch_shape == (N_CELLS, N_PROTEINS)
    torch.testing.assert_close(target.exposure(state), target.x.sum(dim=1), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(target.exposure(state, "protein"), state[:, -1].exp())
    other, moved = target.with_exposure(state, torch.full((N_CELLS,), 7.0), "protein")
    torch.testing.assert_close(other.exposure(moved, "protein"), torch.full((N_CELLS,), 7.0))
    torch.testing.assert_close(moved[:, :-1], state[:, :-1])
    with pytest.raises(DataError, match="modality"):
        target.counts("proteins")


def test_other_counts_of_one_modality_leave_the_other(well_trained):
    target = PosteriorTarget.from_module(well_trained, minibatch())
    again = target.with_counts(target.counts("protein"), "protein")
    torch.testing.assert_close(again.q0.mean, target.q0.mean)
    other = target.with_counts(target.counts("protein") * 2, "protein")
    assert torch.equal(other.x, target.x)
    assert (other.q0.mean != target.q0.mean).any(dim=1).sum() == N_CELLS * 2 // 3


def test_selected_cells_keep_what_was_observed(well_trained):
    target = PosteriorTarget.from_module(well_trained, minibatch())
    rows = torch.tensor([4, 3, 3, 59])
    state = target.q0.sample((2,))
    got = target.select(rows).log_joint(state[:, rows])
    torch.testing.assert_close(got, target.log_joint(state)[:, rows])


def test_exposures_of_a_modality_without_them(well_trained):
    target = PosteriorTarget.from_module(make(Exposure.NONE), minibatch())
    assert (target.exposure(target.q0.mean, "protein") == 1).all()
    with pytest.raises(DataError, match="'protein' has no exposure"):
        target.with_exposure(target.q0.mean, torch.ones(N_CELLS), "protein")


def test_a_minibatch_without_a_modality_says_so():
    cells = minibatch()
    del cells["protein"]
    with pytest.raises(DataError, match="no 'protein'"):
        make()(cells)


def test_counts_in_csr_layout_are_as_good(well_trained):
    cells = minibatch()
    sparse = {**cells, REGISTRY_KEYS.X_KEY: cells[REGISTRY_KEYS.X_KEY].to_sparse_csr()}
    one, two = (PosteriorTarget.from_module(well_trained, c) for c in (cells, sparse))
    state = one.q0.sample((2,))
    torch.testing.assert_close(one.q0.mean, two.q0.mean)
    torch.testing.assert_close(one.log_joint(state), two.log_joint(state), rtol=1e-4, atol=1e-3)


# -- a model with a known answer -----------------------------------------------------------------


class Gaussian(Normal):
    """Independent normals, with the one method that a likelihood needs to be trained and asked."""

    def log_likelihood(self, x):
        return self.log_prob(x).sum(dim=-1)


class TwoLinear(GenerativeModule):
    """Two modalities that are linear in the latent state, with normal noise."""

    SIZES, NOISE = {"one": 8, "two": 5}, {"one": 0.5, "two": 0.8}

    def __init__(self):
        super().__init__()
        self.n_latent = 3
        self.loadings = nn.ParameterDict({k: torch.randn(n, 3) for k, n in self.SIZES.items()})
        self.encoder = nn.Linear(sum(self.SIZES.values()), 6)

    @property
    def modalities(self):
        return {k: Modality(k, n, Gaussian, Exposure.NONE) for k, n in self.SIZES.items()}

    def encode(self, observed, s):
        x = torch.cat([observed[key].x for key in self.SIZES], dim=-1)
        loc, log_scale = self.encoder(x).chunk(2, dim=-1)
        return StateDistribution(Normal(loc / 3, (log_scale / 3).exp()))

    def prior_of(self, z, s):
        return StateDistribution(Normal(torch.zeros_like(z), torch.ones_like(z)))

    def decode(self, z, s, log_exposures):
        return {k: Gaussian(z @ a.mT, self.NOISE[k]) for k, a in self.loadings.items()}


@pytest.fixture(scope="module")
def linear():
    """A module, cells with all kinds of holes, and the exact log p(x) and posteriors."""
    torch.manual_seed(3)
    module = TwoLinear().double()
    n = 40
    z = torch.randn(n, 3).double()
    cells, rows, noise = {}, [], []
    for key, size in module.SIZES.items():
        mean = z @ module.loadings[key].detach().mT
        cells[key] = mean + module.NOISE[key] * torch.randn(n, size).double()
        cells[f"{key}_features"] = torch.rand(n, size) < 0.7
        cells[f"{key}_present"] = (torch.rand(n) < 0.7)[:, None]
        rows.append(cells[f"{key}_features"] & cells[f"{key}_present"])
        noise += [module.NOISE[key]] * size
    loadings = torch.cat(list(module.loadings.values())).detach()
    noise = torch.tensor(noise, dtype=torch.float64)
    x, mask = torch.cat([cells[k] for k in module.SIZES], dim=1), torch.cat(rows, dim=1)
    log_px, loc, covariance = [], [], []
    for cell in range(n):
        a, sigma, y = loadings[mask[cell]], noise[mask[cell]], x[cell, mask[cell]]
        precision = torch.eye(3).double() + (a / sigma[:, None] ** 2).mT @ a
        covariance.append(precision.inverse())
        loc.append(covariance[-1] @ a.mT @ (y / sigma**2))
        total = a @ a.mT + torch.diag(sigma**2)
        known = MultivariateNormal(torch.zeros_like(y), total).log_prob(y) if len(y) else 0.0
        log_px.append(float(known))
    posterior = MultivariateNormal(torch.stack(loc), torch.stack(covariance))
    return module, cells, torch.tensor(log_px, dtype=torch.float64), posterior


def test_weights_of_the_exact_posterior_are_the_exact_log_likelihood(linear):
    module, cells, log_px, posterior = linear
    target = PosteriorTarget.from_module(module, cells)
    z = posterior.sample((5,))
    weights = target.log_joint(z) - posterior.log_prob(z)
    torch.testing.assert_close(weights, log_px.expand(5, -1), rtol=1e-8, atol=1e-8)


def test_refinement_finds_the_exact_posterior(linear):
    module, cells, log_px, posterior = linear
    target = PosteriorTarget.from_module(module, cells)
    refined = refine(target, "full", tolerance=1e-6)
    torch.testing.assert_close(refined.posterior.loc, posterior.loc, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(
        refined.posterior.distribution.covariance_matrix,
        posterior.covariance_matrix,
        rtol=1e-6,
        atol=1e-6,
    )
    torch.testing.assert_close(refined.elbo, log_px, rtol=1e-6, atol=1e-6)


def test_elbo_of_the_encoder_is_below_by_the_divergence(linear):
    module, cells, log_px, posterior = linear
    target = PosteriorTarget.from_module(module, cells)
    bound, error = elbo(target, 4000)
    q = NormalPosterior.from_distribution(target.q0).distribution
    want = log_px - kl_divergence(q, posterior)
    assert ((bound - want).abs() < 5 * error + 1e-6).all()
    gap = inference_gap(target)
    best_diagonal = posterior.precision_matrix.diagonal(dim1=-2, dim2=-1).rsqrt()
    best = MultivariateNormal(posterior.loc, scale_tril=best_diagonal.diag_embed())
    torch.testing.assert_close(
        gap.approximation_gap, kl_divergence(best, posterior), rtol=0.02, atol=0.02
    )


def test_importance_weights_of_the_module_are_those_of_the_model(linear):
    module, cells, log_px, _ = linear
    estimate = module.marginal_ll(cells, 20_000)
    assert (estimate - log_px).abs().median() < 0.05


def test_training_finds_the_largest_elbo(linear):
    """Of the encoder alone, at the truth: then the ELBO of new weights comes near log p(x)."""
    module, cells, log_px, _ = linear
    module = copy.deepcopy(module)
    optimizer = torch.optim.Adam(module.encoder.parameters(), lr=0.05)
    first = None
    for _ in range(300):
        optimizer.zero_grad()
        loss = module(cells)[2].loss
        loss.backward()
        optimizer.step()
        first = loss.item() if first is None else first
    bound = elbo(PosteriorTarget.from_module(module, cells), 500)[0].mean()
    assert bound < log_px.mean()
    assert log_px.mean() - bound < 0.5 * (first + log_px.mean())

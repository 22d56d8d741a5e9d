"""Posteriors against priors of every kind, where the truth is known."""

import copy

import numpy as np
import pytest
import scvi
import torch
from scipy import integrate, stats
from scipy.stats import ortho_group
from torch.distributions import MultivariateNormal, Normal

from lucidvi import audit
from lucidvi.audit.checks import collapse
from lucidvi.audit.checks._aggregate import aggregate, log_densities
from lucidvi.audit.subject._priors import CellPriors
from lucidvi.model import SCVI
from lucidvi.nn import Mixture

N_CELLS = 1500


def of_mixture(n_cells, loc, scale, weights=None):
    """One mixture of normals for all cells."""
    loc, scale = (torch.as_tensor(np.asarray(value, dtype=float)) for value in (loc, scale))
    logits = torch.zeros(len(loc)) if weights is None else torch.tensor(weights).log()
    mixture = Mixture(logits.double(), Normal(loc, scale), torch.Size([n_cells]))
    return CellPriors((mixture,), np.zeros(n_cells, dtype=int), "mixture")


def of_groups(group, loc, scale):
    """A normal for each group of cells."""
    loc, scale = (torch.as_tensor(np.asarray(value)[group]) for value in (loc, scale))
    return CellPriors((Normal(loc, scale),), group, "conditional")


def posteriors(loc, spread, scale, seed=7):
    """Posteriors of this scale, whose aggregate is normal with these means and deviations."""
    spread = np.broadcast_to(spread, np.shape(loc))
    noise = np.random.default_rng(seed).normal(size=np.shape(loc))
    return loc + np.sqrt(spread**2 - scale**2) * noise, np.full(np.shape(loc), scale)


def normal_kl(m, s, loc, scale):
    """KL of Normal(m, s) from Normal(loc, scale), summed over the axes."""
    ratio = (np.square(s) + np.square(np.subtract(m, loc))) / np.square(scale)
    return float(np.sum(0.5 * (ratio - 1) + np.log(np.divide(scale, s))))


def found(loc, scale, priors=None, **kwargs):
    """A whole finding, of directions that do not matter here."""
    k = loc.shape[1]
    nothing = np.zeros((10, k))
    return collapse(loc, scale, np.eye(k), np.eye(k), nothing, nothing, priors=priors, **kwargs)


def criterion(finding, name="prior"):
    return next(c for c in finding.criteria if c.name == name)


def test_a_mixture_that_is_the_cells_posteriors():
    """Its KL is exactly 0, however far the cells are from a standard normal."""
    rng = np.random.default_rng(0)
    loc = np.array([[6.0, 0, 0], [0, 6, 0]])[rng.integers(2, size=400)] + rng.normal(size=(400, 3))
    scale = rng.uniform(0.1, 0.4, size=loc.shape)
    right = found(loc, scale, of_mixture(400, loc, scale))
    assert right.aggregate_kl == pytest.approx(0, abs=1e-6)
    assert right.aggregate_kl_lower == 0
    assert right.mutual_information == pytest.approx(right.total_kl, abs=1e-6)
    assert right.holes < 0.03
    assert right.prior == "mixture"
    assert criterion(right).verdict == "ok"
    wrong = found(loc, scale)
    assert wrong.aggregate_kl > 5
    assert wrong.prior == "standard normal"
    # The mutual information is that of the encoder, whatever the prior.
    assert wrong.mutual_information == pytest.approx(right.mutual_information, abs=0.3)


def test_a_mixture_that_is_off_by_a_known_divergence():
    loc, scale = posteriors(np.zeros((N_CELLS, 2)), 1.0, 0.5)
    components = [[1.0, -0.5]] * 3, [[1.5, 0.8]] * 3
    here = found(loc, scale, of_mixture(N_CELLS, *components))
    want = normal_kl(0, 1, [1.0, -0.5], [1.5, 0.8])
    assert here.aggregate_kl_lower - 0.05 < want < here.aggregate_kl + 0.05
    assert here.aggregate_kl - here.aggregate_kl_lower < 0.1
    np.testing.assert_allclose(
        here.kl,
        [
            np.mean([normal_kl(m, 0.5, centre, s) for m in column])
            for column, centre, s in zip(loc.T, [1.0, -0.5], [1.5, 0.8], strict=True)
        ],
        rtol=1e-5,
    )
    assert here.total_kl == pytest.approx(here.kl.sum(), abs=0.02)


def test_divergence_of_an_axis_from_its_part_of_a_mixture():
    """Against numerical integration."""
    centres, widths, weights = [[-2.0], [1.0]], [[0.5], [1.0]], [0.3, 0.7]

    def integrand(z, m, s):
        prior = sum(
            w * stats.norm(c[0], d[0]).pdf(z)
            for w, c, d in zip(weights, centres, widths, strict=True)
        )
        q = stats.norm(m, s)
        return q.pdf(z) * (q.logpdf(z) - np.log(prior))

    loc, scale = np.array([[-2.0], [0.0], [2.5]]), np.array([[0.3], [0.6], [0.2]])
    want = [
        integrate.quad(integrand, m - 9 * s, m + 9 * s, (m, s))[0]
        for (m,), (s,) in zip(loc, scale, strict=True)
    ]
    priors = of_mixture(3, centres, widths, weights)
    expected = priors.expected_log_marginals(loc, scale)
    entropy = 0.5 * np.log(2 * np.pi * np.e) + np.log(scale)
    np.testing.assert_allclose((-entropy - expected)[:, 0], want, atol=0.01)


GROUPS = np.repeat([0, 1, 2], N_CELLS // 3)
CENTRES, WIDTHS = [[4.0, 0], [-4, 1], [0, -3]], [[0.6, 1.0], [1.0, 0.5], [2.0, 0.7]]


def test_a_prior_of_each_batch():
    loc, scale = posteriors(np.array(CENTRES)[GROUPS], np.array(WIDTHS)[GROUPS], 0.4)
    right = found(loc, scale, of_groups(GROUPS, CENTRES, WIDTHS))
    assert right.aggregate_kl_lower < 0.05
    assert right.aggregate_kl < 0.1
    assert right.holes < 0.03
    assert criterion(right).verdict == "ok"


def test_batches_that_lie_at_each_others_priors():
    """All cells together cover all priors, and yet each batch is off by a known divergence."""
    loc, scale = posteriors(np.array(CENTRES)[GROUPS], np.array(WIDTHS)[GROUPS], 0.4)
    swapped = [1, 2, 0]
    priors = of_groups(GROUPS, np.array(CENTRES)[swapped], np.array(WIDTHS)[swapped])
    off = found(loc, scale, priors)
    want = np.mean(
        [
            normal_kl(CENTRES[i], WIDTHS[i], CENTRES[j], WIDTHS[j])
            for i, j in zip(range(3), swapped, strict=True)
        ]
    )
    assert off.aggregate_kl == pytest.approx(want, rel=0.05)
    assert off.holes > 0.8


def test_a_prior_of_each_cell_is_compared_with_that_cell_alone():
    loc, scale = posteriors(np.zeros((300, 2)), 1.0, 0.5)
    each = np.arange(300)
    priors = of_groups(each, loc, scale)
    nothing = found(loc, scale, priors)
    np.testing.assert_allclose(nothing.kl, 0, atol=1e-12)
    assert nothing.total_kl == pytest.approx(0, abs=1e-12)
    for name in ("aggregate_kl", "aggregate_kl_lower", "holes", "mutual_information"):
        assert np.isnan(getattr(nothing, name))
    assert criterion(nothing).verdict == "skipped"
    assert "covariates that differ from cell to cell" in criterion(nothing).statement


def test_cells_of_small_groups_are_left_out():
    loc, scale = posteriors(np.zeros((400, 2)), 1.0, 0.5)
    group = np.r_[np.zeros(395, dtype=int), 1, 2, 3, 4, 5]
    whole = aggregate(loc, scale, priors=of_groups(group, np.zeros((6, 2)), np.ones((6, 2))))
    assert whole.compared.sum() == 395
    assert whole.kl_lower < 0.1 < whole.kl_upper + 0.1


def test_variance_is_counted_in_units_of_the_prior():
    loc, scale = posteriors(np.zeros((300, 2)), [0.15, 1.0], 0.1)
    assert found(loc, scale).variance_units == 2
    wide = of_mixture(300, [[0.0, 0.0]], [[100.0, 1.0]])
    assert found(loc, scale, wide).variance_units == 1


# -- full covariances -------------------------------------------------------------------------


def full(n=500, k=3, seed=0):
    rng = np.random.default_rng(seed)
    factor = np.tril(0.3 * rng.normal(size=(n, k, k)))
    factor[:, range(k), range(k)] = rng.uniform(0.2, 0.6, size=(n, k))
    return rng.normal(size=(n, k)), factor


def test_log_densities_of_full_covariances():
    loc, factor = full(7)
    z = np.random.default_rng(1).normal(size=(5, 3))
    want = [
        [
            stats.multivariate_normal(m, f @ f.T).logpdf(point)
            for m, f in zip(loc, factor, strict=True)
        ]
        for point in z
    ]
    np.testing.assert_allclose(log_densities(z, loc, factor), want)


def test_total_divergence_of_full_covariances():
    loc, factor = full()
    whole = found(loc, factor)
    q = MultivariateNormal(torch.tensor(loc), scale_tril=torch.tensor(factor))
    p = MultivariateNormal(torch.zeros(3).double(), torch.eye(3).double())
    want = float(torch.distributions.kl_divergence(q, p).mean())
    assert whole.total_kl == pytest.approx(want)
    assert whole.kl.sum() < want  # what the axes share counts too


def test_turning_the_latent_space_changes_nothing():
    loc, scale = posteriors(np.ones((800, 3)), [1.0, 2.0, 0.5], 0.3)
    rotation = ortho_group.rvs(3, random_state=0)
    covariance = np.einsum("ji,nj,jk->nik", rotation, scale**2, rotation)
    before, after = found(loc, scale), found(loc @ rotation, np.linalg.cholesky(covariance))
    assert after.total_kl == pytest.approx(before.total_kl)
    for name in ("aggregate_kl", "aggregate_kl_lower", "mutual_information"):
        assert getattr(after, name) == pytest.approx(getattr(before, name), abs=0.15)
    assert after.holes == pytest.approx(before.holes, abs=0.05)


# -- models -----------------------------------------------------------------------------------


@pytest.fixture
def trained(make_adata):
    def train(cls=SCVI, n_cells=200, setup=None, **kwargs):
        adata = make_adata(n_cells=n_cells)
        cls.setup_anndata(adata, **({"batch_key": "batch", "labels_key": "label"} | (setup or {})))
        model = cls(adata, n_latent=3, **kwargs)
        quiet = {"plan_kwargs": {"warn_collapse": False}} if cls is SCVI else {}
        model.train(max_epochs=2, accelerator="cpu", enable_progress_bar=False, **quiet)
        return model

    return train


def collapse_of(model, **kwargs):
    return audit.run(model, checks=["collapse"], **kwargs)["collapse"]


def test_a_model_whose_prior_is_its_posteriors(trained):
    """The issue's own case: the true divergence is 0, that from a standard normal 26 and more."""
    model = trained(prior="mixture", prior_kwargs={"n_components": 200})
    module = model.module
    with torch.no_grad():
        module.z_encoder.mean_encoder.bias += 4.0
        module.z_encoder.var_encoder.bias -= 3.0
        loc, variance = model.get_latent_representation(return_dist=True)
        module.prior.loc.copy_(torch.as_tensor(loc))
        module.prior.log_scale.copy_(torch.as_tensor(variance).log() / 2)
        module.prior.logits.zero_()
    right = collapse_of(model)
    assert right.prior == "NormalMixture"
    assert right.aggregate_kl == pytest.approx(0, abs=1e-3)
    assert right.holes < 0.05
    assert found(loc.astype(float), np.sqrt(variance).astype(float)).aggregate_kl > 20


@pytest.mark.parametrize(
    "kwargs",
    [
        {},
        {"posterior": "full"},
        {"prior": "mixture", "prior_kwargs": {"n_components": 5}},
        {"prior": "mixture", "posterior": "full"},
        {"prior": "vamp", "prior_kwargs": {"n_components": 5}},
        {"prior": "conditional"},
        {"prior": "conditional", "prior_kwargs": {"covariates": ("batch", "labels")}},
        {"prior": "conditional", "use_observed_lib_size": False},
        {"prior": "mixture", "use_observed_lib_size": False},
    ],
    ids=str,
)
def test_divergence_is_that_of_the_models_own_loss(trained, kwargs):
    model = trained(**kwargs)
    whole = collapse_of(model)
    model.module.eval()
    losses = []
    with torch.no_grad():
        for _ in range(20):
            for tensors in model._make_data_loader(model.adata, batch_size=200):
                losses.append(model.module(tensors)[2].kl_local["kl_divergence_z"].mean().item())
    error = np.std(losses) / np.sqrt(len(losses))
    assert whole.total_kl == pytest.approx(np.mean(losses), abs=max(1e-4, 4 * error + 0.02))
    assert whole.prior == type(model.module.prior).__name__
    assert 0 <= whole.aggregate_kl <= whole.total_kl + 0.05
    assert 0 <= whole.holes <= 1


def test_a_model_that_was_turned(trained):
    model = trained()
    before = collapse_of(model)
    model.canonicalize()
    after = collapse_of(model)
    assert after.total_kl == pytest.approx(before.total_kl, rel=1e-3)
    assert after.aggregate_kl == pytest.approx(before.aggregate_kl, abs=0.1)
    assert after.mutual_information == pytest.approx(before.mutual_information, abs=0.1)


def test_a_prior_that_depends_on_continuous_covariates(trained):
    model = trained(
        setup={"continuous_covariate_keys": ["age"]},
        prior="conditional",
        prior_kwargs={"covariates": ("continuous",)},
    )
    whole = collapse_of(model)
    assert np.isfinite(whole.kl).all()
    assert np.isnan(whole.aggregate_kl)
    assert criterion(whole).verdict == "skipped"


def test_a_prior_that_is_a_model_of_its_own(trained):
    """SCANVI's: the numbers of a standard normal would be of another model."""
    model = trained(scvi.model.SCANVI, setup={"unlabeled_category": "?"})
    whole = collapse_of(model)
    assert criterion(whole).verdict == "skipped"
    assert "p(z given z2, y)" in criterion(whole).statement
    assert np.isnan(whole.kl).all()
    assert np.isnan([whole.total_kl, whole.aggregate_kl, whole.holes]).all()
    assert criterion(whole, "used").verdict != "skipped"
    assert whole.to_dict()["data"]["aggregate_kl"] is None


def test_axes_that_the_prior_prefers_are_not_called_arbitrary(trained):
    report = audit.run(trained(prior="conditional"), checks=["identifiability"])
    rotation = criterion(report["identifiability"], "rotation")
    assert rotation.verdict == "skipped"
    assert "ConditionalNormal" in rotation.statement
    plain = audit.run(trained(), checks=["identifiability"])["identifiability"]
    assert criterion(plain, "rotation").verdict != "skipped"


def test_nothing_of_the_generators_is_used_up(trained):
    model = trained(prior="mixture")
    other = copy.deepcopy(model)
    torch.manual_seed(3)
    collapse_of(model)
    drawn = torch.rand(())
    torch.manual_seed(3)
    assert drawn == torch.rand(())
    assert collapse_of(other).aggregate_kl == collapse_of(model).aggregate_kl

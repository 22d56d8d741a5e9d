"""What every prior has to do, asked of all of them."""

import copy
import pickle

import pytest
import torch
from scipy.linalg import eigh
from torch.distributions import MultivariateNormal, Normal

from lucidvi.errors import DataError
from lucidvi.nn import PRIORS, Sizes, log_density, make_prior

N_CELLS, N_INPUT, N_LATENT = 4, 5, 2
SIZES = Sizes(N_LATENT, N_INPUT, {"batch": (3,), "labels": (4,), "categorical": (2, 3)}, 2)
ALL = ("labels", "batch", "categorical", "continuous")
#: Every entry of the table, and further settings of some.
SETTINGS = [(name, {}) for name in PRIORS] + [
    ("mixture", {"n_components": 1}),
    ("vamp", {"n_components": 3}),
    ("conditional", {"covariates": ALL}),
]
#: A grid that holds all the mass, and its step.
AXIS = torch.linspace(-12, 12, 161)
GRID, STEP = torch.cartesian_prod(AXIS, AXIS), 0.15


class Encode:
    """An encoder of a few weights, that returns posteriors of some kind."""

    def __init__(self, kind="diagonal"):
        generator = torch.Generator().manual_seed(3)
        shape = N_LATENT, N_INPUT
        self.weight = (torch.randn(shape, generator=generator) / 2).requires_grad_()
        self.kind, self.seen = kind, []

    def __call__(self, x, covariates):
        self.seen.append((x, covariates))
        loc = x @ self.weight.T
        if self.kind == "diagonal":
            return Normal(loc, 0.5 + 0.1 * loc.square())
        factor = torch.tensor([[0.8, 0.0], [0.5, 0.6]])
        return MultivariateNormal(loc, scale_tril=factor.expand(len(x), 2, 2))


@pytest.fixture
def covariates():
    cells = torch.arange(N_CELLS)[:, None]
    return {
        "batch": cells % 3,
        "labels": cells % 4,
        "categorical": torch.cat([cells % 2, cells % 3], dim=1),
        "continuous": torch.randn(N_CELLS, 2),
    }


@pytest.fixture(params=SETTINGS, ids=str)
def prior(request):
    """A prior away from its start, so that nothing is as simple as there."""
    name, kwargs = request.param
    made = make_prior(name, SIZES, kwargs)
    with torch.no_grad():
        for weight in made.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
    return made


def posteriors(kind):
    loc = torch.randn(N_CELLS, N_LATENT)
    if kind == "diagonal":
        return Normal(loc, torch.rand(N_CELLS, N_LATENT) + 0.4)
    factor = torch.tensor([[0.7, 0.0], [0.6, 0.5]]).expand(N_CELLS, 2, 2)
    return MultivariateNormal(loc, scale_tril=factor)


def on_grid(distribution):
    """Log density of each cell on the grid, ``(n_points, n_cells)``."""
    return log_density(distribution, GRID[:, None].expand(-1, N_CELLS, -1))


@pytest.mark.parametrize("draws", [(), (4,), (3, 2)])
def test_shapes(prior, covariates, draws):
    z = torch.randn(*draws, N_CELLS, N_LATENT)
    pz = prior(z, covariates, Encode())
    assert log_density(pz, z).shape == (*draws, N_CELLS)
    qz = posteriors("diagonal")
    assert prior.kl(qz, pz, z).shape in {(N_CELLS,), (*draws, N_CELLS)}


@pytest.mark.parametrize("kind", ["diagonal", "full"])
def test_density_integrates_to_one(prior, covariates, kind):
    pz = prior(torch.zeros(N_CELLS, N_LATENT), covariates, Encode(kind))
    mass = on_grid(pz).exp().sum(dim=0) * STEP**2
    torch.testing.assert_close(mass, torch.ones(N_CELLS), rtol=0, atol=2e-3)


def test_draws_are_those_of_the_density(prior, covariates):
    z = torch.zeros(N_CELLS, N_LATENT)
    pz = prior(z, covariates, Encode())
    draws = pz.sample((5_000,))
    assert draws.shape == (5_000, N_CELLS, N_LATENT)
    weight = on_grid(pz).exp() * STEP**2
    mean = torch.einsum("pc,pd->cd", weight, GRID)
    variance = torch.einsum("pc,pcd->cd", weight, (GRID[:, None] - mean).square())
    error = 5 * (variance / 5_000).sqrt().max().item() + 2e-3
    torch.testing.assert_close(draws.mean(dim=0), mean, rtol=0, atol=error)
    torch.testing.assert_close(pz.mean.expand_as(mean), mean, rtol=0, atol=5e-3)
    torch.testing.assert_close(pz.stddev.expand_as(mean), variance.sqrt(), rtol=0, atol=5e-3)


@pytest.mark.parametrize("kind", ["diagonal", "full"])
def test_kl_is_that_by_numerical_integration(prior, covariates, kind):
    qz = posteriors(kind)
    z = qz.sample((5_000,))
    pz = prior(z, covariates, Encode())
    log_q = on_grid(qz)
    log_p = on_grid(prior(GRID[:, None], covariates, Encode()))
    want = (log_q.exp() * (log_q - log_p)).sum(dim=0) * STEP**2
    got = prior.kl(qz, pz, z)
    if got.ndim == 1:  # exact
        torch.testing.assert_close(got, want, rtol=1e-3, atol=2e-3)
    else:
        error = got.std(dim=0) / len(got) ** 0.5
        assert ((got.mean(dim=0) - want).abs() < 4 * error + 2e-3).all()


def test_kl_of_normals_is_exact(covariates):
    """Closed forms of what is known to have one: one value a cell, whatever the draws."""
    qz, z = posteriors("diagonal"), torch.randn(4, N_CELLS, N_LATENT)
    for name in ("standard_normal", "conditional"):
        prior = make_prior(name, SIZES)
        assert prior.kl(qz, prior(z, covariates, Encode()), z).shape == (N_CELLS,)


def test_gradients_reach_every_parameter(prior, covariates):
    encode, z = Encode(), torch.randn(N_CELLS, N_LATENT)
    z.requires_grad_()
    divergence = prior.kl(posteriors("full"), prior(z, covariates, encode), z)
    (divergence.sum() + 0 * z.sum()).backward()  # the standard normal has nothing to learn
    for name, weight in prior.named_parameters():
        if name == "logits" and len(weight) == 1:
            continue  # the weight of a single component is one
        assert weight.grad is not None, name
        assert (weight.grad != 0).any(), name
    if encode.seen:
        assert encode.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("how", ["state_dict", "deepcopy", "pickle"])
def test_copies_are_the_same_function(prior, covariates, how, request):
    name, kwargs = request.node.callspec.params["prior"]
    if how == "state_dict":
        twin = make_prior(name, SIZES, kwargs)
        twin.load_state_dict(prior.state_dict())
    else:
        twin = copy.deepcopy(prior) if how == "deepcopy" else pickle.loads(pickle.dumps(prior))
    z, encode = torch.randn(N_CELLS, N_LATENT), Encode()
    want, got = (log_density(p(z, covariates, encode), z) for p in (prior, twin))
    torch.testing.assert_close(got, want, rtol=0, atol=0)


# -- where they start -------------------------------------------------------------------------


def test_conditional_starts_as_the_standard_normal(covariates):
    pz = make_prior("conditional", SIZES, {"covariates": ALL})(
        torch.zeros(N_CELLS, N_LATENT), covariates, Encode()
    )
    torch.testing.assert_close(pz.loc, torch.zeros(N_CELLS, N_LATENT))
    torch.testing.assert_close(pz.scale, torch.ones(N_CELLS, N_LATENT))


def test_mixture_starts_near_the_standard_normal(covariates):
    z = torch.randn(1000, N_LATENT)
    pz = make_prior("mixture", SIZES, {"n_components": 1000})(z, covariates, Encode())
    ratio = log_density(Normal(0.0, 1.0), z) - log_density(pz, z)
    assert abs(ratio.mean()) < 0.02
    assert 0.01 < ratio.std() < 0.2


def test_pseudo_inputs_start_at_cells_and_stay_non_negative(covariates):
    prior, encode = make_prior("vamp", SIZES, {"n_components": N_CELLS}), Encode()
    x = torch.randn(N_CELLS, N_INPUT).clamp(min=0)
    prior.start_from(x, covariates)
    prior(x[:, :2], covariates, encode)
    seen, shown = encode.seen[0]
    torch.testing.assert_close(seen, x, rtol=0, atol=0.02)
    for name in ("batch", "categorical", "continuous"):
        assert torch.equal(shown[name], covariates[name])
    with torch.no_grad():
        prior.pseudo_inputs.sub_(1)
    prior(x[:, :2], covariates, encode)
    assert (encode.seen[1][0] >= 0).all()


def test_vamp_is_the_mixture_of_the_posteriors(covariates):
    prior, encode, z = make_prior("vamp", SIZES), Encode("full"), torch.randn(4, N_CELLS, 2)
    with torch.no_grad():
        prior.logits.normal_()
    pz = prior(z, covariates, encode)
    terms = []
    for weight, u in zip(prior.logits.softmax(0), prior.pseudo_inputs, strict=True):
        component = encode(u.abs()[None], None)
        terms.append(weight * component.log_prob(z).exp())
    torch.testing.assert_close(log_density(pz, z), sum(terms).log(), rtol=1e-4, atol=1e-5)


def test_frozen_pseudo_inputs_are_constants(covariates):
    prior, encode, z = make_prior("vamp", SIZES), Encode(), torch.randn(N_CELLS, N_LATENT)
    prior.requires_grad_(False)
    assert not log_density(prior(z, covariates, encode), z).requires_grad


def test_scale_of_a_conditional_prior_stays_positive_and_finite(covariates):
    prior = make_prior("conditional", SIZES, {"covariates": ("continuous",)})
    with torch.no_grad():
        for weight in prior.parameters():
            weight.fill_(1.0)
    for size in (-1e4, 1e4):
        given = {**covariates, "continuous": torch.full((N_CELLS, 2), size)}
        pz = prior(torch.zeros(N_CELLS, N_LATENT), given, Encode())
        assert (pz.scale > 0).all()
        assert log_density(pz, pz.loc).isfinite().all()


# -- which axes they prefer -------------------------------------------------------------------


def test_only_a_conditional_prior_prefers_axes(prior, covariates, request):
    prefers = request.node.callspec.params["prior"][0] == "conditional"
    assert (prior.n_aligning_cells > 0) == prefers
    if not prefers:
        loc = torch.randn(N_CELLS, N_LATENT)
        assert torch.equal(prior.align(loc, loc.exp(), covariates), torch.eye(N_LATENT))


def test_aligned_axes_diagonalize_the_covariances_of_two_groups():
    """The closed form for two groups: generalized eigenvectors of their covariances."""
    group = torch.arange(2).repeat(500)[:, None]
    scale = torch.tensor([[1.0, 2.0, 0.5], [2.0, 1.0, 1.5]])[group[:, 0]]
    mixing = torch.tensor([[1.0, 2.0, 0.0], [-1.0, 1.0, 3.0], [0.5, 0.0, 1.0]])
    loc = (scale * torch.randn(1000, 3) + group) @ mixing.T
    covariances = [loc[group[:, 0] == u].T.cov(correction=0).numpy() for u in (0, 1)]
    _, vectors = eigh(*covariances)

    prior = make_prior("conditional", Sizes(3, N_INPUT, {"labels": (2,)}))
    matrix = torch.eye(3)
    for _ in range(5):
        turned = loc @ matrix.T
        matrix = prior.align(turned, torch.full_like(loc, 1e-3), {"labels": group}) @ matrix
    size = matrix.norm(dim=1, keepdim=True) * torch.from_numpy(vectors).norm(dim=0)
    cosines = (matrix @ torch.from_numpy(vectors) / size).abs()
    torch.testing.assert_close(cosines.amax(dim=1), torch.ones(3), rtol=0, atol=1e-3)
    assert set(cosines.argmax(dim=1).tolist()) == {0, 1, 2}

    # The prior now is the best one: each group's own mean and standard deviation.
    turned = loc @ matrix.T
    for u in (0, 1):
        own = turned[group[:, 0] == u]
        pz = prior(own, {"labels": torch.full((len(own), 1), u)}, Encode())
        torch.testing.assert_close(pz.loc[0], own.mean(dim=0), rtol=0, atol=0.02)
        torch.testing.assert_close(pz.scale[0], own.std(dim=0), rtol=0.02, atol=0)


# -- what they refuse -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kwargs", "said"),
    [
        ("standard_normal", {"n_components": 3}, r"'n_components'.*'standard_normal'.*\n.*no arg"),
        ("mixture", {"k": 3}, r"has 'k'.*'mixture' does not take.*\n.*'n_components'"),
        ("mixture", {"n_components": 0}, r"`n_components` in `prior_kwargs` is 0"),
        ("vamp", {"n_components": 2.5}, r"`n_components` in `prior_kwargs` is 2.5"),
        ("vamp", {"n_components": True}, r"`n_components` in `prior_kwargs` is True"),
        ("conditional", {"covariates": ()}, r"`covariates` in `prior_kwargs` is empty"),
        ("conditional", {"covariates": ("age",)}, r"'age'.*\n.*'labels'"),
    ],
)
def test_bad_arguments(name, kwargs, said):
    with pytest.raises(DataError, match=said):
        make_prior(name, SIZES, kwargs)


@pytest.mark.parametrize(
    ("sizes", "covariates", "said"),
    [
        (
            Sizes(2, 5, {"labels": (1,)}),
            ("labels",),
            r"'labels', which has one level.*\n.*labels",
        ),
        (
            Sizes(2, 5, {"batch": (0,)}),
            "batch",
            r"'batch', which has one level.*\n.*batch_key",
        ),
        (Sizes(2, 5, {"categorical": ()}), ("categorical",), r"'categorical', which does not exi"),
        (
            Sizes(2, 5),
            ("continuous",),
            r"'continuous'.*does not exist.*\n.*continuous_cov",
        ),
    ],
)
def test_conditional_needs_levels(sizes, covariates, said):
    with pytest.raises(DataError, match=said):
        make_prior("conditional", sizes, {"covariates": covariates})


def test_conditional_needs_the_covariate_of_each_cell(covariates):
    prior = make_prior("conditional", SIZES)
    with pytest.raises(DataError, match=r"'labels', which is not given"):
        prior(torch.zeros(N_CELLS, 2), {**covariates, "labels": None}, Encode())

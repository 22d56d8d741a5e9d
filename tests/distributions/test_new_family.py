"""A likelihood that the house does not have is one class and one row; all else follows.

The beta negative binomial is a negative binomial whose probability of success is beta distributed,
so that some counts are far larger than any negative binomial allows.
"""

import numpy as np
import pytest
import scvi
import torch
from scipy import stats
from torch import Tensor

from lucidvi import audit, simulate
from lucidvi.atlas import Reference
from lucidvi.distributions import (
    LIKELIHOODS,
    CountLikelihood,
    NegativeBinomial,
    Parameter,
    draw_poisson,
)
from lucidvi.model import SCVI


def log_beta(a: Tensor, b: Tensor) -> Tensor:
    return torch.lgamma(a) + torch.lgamma(b) - torch.lgamma(a + b)


class BetaNegativeBinomial(CountLikelihood):
    r"""Beta negative binomial with mean :math:`\mu`, inverse dispersion and tail.

    .. math::
        x \mid \lambda \sim \mathrm{Poisson}(\lambda), \quad
        \lambda \mid p \sim \mathrm{Gamma}\left(\theta, \frac{p}{1 - p}\right), \quad
        p \sim \mathrm{Beta}(\alpha, \beta)

    with :math:`\alpha = 2 + e^\text{log_tail}`, which makes the variance finite, and
    :math:`\beta = \mu (\alpha - 1) / \theta`. Without a tail, for a large :math:`\alpha`, it is
    the negative binomial.
    """

    family = "bnb"
    parameters = {  # noqa: RUF012
        "log_theta": Parameter("dispersions", by="gene", space="log", bounds=(-8, 8), start=1.0),
        "log_tail": Parameter("tails", by="gene", space="log", bounds=(-4, 8), start=2.0),
    }

    @staticmethod
    def at_zero(log_mean, log_theta, log_tail):
        """Differences of log-gamma functions lose their digits in float32."""
        parameters = (log_mean.double(), log_theta.double(), log_tail.double())
        value = BetaNegativeBinomial.at_count(torch.zeros_like(parameters[0]), *parameters)
        return value.to(log_mean.dtype)

    @staticmethod
    def at_count(x, log_mean, log_theta, log_tail):
        theta, alpha = log_theta.exp(), 2 + log_tail.exp()
        beta = log_mean.exp() * (alpha - 1) / theta
        ways = torch.lgamma(theta + x) - torch.lgamma(theta) - torch.lgamma(x + 1)
        return ways + log_beta(alpha + theta, beta + x) - log_beta(alpha, beta)

    @classmethod
    def start(cls, moments):
        tail = torch.full_like(moments.rate, 2.0)
        return NegativeBinomial.start(moments) | {"log_tail": tail}

    @property
    def shapes(self):
        """Parameters of the gamma and of the beta distribution, linear."""
        theta, alpha = self.linear("log_theta"), 2 + self.linear("log_tail")
        return theta, alpha, self.mu * (alpha - 1) / theta

    @property
    def mean(self):
        return self.mu

    @property
    def variance(self):
        theta, alpha, beta = self.shapes
        product = theta * beta * (theta + alpha - 1) * (alpha + beta - 1)
        return product / ((alpha - 2) * (alpha - 1) ** 2)

    @torch.inference_mode()
    def sample(self, sample_shape=None):
        shape = torch.Size(sample_shape or ()) + self.batch_shape
        rate, a, b = (torch._standard_gamma(value.expand(shape)).log() for value in self.shapes)
        return draw_poisson((rate + b - a).exp())

    def further(self, x, factor):
        """Given the count and a draw of what is known of ``p``, a negative binomial."""
        theta, alpha, beta = self.shapes
        shape = theta + x
        with torch.inference_mode():
            a, b = (torch._standard_gamma(value) for value in (alpha + theta, beta + x))
        log_scale = (shape * b / (a + b)).log()
        return NegativeBinomial(
            log_scale=log_scale, log_library=factor.to(x).log(), log_theta=shape.log()
        )


@pytest.fixture(scope="module", autouse=True)
def row():
    """The row of the table."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(LIKELIHOODS, "bnb", BetaNegativeBinomial)
        yield


# -- the class, against scipy -----------------------------------------------------------------

MU, THETA, TAIL = np.array([0.02, 0.7, 4.0, 60.0]), 2, 6.0


def likelihood(n=1, dtype=torch.float64, requires_grad=False):
    tensors = {
        "log_scale": torch.tensor(np.log(MU), dtype=dtype).repeat(n, 1),
        "log_library": torch.zeros(n, 1, dtype=dtype),
        "log_theta": torch.full((4,), np.log(THETA), dtype=dtype),
        "log_tail": torch.full((4,), np.log(TAIL - 2), dtype=dtype),
    }
    for tensor in tensors.values():
        tensor.requires_grad_(requires_grad)
    return BetaNegativeBinomial(**tensors), tensors


def exact(mu=MU):
    """The same of scipy, which knows whole inverse dispersions alone."""
    return stats.betanbinom(THETA, TAIL, mu * (TAIL - 1) / THETA)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_log_probability(dtype):
    px, _ = likelihood(dtype=dtype)
    for count in (0, 1, 2, 7, 100, 2000):
        got = px.log_prob(torch.full((1, 4), float(count), dtype=dtype))[0]
        want = exact().logpmf(count)
        np.testing.assert_allclose(got, want, rtol=1e-9 if dtype == torch.float64 else 1e-4)
        np.testing.assert_allclose(got.sum(), want.sum(), rtol=1e-4)


def test_moments_and_zeros():
    px, _ = likelihood()
    np.testing.assert_allclose(px.mean[0], exact().mean(), rtol=1e-9)
    np.testing.assert_allclose(px.variance[0], exact().var(), rtol=1e-9)
    zeros = px.log_prob(torch.zeros(1, 4, dtype=torch.float64)).exp()[0]
    np.testing.assert_allclose(zeros, exact().pmf(0), rtol=1e-9)


def test_distribution_function_which_is_summed():
    x = torch.tensor([[0.0, 3, 11, 40]], dtype=torch.float64)
    below, at_most = likelihood()[0].cumulative(x)
    np.testing.assert_allclose(at_most[0], exact().cdf(x[0]), rtol=1e-8)
    np.testing.assert_allclose(below[0], exact().cdf(x[0] - 1), rtol=1e-8, atol=1e-12)


def test_draws(seed):
    n = 20_000
    drawn = likelihood(n)[0].sample().numpy()
    for count in (0, 1, 5, 30, 200):
        truth = exact().cdf(count)
        error = 4.5 * np.sqrt(truth * (1 - truth) / n) + 1e-4
        assert (abs((drawn <= count).mean(axis=0) - truth) < error).all(), count


def test_observed_and_further_counts_have_the_rate_of_one_cell(seed):
    """Three times the exposure of a rate that was drawn once: against draws of the rate."""
    n, more = 20_000, 2.0
    px, _ = likelihood(n)
    x = px.sample()
    total = (x + px.further(x, torch.full((n, 1), more)).sample()).numpy()
    rng = np.random.default_rng(1)
    p = rng.beta(TAIL, MU * (TAIL - 1) / THETA, (n, 4))
    want = rng.poisson((1 + more) * rng.gamma(THETA, (1 - p) / p))
    for gene in range(4):
        assert stats.ks_2samp(total[:, gene], want[:, gene]).pvalue > 1e-3


def test_gradients_of_all_parameters_are_finite_and_not_zero():
    x = torch.tensor([[0.0, 3, 0, 2000]]).to_sparse_csr()
    for dtype in (torch.float32, torch.float64):
        px, tensors = likelihood(dtype=dtype, requires_grad=True)
        px.log_likelihood(x.to(dtype)).sum().backward()
        for name, tensor in tensors.items():
            assert torch.isfinite(tensor.grad).all(), name
            assert (tensor.grad != 0).all(), name


# -- the row: everything that the house does with a model -------------------------------------


@pytest.fixture(scope="module")
def cells(make_adata):
    """Two labels in three batches, of which 160 cells are trained on."""
    adata = make_adata(240, n_genes=20)
    adata.obs["cell_type"] = adata.obs["label"]
    return adata


@pytest.fixture(scope="module")
def model(cells):
    adata = cells[:160].copy()
    SCVI.setup_anndata(adata, batch_key="batch", labels_key="label")
    scvi.settings.seed = 0
    model = SCVI(adata, gene_likelihood="bnb", n_hidden=16, n_latent=2)
    model.train(max_epochs=40, batch_size=32, train_size=0.8)
    return model


def test_it_trains(model):
    losses = model.history["elbo_train"].to_numpy(dtype=float)
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0]
    assert set(dict(model.module.gene_parameters)) == {"log_tail"}
    shapes = {name: p.shape for name, p in model.get_likelihood_parameters().items()}
    assert shapes == dict.fromkeys(("mean", "dispersions", "tails"), (160, 20))


def test_it_starts_at_the_moments_of_the_genes(cells):
    """As the negative binomial does, and where else its class says."""
    start = {}
    for name in ("bnb", "nb"):
        SCVI.setup_anndata(cells)
        model = SCVI(cells, gene_likelihood=name, n_hidden=8, n_latent=2)
        model.train(max_epochs=1, plan_kwargs={"lr": 1e-9})
        start[name] = model.module
    torch.testing.assert_close(start["bnb"].px_r, start["nb"].px_r)
    tails = start["bnb"].gene_parameters["log_tail"]
    torch.testing.assert_close(tails, torch.full_like(tails, 2.0))


@pytest.mark.parametrize("dispersion", ["gene-batch", "gene-cell"])
def test_parameters_of_batches_and_of_cells(model, dispersion):
    """Each gets a gradient, whether it is the module's or a head's."""
    other = SCVI(model.adata, gene_likelihood="bnb", dispersion=dispersion, n_hidden=8, n_latent=2)
    other.train(max_epochs=1)
    tensors = next(iter(other._make_data_loader(model.adata, batch_size=60)))
    other.module.zero_grad()
    other.module(tensors)[2].loss.backward()
    named = dict(other.module.named_parameters())
    kinds = {
        "gene-batch": ("px_r", "gene_parameters.log_tail"),
        "gene-cell": ("decoder.px_r_decoder.weight", "decoder.added_heads.log_tail.weight"),
    }
    for name in kinds[dispersion]:
        assert torch.isfinite(named[name].grad).all()
        assert (named[name].grad != 0).any(), name


def test_it_is_refined_and_its_gap_measured(model):
    some = np.arange(40)
    refined = model.refine_posterior(indices=some)
    assert np.isfinite(refined.loc).all()
    gap = model.get_inference_gap(indices=some)
    assert (gap["amortization_gap"] > -0.5).all()
    assert gap["amortization_gap"].mean() > 0


def test_it_is_audited(model):
    found = audit.run(model, checks=["fit"])["fit"]
    names = {alternative.name for alternative in found.alternatives}
    assert names >= {"nb", "zinb", "poisson", "bnb"}
    assert {criterion.name for criterion in found.criteria} >= {"residuals", "coverage", "zeros"}


def test_other_models_are_audited_with_it(make_adata):
    """It is tried in place of theirs, too."""
    adata = make_adata(80)
    SCVI.setup_anndata(adata)
    model = SCVI(adata, gene_likelihood="poisson", n_hidden=8, n_latent=2)
    model.train(max_epochs=2)
    found = audit.run(model, checks=["fit"])["fit"]
    assert "bnb" in {alternative.name for alternative in found.alternatives}


def test_it_is_resequenced(model):
    cells = simulate.resequence(model, depth_factor=3.0)
    before, after = model.adata.X.toarray(), cells.X.toarray()
    assert (after >= before).all()
    assert after.sum() / before.sum() == pytest.approx(3, rel=0.1)


def test_it_is_mapped(model, cells):
    query = cells[160:, 5:].copy()
    mapped = Reference.from_model(model).map(query, batch_key="batch")
    labels = mapped.obs["lucidvi_label"].astype(str), query.obs["label"].astype(str)
    assert (labels[0].to_numpy() == labels[1].to_numpy()).mean() > 0.8


def test_it_is_saved_and_loaded(model, tmp_path):
    model.save(tmp_path / "model", save_anndata=True)
    loaded = SCVI.load(tmp_path / "model")
    assert loaded.module.gene_likelihood == "bnb"
    torch.manual_seed(0)
    want = model.get_marginal_ll(n_mc_samples=4, return_mean=False)
    torch.manual_seed(0)
    got = loaded.get_marginal_ll(n_mc_samples=4, return_mean=False)
    np.testing.assert_array_equal(want, got)

"""Two modalities, linear in one state with normal noise, either of which may be missing."""

import pytest
import torch
from scvi import REGISTRY_KEYS
from torch import nn
from torch.distributions import MultivariateNormal, Normal

from lucidvi.distributions import Normal as NormalLikelihood
from lucidvi.inference import PosteriorTarget, inference_gap, iwae, refine, refined_ais
from lucidvi.module import Exposure, GenerativeModule, Modality
from lucidvi.nn import StateDistribution

N, K, SIZES, NOISE = 150, 3, {"rna": 6, "prot": 4}, {"rna": 0.8, "prot": 0.5}


class TwoNormals(GenerativeModule):
    """The module, whose encoder is off by ``bias`` and takes the numbers of a state alone."""

    def __init__(self, bias=0.0):
        super().__init__()
        self.n_latent, self.bias = K, bias
        generator = torch.Generator().manual_seed(1)
        self.loadings = nn.ParameterDict(
            {key: torch.randn(n, K, generator=generator) for key, n in SIZES.items()}
        )

    @property
    def modalities(self):
        fields = {"rna": REGISTRY_KEYS.X_KEY, "prot": "prot"}
        return {
            key: Modality(key, n, NormalLikelihood, Exposure.NONE, field=fields[key])
            for key, n in SIZES.items()
        }

    def posterior(self, observed):
        """The exact posteriors."""
        n = len(observed["rna"].x)
        precision, right = torch.eye(K).expand(n, K, K), torch.zeros(n, K)
        for key, seen in observed.items():
            a, has = self.loadings[key], seen.present.float()
            precision = precision + has[:, None, None] * (a.T @ a) / NOISE[key] ** 2
            right = right + has[:, None] * (seen.x @ a) / NOISE[key] ** 2
        loc = torch.linalg.solve(precision, right)
        return MultivariateNormal(loc, precision_matrix=precision)

    def encode(self, observed, s):
        exact = self.posterior(observed)
        scale = exact.precision_matrix.diagonal(dim1=-2, dim2=-1).rsqrt()
        return StateDistribution(Normal(exact.mean + self.bias * scale, scale))

    def prior_of(self, z, s):
        return StateDistribution(Normal(torch.zeros_like(z), torch.ones_like(z)))

    def decode(self, z, s, log_exposures):
        return {key: Normal(z @ a.T, NOISE[key]) for key, a in self.loadings.items()}


@pytest.fixture
def cells():
    """Return a function that makes the target; a third of the cells has each, a third both."""

    def make(bias=0.0):
        torch.manual_seed(0)
        module = TwoNormals(bias).eval().requires_grad_(False)
        z, which = torch.randn(N, K), torch.arange(N) % 3
        tensors = {}
        for place, (key, modality) in enumerate(module.modalities.items()):
            x = z @ module.loadings[key].T + NOISE[key] * torch.randn(N, SIZES[key])
            present = which != place
            tensors[modality.field] = torch.where(present[:, None], x, torch.zeros(()))
            tensors[modality.present_field] = present
        return PosteriorTarget.from_module(module, tensors)

    return make


def log_px(target):
    """The exact log density of what each cell has, by the covariance of all of it."""
    loadings = torch.cat([target.module.loadings[key] for key in SIZES]).double()
    noise = torch.cat([torch.full((n,), NOISE[key] ** 2) for key, n in SIZES.items()]).double()
    covariance = loadings @ loadings.T + noise.diag()
    x = torch.cat([seen.x for seen in target.observed.values()], dim=1).double()
    has = torch.cat([seen.measured for seen in target.observed.values()], dim=1)
    values = []
    for row, m in zip(x, has, strict=True):
        zeros = torch.zeros(int(m.sum())).double()
        values.append(MultivariateNormal(zeros, covariance[m][:, m]).log_prob(row[m]))
    return torch.stack(values)


def test_annealed_importance_sampling_is_right_whatever_a_cell_has(cells):
    target = cells(bias=1.5)
    truth = log_px(target)
    estimate = refined_ais(target, 16, 5)
    deviation = (estimate.log_px - truth).abs()
    assert (deviation <= 3 * estimate.standard_error + 1e-4).double().mean() >= 0.95
    assert deviation.max() < 0.3
    weighted = iwae(cells(), 2000)  # of an encoder that is right, as far as it can be
    assert -0.05 < (weighted.log_px - truth).mean() < 0.02  # a bound from below


def test_what_is_missing_tells_nothing(cells):
    """The log density of a cell with one modality is that of a model of this one alone."""
    target = cells()
    whole = log_px(target)
    only = ~target.observed["prot"].present
    a = target.module.loadings["rna"].double()
    covariance = a @ a.T + NOISE["rna"] ** 2 * torch.eye(SIZES["rna"]).double()
    x = target.observed["rna"].x[only].double()
    alone = MultivariateNormal(torch.zeros(SIZES["rna"]).double(), covariance).log_prob(x)
    torch.testing.assert_close(whole[only], alone)


def test_refined_posteriors_are_the_exact_ones(cells):
    target = cells(bias=1.5)
    exact = target.module.posterior(target.observed)
    refined = refine(target, "full").posterior
    torch.testing.assert_close(refined.loc, exact.mean, atol=0.02, rtol=0)
    covariance = refined.scale_tril @ refined.scale_tril.mT
    torch.testing.assert_close(covariance, exact.covariance_matrix, atol=0.02, rtol=0)


def test_gaps_are_the_divergences_of_the_exact_posterior(cells):
    """A mean off by a step d costs d' P d / 2 nats, with the precision P of the posterior."""
    gap, target = inference_gap(cells(bias=1.5)), cells()
    exact = target.module.posterior(target.observed)
    step = 1.5 * exact.precision_matrix.diagonal(dim1=-2, dim2=-1).rsqrt()
    want = 0.5 * torch.einsum("ni,nij,nj->n", step, exact.precision_matrix, step)
    torch.testing.assert_close(gap.amortization_gap.float(), want, atol=0.1, rtol=0.02)
    spread = exact.precision_matrix.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    approximation = 0.5 * (spread - exact.precision_matrix.logdet())
    torch.testing.assert_close(
        gap.approximation_gap.float(), approximation.float(), atol=0.1, rtol=0
    )

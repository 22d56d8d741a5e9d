"""What every target has to do, asked of all of them."""

import pytest
import scvi.model
import torch

import lucidvi.model
from lucidvi.inference import LinearGaussianTarget, PosteriorTarget, Target

MODELS = {
    "lucidvi": (lucidvi.model.SCVI, {}),
    "latent library": (lucidvi.model.SCVI, {"use_observed_lib_size": False}),
    "logistic normal": (lucidvi.model.SCVI, {"latent_distribution": "ln"}),
    "scvi-tools": (scvi.model.SCVI, {"gene_likelihood": "nb"}),
    "scvi-tools, embedding": (scvi.model.SCVI, {"batch_representation": "embedding"}),
    "LinearSCVI": (scvi.model.LinearSCVI, {}),
}


@pytest.fixture(params=["linear-Gaussian", *MODELS])
def target(request, linear_gaussian, adata) -> Target:
    if request.param == "linear-Gaussian":
        return linear_gaussian(3)
    model_cls, kwargs = MODELS[request.param]
    model_cls.setup_anndata(adata, batch_key="batch")
    model = model_cls(adata, n_latent=3, n_hidden=8, **kwargs)
    model.module.eval()
    (tensors,) = model._make_data_loader(adata, batch_size=adata.n_obs)
    return PosteriorTarget.from_module(model.module, tensors)


def test_shapes(target):
    z = target.q0.sample((4,))
    assert z.shape == (4, target.n_cells, target.n_state)
    assert target.log_joint(z).shape == (4, target.n_cells)
    assert target.prior.batch_shape == target.q0.batch_shape
    assert target.prior.event_shape == target.q0.event_shape


def test_cells_are_independent_of_each_other(target):
    z = target.q0.sample((3,))
    cells = torch.tensor([7, 2, 5])
    some = target.select(cells)
    assert some.n_cells == 3
    torch.testing.assert_close(some.log_joint(z[:, cells]), target.log_joint(z)[:, cells])
    torch.testing.assert_close(some.q0.mean, target.q0.mean[cells])


def test_gradient_is_that_of_finite_differences(target):
    torch.manual_seed(0)
    z = target.q0.sample((2,))
    value, gradient = target.evaluate_with_gradient(z)
    torch.testing.assert_close(value, target.evaluate(z))
    direction = torch.randn_like(z)
    h = 1e-2 if z.dtype == torch.float32 else 1e-5
    numeric = (target.evaluate(z + h * direction) - target.evaluate(z - h * direction)) / (2 * h)
    analytic = (gradient * direction).sum(dim=-1)
    close = torch.isclose(analytic, numeric, rtol=0.02, atol=0.05)
    # A hidden unit may switch on between the two points.
    assert close.double().mean() > 0.95


def test_passes_do_not_matter(target):
    z = target.q0.sample((5,))
    torch.testing.assert_close(target.evaluate(z, n_per_pass=2), target.evaluate(z))


def test_contract_is_abstract():
    with pytest.raises(TypeError, match="abstract"):
        Target()
    assert issubclass(LinearGaussianTarget, Target)

"""Turning the latent space in a training: what stays, and when it happens."""

import numpy as np
import pytest
import scvi
import torch

from lucidvi._random import in_evaluation
from lucidvi.model import SCVI
from lucidvi.module import VAE


def make_model(adata, **kwargs):
    scvi.settings.seed = 0
    SCVI.setup_anndata(
        adata, batch_key="batch", labels_key="label", continuous_covariate_keys=["age"]
    )
    return SCVI(adata, n_hidden=8, n_latent=3, **{"prior": "conditional", **kwargs})


def decoded(module, minibatch):
    """Posterior, and what the decoder makes of its mean."""
    with torch.no_grad(), in_evaluation(module):
        inferred = module.inference(**module._get_inference_input(minibatch))
        given = {**inferred, "z": inferred["qz"].loc}
        generated = module.generative(**module._get_generative_input(minibatch, given))
    return inferred["qz"], generated["px"].mean


@pytest.fixture
def trained(make_adata):
    made = make_model(make_adata(120))
    made.train(max_epochs=5)
    return made


@pytest.mark.parametrize("options", [{}, {"posterior": "full"}, {"n_layers": 2}], ids=str)
def test_means_are_turned_and_decoded_as_before(make_adata, options):
    made = make_model(make_adata(120), **options)
    made.train(max_epochs=3)
    minibatch = next(iter(made._make_data_loader(made.adata)))
    matrix = torch.tensor([[0.5, 2.0, 0.0], [-1.0, 0.5, 0.3], [0.2, 0.0, 1.5]])
    before, mean = decoded(made.module, minibatch)
    made.module.turn(matrix)
    after, mean_after = decoded(made.module, minibatch)
    torch.testing.assert_close(after.loc, before.loc @ matrix.T, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(mean_after, mean, rtol=1e-4, atol=1e-5)


def test_variances_of_exchanged_and_stretched_axes_are_exact(trained):
    minibatch = next(iter(trained._make_data_loader(trained.adata)))
    before, _ = decoded(trained.module, minibatch)
    trained.module.turn(torch.tensor([[0.0, -2.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.5]]))
    after, _ = decoded(trained.module, minibatch)
    want = before.scale[:, [1, 0, 2]] * torch.tensor([2.0, 1.0, 0.5])
    torch.testing.assert_close(after.scale, want, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize(
    ("options", "align_axes", "n_turns"),
    [
        ({}, (0.3, 0.5), 3),
        ({}, (0.0, 1.0), 10),
        ({}, None, 0),
        ({"prior": "mixture"}, (0.3, 0.5), 0),
        ({"latent_distribution": "ln"}, (0.3, 0.5), 0),
    ],
    ids=str,
)
def test_when_it_happens(make_adata, monkeypatch, options, align_axes, n_turns):
    turned = []
    monkeypatch.setattr(VAE, "turn", lambda module, matrix: turned.append(matrix))
    made = make_model(make_adata(120), **options)
    made.train(max_epochs=10, plan_kwargs={"align_axes": align_axes})
    assert len(turned) == n_turns
    made.train(max_epochs=10, plan_kwargs={"align_axes": align_axes})
    assert len(turned) == n_turns, "a model that is trained further keeps its axes"


def test_shares_that_are_none(make_adata):
    for shares in ((0.5, 0.3), (-0.1, 0.5), (0.3, 1.2)):
        with pytest.raises(ValueError, match=r"`align_axes` is .*two shares"):
            make_model(make_adata()).train(max_epochs=1, plan_kwargs={"align_axes": shares})


def test_turned_models_are_finite_with_levels_of_few_cells(make_adata):
    adata = make_adata(120)
    adata.obs["label"] = [f"level{i // 3}" for i in range(120)]
    made = make_model(adata)
    made.train(max_epochs=10, plan_kwargs={"align_axes": (0.0, 1.0)})
    assert np.isfinite(made.get_latent_representation()).all()

"""Steps of the encoder alone: which they are, and that nothing else moves in them."""

import numpy as np
import pytest
import scvi
import torch
from lightning.pytorch import Callback

from lucidvi.model import SCVI
from lucidvi.module import VAE
from lucidvi.train import EncoderFirst, TrainingPlan

N_EPOCHS, N_MINIBATCHES = 4, 5
ENCODERS = ("z_encoder.", "l_encoder.")


class Recorder(Callback):
    """Weights that moved in each step."""

    def __init__(self):
        self.moved = []

    def on_train_start(self, trainer, plan):
        self.before = self.weights(plan)

    def on_train_batch_end(self, trainer, plan, *args):
        after = self.weights(plan)
        self.moved.append({n for n, w in after.items() if not torch.equal(w, self.before[n])})
        self.before = after

    def weights(self, plan):
        return {n: w.detach().clone() for n, w in plan.module.named_parameters()}

    @property
    def decoder_moved(self):
        return [any(not n.startswith(ENCODERS) for n in names) for names in self.moved]

    @property
    def encoder_moved(self):
        return [any(n.startswith(ENCODERS) for n in names) for names in self.moved]


def train(adata, plan, **kwargs):
    scvi.settings.seed = 0
    SCVI.setup_anndata(adata)
    model = SCVI(adata, n_hidden=8, n_latent=2, **kwargs)
    recorder = Recorder()
    settings = {"max_epochs": N_EPOCHS, "train_size": 1.0, "batch_size": 12}
    model.train(callbacks=[recorder], plan_kwargs={"minibatches_per_step": 1} | plan, **settings)
    return model, recorder


def test_which_steps_are_of_the_encoder_alone():
    first = EncoderFirst(encoder_steps=3, encoder_share=0.5)
    alone = [first.is_alone(step, (step + 1) / 20) for step in range(20)]
    assert alone == [True, True, True, False] * 2 + [True, True] + [False] * 10
    assert not any(EncoderFirst(0).is_alone(step, 0.01) for step in range(5))
    assert not first.is_alone(0, 0.0)  # a training of no known end


@pytest.mark.parametrize("plan", [{}, {"objective": "iwae"}, {"free_bits": 0.5}], ids=str)
@pytest.mark.parametrize("kwargs", [{}, {"use_observed_lib_size": False}, {"prior": "mixture"}])
def test_only_the_encoder_moves(adata, plan, kwargs):
    _, recorder = train(adata, {"encoder_steps": 2, "encoder_share": 0.6} | plan, **kwargs)
    n_steps = N_EPOCHS * N_MINIBATCHES
    want = [(step % 3 == 2) or step >= 0.6 * n_steps for step in range(n_steps)]
    assert recorder.decoder_moved == want
    assert all(recorder.encoder_moved)


def test_without_it_all_move(adata):
    _, recorder = train(adata, {})
    assert all(recorder.decoder_moved)


def test_groups_of_minibatches_train_as_single_ones_do(adata):
    plan = {"encoder_steps": 2, "encoder_share": 0.6, "lr": 1e-3}
    single, grouped = (train(adata, plan | {"minibatches_per_step": n})[0] for n in (1, 10))
    for name, want in single.module.state_dict().items():
        got = grouped.module.state_dict()[name]
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5, msg=name)


def test_the_weights_learn_again(adata):
    model, _ = train(adata, {"encoder_steps": 9, "encoder_share": 1.0})
    assert all(weight.requires_grad for weight in model.module.parameters())
    assert np.isfinite(model.get_latent_representation()).all()


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ({"encoder_steps": -1}, "`encoder_steps` is -1; zero"),
        ({"encoder_steps": 3, "encoder_share": 0}, "`encoder_share` is 0; .* above 0"),
        ({"encoder_steps": 3, "encoder_share": 1.5}, "`encoder_share` is 1.5"),
    ],
)
def test_what_cannot_be(plan, message):
    with pytest.raises(ValueError, match=message):
        TrainingPlan(VAE(n_input=3, n_batch=1), **plan)


def test_a_frozen_encoder():
    module = VAE(n_input=3, n_batch=1)
    module.z_encoder.requires_grad_(False)
    with pytest.raises(ValueError, match="`encoder_steps` is 2, but the encoder's weights are fr"):
        TrainingPlan(module, encoder_steps=2)

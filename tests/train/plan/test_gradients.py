"""What a message of gradients looks like, from the first step on and after an interruption."""

import pytest
import torch
from torch import nn

from lucidvi._ranks import Ranks
from lucidvi.model import SCVI
from lucidvi.train.plan import _together
from lucidvi.train.plan._gradients import SummedGradients
from lucidvi.train.plan._plan import TrainingPlan


class Two(Ranks):
    """Two processes, of which the other has nothing to say."""

    def add_up(self, values):
        return values

    def copy_first(self, tensors):
        pass

    def draw_apart(self):
        pass


@pytest.fixture
def weights():
    return [nn.Parameter(torch.full((n,), float(n))) for n in (2, 3, 4)]


def with_gradients(weights, places):
    for i, weight in enumerate(weights):
        weight.grad = torch.full_like(weight, i + 1.0) if i in places else None


def test_a_weight_is_sent_once_it_has_had_a_gradient(weights):
    gradients = SummedGradients(Two(0, 2), weights)
    sent = []
    for places in ((1,), (0, 1), (1,)):
        with_gradients(weights, places)
        gradients(torch.tensor(0.0), is_stopping=False)
        sent.append(gradients.sent)
        for i, weight in enumerate(weights):
            assert (weight.grad is None) == (i not in places)
            assert weight.grad is None or (weight.grad == i + 1).all()
    assert sent == [[1], [0, 1], [0, 1]]


def test_messages_after_an_interruption_are_those_before_it(adata, monkeypatch):
    """Else three processes would add up in another order, where few cells have a modality."""
    SCVI.setup_anndata(adata)
    before, after = (TrainingPlan(SCVI(adata, n_hidden=4).module) for _ in range(2))
    before.ranks = Two(0, 2)
    before._gradients = SummedGradients(before.ranks, before.module.parameters(), [1, 3])
    after.load_training_state(before.training_state())
    monkeypatch.setattr(_together, "ranks_of", lambda _: Two(0, 2))
    after._trainer = object()
    after.on_fit_start()
    message, sent = after._gradients.message, after._gradients.sent
    assert sent == [1, 3]
    assert message.shape == before._gradients.message.shape

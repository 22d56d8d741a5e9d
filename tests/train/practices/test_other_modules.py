"""Practices with modules that are no autoencoder of counts: they go by what a module offers."""

import logging

import numpy as np
import pytest
import scvi
import torch
from lightning.pytorch import Callback
from tests.toy import Toy, ToyModule, with_proteins
from torch.distributions import Normal

from lucidvi.distributions import NegativeBinomial
from lucidvi.errors import DataError
from lucidvi.model import SCVI
from lucidvi.module import VAE, Alignable, Exposure, Modality, Normalizable, Startable, offers
from lucidvi.nn import StateDistribution
from lucidvi.train.practices._moments import moments_of

ALL = {
    "start_from_data": True,
    "align_axes": (0.0, 1.0),
    "encoder_steps": 1,
    "warn_collapse": True,
}


@pytest.fixture(scope="module")
def adata(make_adata):
    return with_proteins(make_adata(90))


def trained(cls, adata, plan=None, **kwargs):
    scvi.settings.seed = 0
    cls.setup_anndata(adata, batch_key="batch")
    model = cls(adata)
    model.train(**{"max_epochs": 4, "batch_size": 30, "plan_kwargs": plan or {}} | kwargs)
    return model


# -- a module that offers nothing -------------------------------------------------------------


def test_it_offers_nothing():
    for contract in (Startable, Alignable, Normalizable):
        assert not offers(ToyModule(), contract)
        assert offers(VAE(n_input=3, n_batch=1), contract)


def test_what_it_does_not_offer_is_left_out(adata):
    """Random weights stay what they are until the first step, by which nothing is drawn."""
    weights = []
    for plan in (ALL | {"encoder_steps": 0}, {"start_from_data": False, "align_axes": None}):
        model = trained(Toy, adata, plan)
        assert model.is_trained
        assert not model.module.is_fresh
        weights.append(dict(model.module.named_parameters()))
    for name, weight in weights[0].items():
        assert torch.equal(weight, weights[1][name]), name


def test_every_practice_on(adata, caplog):
    with caplog.at_level(logging.WARNING):
        model = trained(Toy, adata, ALL)
    assert np.isfinite(model.get_latent_representation()).all()
    assert "does not tell whether the posterior collapses" in caplog.text


def test_what_is_asked_for_by_name_is_refused(adata):
    with pytest.raises(DataError, match="a ToyModule has no single encoder and prior"):
        trained(Toy, adata, {"mean_norm": 0.5})


# -- a module that offers a start and its axes ------------------------------------------------


class OfferingModule(ToyModule):
    """The toy, whose decoders can start at the data, and whose axes have widths of their own."""

    n_starting_cells, n_aligning_cells = 4, 50

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.widths = torch.ones(self.n_latent)
        self.started, self.turned = None, []

    def prior_of(self, z, s):
        return StateDistribution(Normal(torch.zeros_like(z), self.widths.expand_as(z)))

    @torch.no_grad()
    def start_from(self, moments, cells):
        self.started = moments, cells
        for key, layer in self.decoders.items():
            layer.bias.copy_(moments[key].rate.log())

    def align(self, loc, scale, s):
        assert loc.shape == scale.shape == (self.n_aligning_cells, self.n_latent)
        assert s["batch"].shape == (self.n_aligning_cells, 1)
        self.widths = 2 * self.widths
        return 2 * torch.eye(self.n_latent)

    @torch.no_grad()
    def turn(self, matrix):
        self.turned.append(matrix)
        for layer in self.decoders.values():
            layer.weight[:, : self.n_latent] @= matrix.inverse()


class Offering(Toy):
    """A model of it."""

    _module_cls = OfferingModule


class FirstWeights(Callback):
    """Biases of the decoders before the first step."""

    def on_train_start(self, trainer, plan):
        self.biases = {k: d.bias.detach().clone() for k, d in plan.module.decoders.items()}


def test_it_starts_at_the_data(adata):
    first = FirstWeights()
    model = trained(Offering, adata, callbacks=[first], train_size=1.0)  # by the default preset
    moments, cells = model.module.started
    assert len(cells["X"]) == 4
    for key, x in (("rna", np.asarray(adata.to_df())), ("protein", adata.obsm["protein"])):
        rate = (x.sum(axis=0) + 0.5) / x.sum()
        np.testing.assert_allclose(first.biases[key].numpy(), np.log(rate), rtol=1e-5)
        x = x.astype(float)
        ell = x.sum(axis=1, keepdims=True)
        np.testing.assert_allclose(moments[key].exposed.numpy(), (x * ell).sum(axis=0))
        np.testing.assert_allclose(moments[key].squares.numpy(), (x**2).sum(axis=0))
        assert moments[key].squared_exposure == pytest.approx((ell**2).sum())


@pytest.mark.parametrize(("align_axes", "n_turns"), [((0.0, 1.0), 4), (None, 0)])
def test_its_axes_are_turned(adata, align_axes, n_turns):
    model = trained(Offering, adata, {"align_axes": align_axes})
    assert len(model.module.turned) == n_turns
    assert model.module.widths.tolist() == [2.0**n_turns] * 2
    model.train(max_epochs=2)
    assert len(model.module.turned) == n_turns, "a trained module keeps its axes"


# -- moments ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("exposure", "want"),
    [
        (Exposure.OBSERVED, [3.0, 0.0, 9.0]),
        (Exposure.LATENT, [3.0, 0.0, 9.0]),
        (Exposure.NONE, [1.0, 0.0, 1.0]),
        (Exposure.SIZE_FACTOR, [0.5, 0.0, 4.0]),
    ],
)
def test_moments_by_exposure(exposure, want):
    """Cells that lack a modality are in none of its sums."""

    class One(ToyModule):
        @property
        def modalities(self):
            return {"protein": Modality("protein", 2, NegativeBinomial, exposure)}

    x = torch.tensor([[1.0, 2.0], [5.0, 5.0], [0.0, 9.0]])
    cells = {
        "protein": x,
        "protein_present": torch.tensor([[True], [False], [True]]),
        "size_factor": torch.tensor([[0.5], [2.0], [4.0]]),
    }
    moments = moments_of(One(), [cells])["protein"]
    assert moments.counts.tolist() == [1.0, 11.0]
    assert moments.squares.tolist() == [1.0, 85.0]
    assert moments.exposure == sum(want)
    assert moments.exposed.tolist() == [want[0], 2 * want[0] + 9 * want[2]]
    assert moments.rate.tolist() == [1.5 / sum(want), 11.5 / sum(want)]


def test_moments_of_the_autoencoder_by_size_factor(make_adata):
    adata = make_adata(30)
    adata.obs["size"] = np.linspace(0.5, 2, 30)
    SCVI.setup_anndata(adata, size_factor_key="size")
    model = SCVI(adata)
    minibatches = list(model._make_data_loader(adata, batch_size=8))
    moments = moments_of(model.module, minibatches)["rna"]
    assert moments.exposure == pytest.approx(adata.obs["size"].sum())

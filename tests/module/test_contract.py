"""What the methods of a module's author return wrong is said by name, wherever it is asked for."""

import pytest
import torch
from scvi import REGISTRY_KEYS
from torch import nn
from torch.distributions import Normal

from lucidvi.distributions import NegativeBinomial
from lucidvi.errors import DataError, ModelTypeError
from lucidvi.inference import PosteriorTarget, refine
from lucidvi.module import Exposure, GenerativeModule, Modality
from lucidvi.nn import StateDistribution

N_CELLS, SIZES = 6, {"rna": 4, "protein": 3}


class Right(GenerativeModule):
    """Two modalities, the second of a latent exposure."""

    def __init__(self):
        super().__init__()
        self.n_latent = 2
        self.encoder = nn.Linear(SIZES["rna"], 3)
        self.decoders = nn.ModuleDict({key: nn.Linear(2, n) for key, n in SIZES.items()})

    @property
    def modalities(self):
        return {
            "rna": Modality("rna", SIZES["rna"], NegativeBinomial, field=REGISTRY_KEYS.X_KEY),
            "protein": Modality("protein", SIZES["protein"], NegativeBinomial, Exposure.LATENT),
        }

    def encode(self, observed, s):
        loc = self.encoder(observed["rna"].x.log1p())
        latent, exposure = (Normal(part, torch.ones_like(part)) for part in loc.split([2, 1], -1))
        return StateDistribution(latent, exposure)

    def prior_of(self, z, s):
        one = torch.ones_like(z)
        return StateDistribution(Normal(0 * one, one), Normal(one[..., :1], one[..., :1]))

    def decode(self, z, s, log_exposures):
        return {
            key: NegativeBinomial(layer(z), log_exposures[key], log_theta=torch.zeros(SIZES[key]))
            for key, layer in self.decoders.items()
        }


class NotDecoded(Right):
    def decode(self, z, s, log_exposures):
        return {"rna": super().decode(z, s, log_exposures)["rna"]}


class AlsoDecoded(Right):
    def decode(self, z, s, log_exposures):
        likelihoods = super().decode(z, s, log_exposures)
        return likelihoods | {"atac": likelihoods["rna"]}


class OneFeature(Right):
    """Torch would broadcast it."""

    def decode(self, z, s, log_exposures):
        px = NegativeBinomial(z[..., :1], log_exposures["protein"], log_theta=torch.zeros(1))
        return super().decode(z, s, log_exposures) | {"protein": px}


class NoCells(Right):
    """Torch would broadcast this, too."""

    def decode(self, z, s, log_exposures):
        px = NegativeBinomial(torch.zeros(3), torch.zeros(1), log_theta=torch.zeros(3))
        return super().decode(z, s, log_exposures) | {"protein": px}


class Means(Right):
    def decode(self, z, s, log_exposures):
        return {key: px.mu for key, px in super().decode(z, s, log_exposures).items()}


class NoExposure(Right):
    def encode(self, observed, s):
        return StateDistribution(super().encode(observed, s).latent)


class LongState(Right):
    def encode(self, observed, s):
        state = super().encode(observed, s)
        return StateDistribution(Normal(torch.zeros(N_CELLS, 5), 1.0), state.log_exposures)


class NoState(Right):
    def encode(self, observed, s):
        return super().encode(observed, s).latent


class NoPriorOfExposure(Right):
    def prior_of(self, z, s):
        return StateDistribution(super().prior_of(z, s).latent)


MISTAKES = {
    NotDecoded: r"`NotDecoded\.decode` returned likelihoods of 'rna', and .* 'rna', 'protein'",
    AlsoDecoded: "likelihoods of 'atac', 'protein', 'rna', and",
    OneFeature: r"NegativeBinomial of shape \(.*6, 1\) for 'protein', which has 3 features, of 6",
    NoCells: r"of shape \(3,\) for 'protein'",
    Means: "a Tensor for 'rna'",
    NoExposure: r"encode` returned states of 2 latent dimensions and 0 log exposures; .* 1 of its",
    LongState: "5 latent dimensions and 1 log exposures; the module has n_latent=2",
    NoState: r"`NoState\.encode` returned a Normal, which is no distribution of states",
    NoPriorOfExposure: "prior_of` returned states of 2 latent dimensions and 0 log exposures",
}
QUESTIONS = {
    "training": lambda module, cells: module(cells),
    "marginal likelihood": lambda module, cells: module.marginal_ll(cells, 2),
    "refinement": lambda module, cells: refine(PosteriorTarget.from_module(module, cells)),
}


def minibatch():
    torch.manual_seed(0)
    return {
        REGISTRY_KEYS.X_KEY: torch.poisson(torch.full((N_CELLS, SIZES["rna"]), 3.0)),
        "protein": torch.poisson(torch.full((N_CELLS, SIZES["protein"]), 3.0)),
        REGISTRY_KEYS.BATCH_KEY: torch.zeros(N_CELLS, 1, dtype=torch.long),
    }


@pytest.mark.parametrize("ask", QUESTIONS.values(), ids=QUESTIONS)
@pytest.mark.parametrize(("module", "says"), MISTAKES.items(), ids=lambda m: str(m)[:12])
def test_mistakes_of_an_author_are_named(module, says, ask):
    with pytest.raises(ModelTypeError, match=says):
        ask(module(), minibatch())


@pytest.mark.parametrize("ask", QUESTIONS.values(), ids=QUESTIONS)
def test_what_is_right_passes(ask):
    ask(Right(), minibatch())


WRONG_SHAPES = {
    "protein": torch.zeros(N_CELLS, 2),
    "protein_present": torch.ones(N_CELLS - 1, 1, dtype=torch.bool),
    "protein_features": torch.ones(N_CELLS, 2, dtype=torch.bool),
}


@pytest.mark.parametrize("field", WRONG_SHAPES)
def test_other_shapes_of_a_minibatch_are_named(field):
    cells = minibatch() | {field: WRONG_SHAPES[field]}
    with pytest.raises(DataError, match=f"'{field}' of a minibatch has the shape"):
        Right()(cells)

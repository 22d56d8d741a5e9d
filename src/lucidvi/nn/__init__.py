"""Encoder, decoder and priors."""

from lucidvi.nn._conditional import ConditionalNormal
from lucidvi.nn._decoder import Decoder
from lucidvi.nn._divergence import divergence, log_density, log_marginals
from lucidvi.nn._draws import orthogonal_draws
from lucidvi.nn._encoder import Encoder
from lucidvi.nn._evaluation import frozen_batch_norm
from lucidvi.nn._experts import Expert, ProductOfExperts
from lucidvi.nn._flow_encoder import FlowEncoder, FlowPosterior
from lucidvi.nn._frozen import frozen
from lucidvi.nn._full_encoder import FullEncoder, FullNormal
from lucidvi.nn._last_layer import LastLayer
from lucidvi.nn._mixture import Mixture, NormalMixture
from lucidvi.nn._networks import Networks
from lucidvi.nn._prior import Covariates, Encode, Prior, Sizes
from lucidvi.nn._priors import PRIORS, make_prior
from lucidvi.nn._rotation import RotatedNormal, rotated
from lucidvi.nn._share import sharing
from lucidvi.nn._standard_normal import StandardNormal
from lucidvi.nn._state import StateDistribution, select_cells
from lucidvi.nn._stop_gradient import stop_gradient
from lucidvi.nn._vamp import VampPrior

#: The values of ``posterior``.
ENCODERS: dict[str, type[Encoder]] = {
    "diagonal": Encoder,
    "full": FullEncoder,
    "flow": FlowEncoder,
}

__all__ = [
    "ENCODERS",
    "PRIORS",
    "ConditionalNormal",
    "Covariates",
    "Decoder",
    "Encode",
    "Encoder",
    "Expert",
    "FlowEncoder",
    "FlowPosterior",
    "FullEncoder",
    "FullNormal",
    "LastLayer",
    "Mixture",
    "Networks",
    "NormalMixture",
    "Prior",
    "ProductOfExperts",
    "RotatedNormal",
    "Sizes",
    "StandardNormal",
    "StateDistribution",
    "VampPrior",
    "divergence",
    "frozen",
    "frozen_batch_norm",
    "log_density",
    "log_marginals",
    "make_prior",
    "orthogonal_draws",
    "rotated",
    "select_cells",
    "sharing",
    "stop_gradient",
]

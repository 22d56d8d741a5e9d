"""Encoder, decoder and priors."""

from lucidvi.nn._decoder import Decoder
from lucidvi.nn._divergence import divergence, log_density
from lucidvi.nn._draws import orthogonal_draws
from lucidvi.nn._encoder import Encoder
from lucidvi.nn._flow_encoder import FlowEncoder, FlowPosterior
from lucidvi.nn._frozen import frozen
from lucidvi.nn._full_encoder import FullEncoder, FullNormal
from lucidvi.nn._prior import Covariates, Prior
from lucidvi.nn._standard_normal import StandardNormal
from lucidvi.nn._stop_gradient import stop_gradient

#: The values of ``posterior``.
POSTERIORS: dict[str, type[Encoder]] = {
    "diagonal": Encoder,
    "full": FullEncoder,
    "flow": FlowEncoder,
}
#: The values of ``prior``.
PRIORS: dict[str, type[Prior]] = {"standard_normal": StandardNormal}

__all__ = [
    "POSTERIORS",
    "PRIORS",
    "Covariates",
    "Decoder",
    "Encoder",
    "FlowEncoder",
    "FlowPosterior",
    "FullEncoder",
    "FullNormal",
    "Prior",
    "StandardNormal",
    "divergence",
    "frozen",
    "log_density",
    "orthogonal_draws",
    "stop_gradient",
]

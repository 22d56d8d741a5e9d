"""Encoder, decoder and priors."""

from lucidvi.nn._decoder import Decoder
from lucidvi.nn._encoder import Encoder
from lucidvi.nn._prior import Covariates, Prior, log_density
from lucidvi.nn._standard_normal import StandardNormal

#: The values of ``prior``.
PRIORS: dict[str, type[Prior]] = {"standard_normal": StandardNormal}

__all__ = [
    "PRIORS",
    "Covariates",
    "Decoder",
    "Encoder",
    "Prior",
    "StandardNormal",
    "log_density",
]

"""The models as modules of torch, and the contract that all of them keep."""

from lucidvi.module._base import ForwardPass, GenerativeModule, draw, encoded, exposures
from lucidvi.module._generative import Exposure, Generative, Modality, Observed
from lucidvi.module._observed import log_likelihood
from lucidvi.module._vae import UNTRANSFORMED_Z, VAE

__all__ = [
    "UNTRANSFORMED_Z",
    "VAE",
    "Exposure",
    "ForwardPass",
    "Generative",
    "GenerativeModule",
    "Modality",
    "Observed",
    "draw",
    "encoded",
    "exposures",
    "log_likelihood",
]

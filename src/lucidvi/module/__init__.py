"""The models as modules of torch, and the contract that all of them keep."""

from lucidvi.module._base import GenerativeModule
from lucidvi.module._contract import checked_likelihoods, checked_state
from lucidvi.module._drawn import DrawnStates
from lucidvi.module._forward import KL_Z, ForwardPass, loss_output
from lucidvi.module._generative import Exposure, Generative, Modality, Observed
from lucidvi.module._observed import (
    COVARIATE_KEYS,
    covariates,
    log_likelihood,
    measured_means,
    observe,
)
from lucidvi.module._offers import Alignable, Factorable, Normalizable, Startable, offers
from lucidvi.module._shifted import ShiftedModule
from lucidvi.module._states import draw, encoded, exposures, latent_exposures
from lucidvi.module._vae import VAE

__all__ = [
    "COVARIATE_KEYS",
    "KL_Z",
    "VAE",
    "Alignable",
    "DrawnStates",
    "Exposure",
    "Factorable",
    "ForwardPass",
    "Generative",
    "GenerativeModule",
    "Modality",
    "Normalizable",
    "Observed",
    "ShiftedModule",
    "Startable",
    "checked_likelihoods",
    "checked_state",
    "covariates",
    "draw",
    "encoded",
    "exposures",
    "latent_exposures",
    "log_likelihood",
    "loss_output",
    "measured_means",
    "observe",
    "offers",
]

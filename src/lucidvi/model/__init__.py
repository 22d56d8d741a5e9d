"""What a user holds: models of AnnData."""

from lucidvi.model._base import LucidModel
from lucidvi.model._capabilities import CAPABILITIES, Capability, capable, has_capability
from lucidvi.model._cells import MINIBATCH, Cells
from lucidvi.model._flowvi import FLOWVI
from lucidvi.model._models import MODELS, class_of_saved
from lucidvi.model._mosaicvi import MOSAICVI
from lucidvi.model._scvi import SCVI
from lucidvi.model.posteriors._refined import RefinedPosteriors

__all__ = [
    "CAPABILITIES",
    "FLOWVI",
    "MINIBATCH",
    "MODELS",
    "MOSAICVI",
    "SCVI",
    "Capability",
    "Cells",
    "LucidModel",
    "RefinedPosteriors",
    "capable",
    "class_of_saved",
    "has_capability",
]

"""What a user holds: models of AnnData."""

from lucidvi.model._refined import RefinedPosterior
from lucidvi.model._scvi import SCVI

__all__ = ["SCVI", "RefinedPosterior"]

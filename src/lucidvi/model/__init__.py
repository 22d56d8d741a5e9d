"""What a user holds: models of AnnData."""

from lucidvi.model._capabilities import CAPABILITIES, MODELS, capable
from lucidvi.model._cells import MINIBATCH, Cells
from lucidvi.model._scvi import SCVI
from lucidvi.model.posteriors._refined import RefinedPosterior

__all__ = ["CAPABILITIES", "MINIBATCH", "MODELS", "SCVI", "Cells", "RefinedPosterior", "capable"]

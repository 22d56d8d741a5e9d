"""What a training maximizes: one objective a file."""

from lucidvi.train.objectives._free_bits import FreeBits
from lucidvi.train.objectives._importance_weighted import ImportanceWeighted
from lucidvi.train.objectives._objective import ELBO, Objective, Step
from lucidvi.train.objectives._semi_amortized import SemiAmortized
from lucidvi.train.objectives._table import OBJECTIVES, as_objective

__all__ = [
    "ELBO",
    "OBJECTIVES",
    "FreeBits",
    "ImportanceWeighted",
    "Objective",
    "SemiAmortized",
    "Step",
    "as_objective",
]

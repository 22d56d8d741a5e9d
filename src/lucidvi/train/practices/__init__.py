"""What may be done in a training besides the steps of the optimizer: one practice a file."""

from lucidvi.train.practices._align_axes import AlignAxes
from lucidvi.train.practices._collapse_warning import CollapseWarning
from lucidvi.train.practices._encoder_first import EncoderFirst
from lucidvi.train.practices._mean_norm import MeanNorm
from lucidvi.train.practices._practice import Practice, Training
from lucidvi.train.practices._start_from_data import StartFromData
from lucidvi.train.practices._start_from_factors import StartFromFactors
from lucidvi.train.practices._table import (
    PRACTICES,
    make_practices,
    practice_options,
    with_documented_options,
)

__all__ = [
    "PRACTICES",
    "AlignAxes",
    "CollapseWarning",
    "EncoderFirst",
    "MeanNorm",
    "Practice",
    "StartFromData",
    "StartFromFactors",
    "Training",
    "make_practices",
    "practice_options",
    "with_documented_options",
]

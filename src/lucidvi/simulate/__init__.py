"""Experiments in silico: each function returns an AnnData with a record of what was asked for."""

from lucidvi.simulate._compare_conditions import compare_conditions
from lucidvi.simulate._conditions import predict_condition
from lucidvi.simulate._perturb import perturb
from lucidvi.simulate._resequence import resequence
from lucidvi.simulate._sample import sample_cells
from lucidvi.simulate._switch import switch

__all__ = [
    "compare_conditions",
    "perturb",
    "predict_condition",
    "resequence",
    "sample_cells",
    "switch",
]

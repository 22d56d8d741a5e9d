"""Experiments in silico, most of which return an AnnData with a record of what was asked for."""

from lucidvi.simulate._abundance import differential_abundance
from lucidvi.simulate._compare_conditions import compare_conditions
from lucidvi.simulate._conditions import predict_condition
from lucidvi.simulate._design import design
from lucidvi.simulate._design_abundance import design_abundance
from lucidvi.simulate._design_result import DesignResult
from lucidvi.simulate._expression import differential_expression
from lucidvi.simulate._perturb import perturb
from lucidvi.simulate._resequence import resequence
from lucidvi.simulate._sample import sample_cells
from lucidvi.simulate._switch import switch

__all__ = [
    "DesignResult",
    "compare_conditions",
    "design",
    "design_abundance",
    "differential_abundance",
    "differential_expression",
    "perturb",
    "predict_condition",
    "resequence",
    "sample_cells",
    "switch",
]

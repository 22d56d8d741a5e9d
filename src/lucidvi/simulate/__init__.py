"""Experiments in silico, most of which return an AnnData with a record of what was asked for."""

from lucidvi.results import DesignResult
from lucidvi.simulate._perturb import perturb
from lucidvi.simulate._resequence import resequence
from lucidvi.simulate._sample import sample_cells
from lucidvi.simulate._switch_covariates import switch_covariates
from lucidvi.simulate.comparisons._abundance import differential_abundance
from lucidvi.simulate.comparisons._expression import differential_expression
from lucidvi.simulate.conditions._compare import compare_conditions
from lucidvi.simulate.conditions._predict import predict_condition
from lucidvi.simulate.designs._abundance import design_abundance
from lucidvi.simulate.designs._design import Design
from lucidvi.simulate.designs._expression import design_expression
from lucidvi.simulate.trajectories._follow_cells import follow_cells
from lucidvi.simulate.trajectories._interpolate_time import interpolate_time

__all__ = [
    "Design",
    "DesignResult",
    "compare_conditions",
    "design_abundance",
    "design_expression",
    "differential_abundance",
    "differential_expression",
    "follow_cells",
    "interpolate_time",
    "perturb",
    "predict_condition",
    "resequence",
    "sample_cells",
    "switch_covariates",
]

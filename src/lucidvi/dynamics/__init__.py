"""Dynamics: where cells come from and where they go, from their times or their velocities."""

from lucidvi.dynamics._fit_flow import fit_flow
from lucidvi.dynamics._flow_of import flow_of
from lucidvi.dynamics.field._vector_field import States, VectorField
from lucidvi.dynamics.transitions._driver_genes import driver_genes
from lucidvi.dynamics.transitions._fate_probabilities import fate_probabilities
from lucidvi.dynamics.transitions._latent_time import latent_time
from lucidvi.dynamics.transitions._transition_matrix import transition_matrix

__all__ = [
    "States",
    "VectorField",
    "driver_genes",
    "fate_probabilities",
    "fit_flow",
    "flow_of",
    "latent_time",
    "transition_matrix",
]

"""Dynamics: where cells come from and where they go, as a vector field on the latent space."""

from lucidvi.dynamics._fit_flow import fit_flow
from lucidvi.dynamics.field._vector_field import States, VectorField

__all__ = ["States", "VectorField", "fit_flow"]

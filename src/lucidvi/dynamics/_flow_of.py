"""The vector field of a model of spliced and unspliced molecules."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from lucidvi.dynamics.field._vector_field import VectorField
from lucidvi.errors import DataError
from lucidvi.model import capable

#: Time of which an integration takes forty steps, in lifetimes of a typical gene's molecules.
SPAN = 10.0


def flow_of(model: Any) -> VectorField:
    """Return the field by which the cells of a model move, which depends on no time.

    Parameters
    ----------
    model
        Trained model of spliced and unspliced molecules, :class:`lucidvi.model.FLOWVI`.

    Returns
    -------
    Field in latent units per mean lifetime of the spliced molecules of a typical gene, without
    growth. Its members learned from halves of the genes, so that its ``uncertainty``, how far they
    differ, is larger than the error of their mean.

    Raises
    ------
    lucidvi.errors.ModelTypeError
        If the model knows nothing of unspliced molecules.

    Examples
    --------
    >>> from lucidvi import dynamics
    >>> field = dynamics.flow_of(model)  # doctest: +SKIP
    >>> later = field.integrate(model.get_latent_representation(), 0, [1, 2])  # doctest: +SKIP
    """
    model = capable(model, "velocity")
    kinetics = model.module.kinetics
    if not kinetics.is_fitted:
        raise DataError(
            "The kinetics of the model have not been fitted.", remedy="model.fit_kinetics()"
        )
    spread = float(kinetics.spread)
    return VectorField(
        copy.deepcopy(kinetics.velocities).cpu(),
        None,
        kinetics.center.cpu().double().numpy(),
        kinetics.axes.cpu().double().numpy(),
        spread,
        np.array([0.0, SPAN]),
        spread,
        1.0,
    )

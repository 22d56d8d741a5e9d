"""Which cell a cell is likely to be like next."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import csr_array

from lucidvi.checks import check_whole, is_number
from lucidvi.dynamics.transitions._flow import Flow
from lucidvi.dynamics.transitions._neighbours import N_NEIGHBORS, Neighbours
from lucidvi.errors import DataError

#: Log of how much likelier a step to a cell ahead is, by one standard deviation of neighbours.
DRIFT = 2.0


def transition_matrix(
    z: Any,
    velocity: ArrayLike | None = None,
    *,
    uncertainty: ArrayLike | None = None,
    n_neighbors: int = N_NEIGHBORS,
    drift: float = DRIFT,
) -> csr_array:
    r"""Return the probabilities of steps from each cell to its neighbours.

    .. math::
        P_{ij} \propto \exp\left(-\frac{|z_j - z_i|^2}{2 \sigma_i \sigma_j}
        + \kappa \, c_i \, \frac{a_{ij}}{s_i}\right), \qquad
        a_{ij} = \frac{\langle z_j - z_i, v_i \rangle}{|v_i|}

    A cell may become like any neighbour, rather a near one, at distances :math:`\sigma` of the
    neighbours here; and rather one that lies ahead, by :math:`a_{ij}` in units of the
    root mean square :math:`s_i` over the neighbours. These units make :math:`\kappa` mean the same
    in two latent dimensions, where neighbours lie along the flow, and in thirty, where most of
    what parts them is beside it. All of it are distances and inner products, so that a
    rotation of the latent space changes nothing.

    How much of a velocity counts is its confidence, :math:`c_i^2 = |v_i|^2 / (|v_i|^2 + \sum_d
    u_{id}^2)`. Cells without a velocity, or with one of zero, take a step to either side alike.

    By default :math:`\kappa` is what predicts the fates best in simulated branches, where
    these are known, in five dimensions as in fifteen: with half of it, cells wander to other
    branches, and with twice, noise decides for them (``tests/dynamics/transitions/
    test_choices.py``).

    Parameters
    ----------
    z
        States, shape ``(n_cells, n_latent)``. Or a trained :class:`~lucidvi.model.FLOWVI`, of
        whose cells states, velocities and their errors are taken; where its molecules do not say
        a direction, as :meth:`~lucidvi.model.FLOWVI.get_direction` finds, none is known.
    velocity
        How fast they move, of the same shape; NaN where it is not known.
    uncertainty
        Standard deviations of the velocity, of the same shape.
    n_neighbors
        Nearest cells of each that it may step to; of few cells no more than a fifth of them, or
        five.
    drift
        :math:`\kappa`; zero for steps that are as likely back as forth.

    Returns
    -------
    Matrix of cells by cells with rows that sum to one, and nothing on the diagonal.

    Raises
    ------
    lucidvi.errors.DataError
        If the arrays are not of the same cells, states are not finite, or no cell moves.

    Examples
    --------
    >>> import numpy as np
    >>> from lucidvi import dynamics
    >>> z = np.arange(10.0)[:, None]
    >>> steps = dynamics.transition_matrix(z, np.ones((10, 1)), n_neighbors=2)
    >>> bool(steps[5, 6] > 0.9)
    True
    """
    check_steps(n_neighbors, drift)
    flow = Flow.of(z, velocity, uncertainty)
    return steps(flow, Neighbours.of(flow.z, n_neighbors), drift)


def steps(flow: Flow, neighbours: Neighbours, drift: float = DRIFT) -> csr_array:
    """Return the probabilities of steps, see :func:`transition_matrix`.

    Parameters
    ----------
    flow
        States and velocities.
    neighbours
        Neighbours of the cells.
    drift
        See :func:`transition_matrix`.
    """
    ahead = neighbours.ahead(flow.velocity)
    n_near = neighbours.sums(np.ones(len(ahead)))
    unit = np.sqrt(neighbours.sums(ahead**2) / n_near)
    strength = drift * flow.confidence / np.where(unit > 0, unit, 1.0)
    weight = np.log(np.maximum(neighbours.kernel, 1e-300)) + strength[neighbours.first] * ahead
    largest = np.full(len(flow), -np.inf)
    np.maximum.at(largest, neighbours.first, weight)
    weight = np.exp(weight - largest[neighbours.first])
    return neighbours.matrix(weight / neighbours.sums(weight)[neighbours.first])


def check_steps(n_neighbors: int, drift: float) -> None:
    """Raise :class:`~lucidvi.errors.DataError` unless these are numbers that steps can have."""
    check_whole("n_neighbors", n_neighbors, least=1)
    if not (is_number(drift) and drift >= 0):
        raise DataError(f"`drift` is {drift!r}.", remedy="give a number from zero, such as 2.")

"""Where cells end: how likely each is to reach each terminal group."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from numbers import Number
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array, eye_array
from scipy.sparse.linalg import LinearOperator, gmres, spilu, splu

from lucidvi._positions import cell_positions
from lucidvi.checks import listed
from lucidvi.dynamics.transitions._flow import Flow
from lucidvi.dynamics.transitions._neighbours import N_NEIGHBORS, Neighbours
from lucidvi.dynamics.transitions._transition_matrix import DRIFT, check_steps, steps
from lucidvi.errors import DataError

Array = NDArray[np.float64]
#: Chance of every step to be the last: who has not arrived in some ten million steps never does.
STOP = 1e-7
#: Probability to arrive anywhere below which a cell has no fate.
LEAST_ARRIVAL = 0.5
#: Residual of a solution, relative; and steps of the solver, without and with an incomplete
#: factorisation, each times fifty.
RESIDUAL, N_PLAIN, N_FACTORED, RESTART = 1e-10, 6, 40, 50
#: How groups are given.
GROUPS = 'terminal={"erythroid": mask, "myeloid": another_mask}'
#: Texts that are no label; NumPy makes the second one where texts and NaN are joined.
NO_LABEL = ("", "nan")


def fate_probabilities(
    z: Any,
    velocity: ArrayLike | None = None,
    terminal: ArrayLike | Mapping[Any, Any] | None = None,
    *,
    uncertainty: ArrayLike | None = None,
    n_neighbors: int = N_NEIGHBORS,
    drift: float = DRIFT,
) -> pd.DataFrame:
    r"""Return how likely each cell is to end in each terminal group.

    The cells take steps to neighbours, by :func:`transition_matrix`, until they are in a terminal
    group. With the probabilities :math:`Q` of steps among the other cells and :math:`R` of steps
    from them into the groups,

    .. math::
        F = (I - Q)^{-1} R.

    Cells may have no path of neighbours to any group, or be held elsewhere, such as in a terminal
    state that was not named. Where it is likelier than not that a cell reaches none in some ten
    million steps, its probabilities are NaN, of which is warned; those of all others are given
    that they reach one.

    Parameters
    ----------
    z, velocity, uncertainty, n_neighbors, drift
        See :func:`transition_matrix`.
    terminal
        Label of the group of each terminal cell, with None, NaN or ``""`` for cells that are not
        terminal, shape ``(n_cells,)``; or a mapping from names of groups to a mask, positions or
        names of their cells.

    Returns
    -------
    A row a cell, a column a group; rows sum to one. Those of terminal cells are one in the column
    of their own group.

    Raises
    ------
    lucidvi.errors.DataError
        If there are fewer than two groups, or one has no cells, or a cell is in two of them; or
        for the reasons of :func:`transition_matrix`.

    Warns
    -----
    UserWarning
        If cells reach no group.

    References
    ----------
    Kemeny and Snell, Finite Markov Chains (1976), 3.3, for the formula.

    Examples
    --------
    >>> import numpy as np
    >>> from lucidvi import dynamics
    >>> z = np.linspace(-1, 1, 21)[:, None]
    >>> ends = {"left": [0], "right": [20]}
    >>> fates = dynamics.fate_probabilities(z, np.sign(z), ends, n_neighbors=4)
    >>> fates.loc[[5, 10, 15], "right"].round(2).tolist()
    [0.0, 0.5, 1.0]
    """
    check_steps(n_neighbors, drift)
    if terminal is None:
        raise DataError("`terminal` is not given.", remedy=GROUPS)
    flow = Flow.of(z, velocity, uncertainty)
    names = flow.names_with("terminal", terminal)
    fates, code = _groups(terminal, names)
    matrix = steps(flow, Neighbours.of(flow.z, n_neighbors), drift)
    there = code >= 0
    probabilities = np.zeros((len(flow), len(fates)))
    probabilities[there, code[there]] = 1.0
    on_the_way = matrix[~there]
    if not there.all():
        among = (1 - STOP) * on_the_way[:, ~there]
        probabilities[~there] = _solved(among, on_the_way[:, there] @ probabilities[there])
    arrival = probabilities.sum(axis=1, keepdims=True)
    lost = arrival[:, 0] < LEAST_ARRIVAL
    if lost.any():
        warnings.warn(
            f"{lost.sum():,} of {len(flow):,} cells, {str(names[lost.argmax()])!r} first, reach "
            f"none of the terminal groups, {listed(fates)}: they have no path of neighbours to "
            "them, or the flow leads elsewhere, as where a terminal state is not named. Their "
            "fates are NaN.",
            stacklevel=2,
        )
    probabilities = np.where(lost[:, None], np.nan, probabilities) / np.where(lost, 1, arrival.T).T
    return pd.DataFrame(probabilities, names, pd.Index(fates, name="fate"))


def _solved(among: csr_array, into: Array) -> Array:
    """Solve for the probabilities to arrive, from steps among cells and into groups."""
    system = (eye_array(among.shape[0]) - among).tocsc()
    rows = system.tocsr()
    factored: LinearOperator | None = None
    columns = []
    for column in into.T:
        x, failed = gmres(rows, column, rtol=RESIDUAL, restart=RESTART, maxiter=N_PLAIN)
        if failed:
            factored = factored or _factored(system)
            x, failed = gmres(
                rows, column, rtol=RESIDUAL, restart=RESTART, maxiter=N_FACTORED, M=factored
            )
        if failed:
            x = splu(system).solve(column)
        columns.append(x)
    return np.clip(np.column_stack(columns), 0, 1)


def _factored(system: Any) -> LinearOperator:
    factors = spilu(
        system,
        drop_tol=1e-3,
        fill_factor=5,
        permc_spec="MMD_AT_PLUS_A",
        diag_pivot_thresh=0.0,
    )
    return LinearOperator(system.shape, factors.solve)


# -- terminal groups --------------------------------------------------------------------------


def _groups(terminal: Any, names: pd.Index) -> tuple[list[Any], NDArray[np.integer]]:
    """Return the names of the groups, and the number of each cell's, -1 for none."""
    of = _groups_of_mapping if isinstance(terminal, Mapping) else _groups_of_labels
    fates, code = of(terminal, names)
    if len(fates) < 2:
        found = f"one group, {listed(fates)}," if fates else "no group"
        raise DataError(
            f"`terminal` names {found} and fates are told between two or more.",
            remedy=GROUPS,
        )
    return fates, code


def _groups_of_mapping(
    terminal: Mapping[Any, Any], names: pd.Index
) -> tuple[list[Any], NDArray[np.integer]]:
    code = np.full(len(names), -1)
    for number, (fate, cells) in enumerate(terminal.items()):
        if cells is None:
            raise DataError(
                f"`terminal` has no cells of {fate!r}.", remedy="give them, or leave it out."
            )
        rows = np.unique(cell_positions(cells, names.astype(str), f"terminal[{fate!r}]"))
        twice = rows[code[rows] >= 0]
        if len(twice):
            other = list(terminal)[code[twice[0]]]
            raise DataError(
                f"`terminal` has {len(twice):,} cells in two groups, {other!r} and {fate!r}: "
                f"{str(names[twice[0]])!r} first.",
                remedy="give each cell to one of them.",
            )
        code[rows] = number
    return list(terminal), code


def _groups_of_labels(terminal: Any, names: pd.Index) -> tuple[list[Any], NDArray[np.integer]]:
    labels = pd.Series(terminal if isinstance(terminal, pd.Categorical) else _listed(terminal))
    if len(labels) != len(names):
        raise DataError(
            f"`terminal` has {len(labels):,} labels, and there are {len(names):,} cells.",
            remedy="give one a cell, None for cells that are not terminal.",
        )
    known = labels.notna() & ~labels.astype(object).isin(NO_LABEL)
    if labels[known].map(lambda label: isinstance(label, bool | np.bool_)).all() and known.any():
        raise DataError(
            "`terminal` is a mask, which does not say which groups the cells are of.",
            remedy=GROUPS,
        )
    found = labels[known].unique()
    if isinstance(labels.dtype, pd.CategoricalDtype):
        fates = [label for label in labels.cat.categories if label in found]
    else:
        is_number = all(isinstance(label, Number) for label in found)
        fates = sorted(found, key=None if is_number else str)
    numbers = {label: number for number, label in enumerate(fates)}
    return fates, np.array(
        [numbers[label] if there else -1 for label, there in zip(labels, known, strict=True)]
    )


def _listed(labels: Any) -> Any:
    """Return labels of any kind as one of objects."""
    if isinstance(labels, pd.Series):
        return labels.array
    objects = np.asarray(labels).astype(object)
    if objects.ndim != 1:
        raise DataError(
            f"`terminal` has the shape {objects.shape}.",
            remedy="give a label a cell, or a mapping from groups to their cells.",
        )
    return objects

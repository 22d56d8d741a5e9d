"""States of cells that were sampled at several times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lucidvi._brief import brief
from lucidvi.checks import cell_times, check_choice, first_of, is_number
from lucidvi.errors import DataError

#: Fewest cells of a time: of fewer, no distribution can be told.
FEWEST = 10
#: Masses that can be asked for by name.
MASSES = ("equal", "cells")


class Draw(NamedTuple):
    """Cells of each time, as a member has them.

    Parameters
    ----------
    means
        Means of their posteriors, by time, each of shape ``(n_cells, n_latent)``.
    states
        Draws of these, of the same shapes; the same where states are known.
    """

    means: tuple[NDArray[np.float64], ...]
    states: tuple[NDArray[np.float64], ...]


@dataclass(frozen=True, eq=False)
class Samples:
    """States of cells at each of several times, in their order.

    Parameters
    ----------
    times
        The times, rising, shape ``(n_times,)``.
    states
        States of the cells of each time, each of shape ``(n_cells, n_latent)``.
    scales
        Standard deviations of the cells' posteriors, of the same shapes; None where the states
        are known.
    masses
        How much there is of the population at each time, in units of the first,
        shape ``(n_times,)``.
    """

    times: NDArray[np.float64]
    states: tuple[NDArray[np.float64], ...]
    scales: tuple[NDArray[np.float64], ...] | None
    masses: NDArray[np.float64]

    __repr__ = brief

    @classmethod
    def of(
        cls,
        z: Any,
        time: Any,
        mass: str | Mapping[Any, float],
        scale: Any | None = None,
        names: Sequence[str] | pd.Index | None = None,
    ) -> Samples:
        """Check states and times, and sort them.

        Parameters
        ----------
        z
            States, shape ``(n_cells, n_latent)``.
        time
            Time of each cell, shape ``(n_cells,)``.
        mass
            See :func:`lucidvi.dynamics.fit_flow`.
        scale
            Standard deviations of the states' posteriors, of the shape of ``z``.
        names
            Names of the cells, for errors.

        Raises
        ------
        lucidvi.errors.DataError
            If the states or times are not finite numbers, or there are fewer than two times, or
            too few cells of one.
        """
        states = _states(z, names)
        times = cell_times(time, len(states), names)
        known, codes, counts = np.unique(times, return_inverse=True, return_counts=True)
        if len(known) < 2:
            raise DataError(
                f"`time` is {known[0]:.12g} in all cells, and a field is found between times.",
                remedy="give cells of two times or more.",
            )
        if counts.min() < FEWEST:
            few = known[counts < FEWEST]
            raise DataError(
                f"{len(few):,} of {len(known):,} times, {_few(few)}, have fewer "
                f"than {FEWEST} cells.",
                remedy="join them with the times next to them, or leave their cells out.",
            )
        parts = tuple(states[codes == code] for code in range(len(known)))
        scales = None
        if scale is not None:
            of_cells = np.asarray(scale, np.float64)
            scales = tuple(of_cells[codes == code] for code in range(len(known)))
        return cls(known, parts, scales, _masses(mass, known, counts))

    def __len__(self) -> int:
        return len(self.times)

    @property
    def n_latent(self) -> int:
        """Dimensions of the states."""
        return self.states[0].shape[1]

    def drawn(self, n_members: int, most: int, rng: np.random.Generator) -> list[Draw]:
        """Draw the cells of each time anew for each member, and their states from the posteriors.

        A balanced bootstrap: a member has some cells several times and others never, and all
        members together each cell as often as any other, so that their mean has the shares of
        groups that the sample has.

        Parameters
        ----------
        n_members
            How many members.
        most
            Most cells of a time that a member has.
        rng
            Generator of the draws.

        Returns
        -------
        Cells of each time, by member.
        """
        means, of_times = [], []
        for k, states in enumerate(self.states):
            n_cells, size = len(states), min(len(states), most)
            copies = -(-n_members * size // n_cells)
            rows = rng.permutation(np.tile(np.arange(n_cells), copies))[: n_members * size]
            mean = z = states[rows]
            if self.scales is not None:
                z = z + self.scales[k][rows] * rng.standard_normal(z.shape)
            means.append(mean.reshape(n_members, size, -1))
            of_times.append(z.reshape(n_members, size, -1))
        members = zip(zip(*means, strict=True), zip(*of_times, strict=True), strict=True)
        return [Draw(*member) for member in members]


def _states(z: Any, names: Any) -> NDArray[np.float64]:
    try:
        states = np.asarray(z, np.float64)
    except (TypeError, ValueError):  # texts, sparse matrices, arrays of other arrays
        raise DataError(
            f"`z` is a {type(z).__name__}, which is no array of numbers.",
            remedy="give an array of cells by dimensions, such as adata.obsm['X_pca'].",
        ) from None
    if states.ndim != 2 or not states.size:
        raise DataError(
            f"`z` has the shape {states.shape}.", remedy="give an array of cells by dimensions."
        )
    bad = ~np.asarray(np.isfinite(states).all(axis=1))
    if bad.any():
        raise DataError(
            f"`z` is not finite in {bad.sum():,} of {len(states):,} cells, "
            f"{first_of(bad, names)}.",
            remedy="leave these cells out.",
        )
    return states


def _masses(
    mass: str | Mapping[Any, float], times: NDArray[np.float64], counts: NDArray[np.integer]
) -> NDArray[np.float64]:
    """Return the mass of each time, that of the first being one."""
    if isinstance(mass, pd.Series):
        mass = mass.to_dict()
    if isinstance(mass, Mapping):
        unknown = [key for key in mass if not is_number(key)]
        if unknown:
            raise DataError(
                f"`mass` has the key {unknown[0]!r}, which is no time.",
                remedy="give a positive number for each time, or mass='equal'.",
            )
        given = {float(key): value for key, value in mass.items()}
        missing = [time for time in times if time not in given]
        wrong = [time for time in times if time in given and not _is_positive(given[time])]
        if missing or wrong:
            what = "has no mass of" if missing else "has no positive number for"
            raise DataError(
                f"`mass` {what} {_few(missing or wrong)}.",
                remedy="give a positive number for each time, or mass='equal'.",
            )
        masses = np.array([given[time] for time in times])
    else:
        check_choice("mass", mass, MASSES, "a mapping of times to numbers")
        masses = counts.astype(np.float64) if mass == "cells" else np.ones(len(times))
    return masses / masses[0]


def _few(times: Sequence[float] | NDArray[np.float64]) -> str:
    """Return a few times, for a message."""
    return ", ".join(f"{time:.12g}" for time in times[:5]) + (", ..." if len(times) > 5 else "")


def _is_positive(value: Any) -> bool:
    return is_number(value) and value > 0

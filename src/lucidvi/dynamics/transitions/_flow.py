"""States and velocities of cells, checked, and how far each velocity can be believed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from lucidvi._brief import brief
from lucidvi.errors import DataError
from lucidvi.model import capable

Array = NDArray[np.float64]
#: Fewest cells of which neighbours can be told.
FEWEST = 3


@dataclass(frozen=True, eq=False)
class Flow:
    r"""States of cells and how fast they move.

    Parameters
    ----------
    z
        States, shape ``(n_cells, n_latent)``.
    velocity
        :math:`v = dz/dt`, of the same shape; zero where it is not known.
    confidence
        :math:`|v| / \sqrt{|v|^2 + \sum_d u_d^2}` with the standard deviations :math:`u` of the
        velocity, shape ``(n_cells,)``: about the cosine with the true direction. Zero where no
        velocity is known, or where it is zero.
    names
        Names of the cells.
    """

    z: Array
    velocity: Array
    confidence: Array
    names: pd.Index

    __repr__ = brief

    @classmethod
    def of(
        cls, z: Any, velocity: ArrayLike | None = None, uncertainty: ArrayLike | None = None
    ) -> Flow:
        """Check states and velocities, or take those of a model.

        Parameters
        ----------
        z, velocity, uncertainty
            See :func:`lucidvi.dynamics.transition_matrix`.

        Raises
        ------
        lucidvi.errors.DataError
            If they are not of the same cells, or not finite, or no cell moves.
        """
        if hasattr(z, "get_latent_representation"):
            if velocity is not None or uncertainty is not None:
                raise DataError(
                    "`z` is a model, which says itself how fast its cells move.",
                    remedy="leave `velocity` and `uncertainty` out, or give states: "
                    "z = model.get_latent_representation()",
                )
            z, velocity, uncertainty = _of_model(z)
        if velocity is None:
            raise DataError(
                "`velocity` is not given.",
                remedy="give velocities of the states, such as field.velocity(z, time), or a "
                "FLOWVI in place of `z`.",
            )
        states = _numbers("z", z)
        if len(states) < FEWEST:
            raise DataError(
                f"`z` has {len(states)} cells.", remedy=f"give {FEWEST} cells at least."
            )
        _check_finite("z", ~np.isfinite(states))
        if (states == states[0]).all():
            raise DataError(
                f"`z` is the same in all {len(states):,} cells.", remedy="give states that differ."
            )
        moved = _numbers("velocity", velocity, states.shape)
        _check_finite("velocity", np.isinf(moved))
        moved = np.where(np.isnan(moved).any(axis=1, keepdims=True), 0.0, moved)
        squares = (moved**2).sum(axis=1)
        if not squares.any():
            raise DataError(
                "`velocity` is not known, or zero, in all cells, so that none goes anywhere.",
                remedy="give velocities of some cells.",
            )
        total = squares.copy()
        if uncertainty is not None:
            total += _variances(uncertainty, states.shape, squares > 0)
        confidence = np.sqrt(np.divide(squares, total, out=np.zeros_like(total), where=total > 0))
        names = z.index if isinstance(z, pd.DataFrame) else pd.RangeIndex(len(states))
        return cls(states, moved, confidence, names)

    def __len__(self) -> int:
        return len(self.z)

    def names_with(self, argument: str, values: Any) -> pd.Index:
        """Return the names of the cells, or those of other values if the states have none.

        Parameters
        ----------
        argument
            How the values are called in an error.
        values
            A value a cell; a Series has names.

        Raises
        ------
        lucidvi.errors.DataError
            If both have names, and these differ.
        """
        if not isinstance(values, pd.Series) or len(values) != len(self):
            return self.names
        if isinstance(self.names, pd.RangeIndex):
            return values.index
        if not (isinstance(values.index, pd.RangeIndex) or values.index.equals(self.names)):
            raise DataError(
                f"`{argument}` has other names of cells than `z`, or another order.",
                remedy=f"{argument} = {argument}.loc[z.index]",
            )
        return self.names


def _of_model(model: Any) -> tuple[pd.DataFrame, Array, Array]:
    """Return states, velocities and their errors of a model's cells, NaN where not identified."""
    model = capable(model, "velocity")
    direction = model.get_direction()
    identified = direction.cells["is_identified"].to_numpy()
    if not identified.any():
        raise DataError(
            f"The model's molecules do not determine a direction (score {direction.score:.1f}, "
            f"p = {direction.p_value:.1g}), so that no cell goes anywhere.",
            remedy="see model.get_direction(). What velocities would say all the same: "
            "z, velocity = model.get_latent_representation(), model.get_velocity()",
        )
    z = pd.DataFrame(model.get_latent_representation(), index=model.adata.obs_names)
    velocity, uncertainty = model.get_velocity(return_uncertainty=True)
    unknown = np.where(identified, 0.0, np.nan)[:, None]
    return z, velocity + unknown, uncertainty


def _numbers(name: str, values: ArrayLike, shape: tuple[int, ...] | None = None) -> Array:
    try:
        numbers = np.asarray(values, np.float64)
    except (TypeError, ValueError):  # texts, sparse matrices, AnnData
        raise DataError(
            f"`{name}` is a {type(values).__name__}, which is no array of numbers.",
            remedy="give an array of cells by latent dimensions.",
        ) from None
    if shape is None and (numbers.ndim != 2 or not numbers.size):
        raise DataError(
            f"`{name}` has the shape {numbers.shape}.",
            remedy="give an array of cells by latent dimensions.",
        )
    if shape is not None and numbers.shape != shape:
        raise DataError(
            f"`{name}` has the shape {numbers.shape}, and `z` {shape}.",
            remedy=f"give `{name}` of the same cells and dimensions.",
        )
    return numbers


def _check_finite(name: str, bad: NDArray[np.bool_]) -> None:
    rows = np.asarray(bad.any(axis=1))
    if rows.any():
        remedy = "leave these cells out." if name == "z" else "give NaN where it is not known."
        raise DataError(
            f"`{name}` is not finite in {rows.sum():,} of {len(rows):,} cells, {rows.argmax()} "
            "first.",
            remedy=remedy,
        )


def _variances(uncertainty: ArrayLike, shape: tuple[int, ...], needed: NDArray[np.bool_]) -> Array:
    """Sum the variances of the components of each velocity."""
    deviations = _numbers("uncertainty", uncertainty, shape)
    usable = (deviations >= 0) & np.isfinite(deviations)
    bad = np.asarray(needed & ~usable.all(axis=1))
    if bad.any():
        raise DataError(
            f"`uncertainty` is negative or not finite in {bad.sum():,} of {shape[0]:,} cells, "
            f"{bad.argmax()} first, of which the velocity is known.",
            remedy="give standard deviations, or NaN for the velocity.",
        )
    return np.where(needed, (deviations**2).sum(axis=1), 0.0)

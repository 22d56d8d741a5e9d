"""Normal posteriors of the latent states of cells, as arrays with the cells' names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd
from numpy.typing import DTypeLike, NDArray

from lucidvi._brief import brief
from lucidvi.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

    from lucidvi.inference import NormalPosterior


@dataclass(frozen=True, eq=False, kw_only=True)
class Posteriors:
    r"""Posteriors :math:`q(z) = \mathrm{Normal}(m, L L^\top)` of the latent states of cells.

    States are those before the softmax of a logistic normal. A subclass may add what else is told
    of the cells: an array or an index as long as the cells follows :meth:`select` and
    :meth:`concatenate`.

    Parameters
    ----------
    loc
        Means :math:`m`, shape ``(n_cells, n_latent)``.
    scale
        Standard deviations of each number of the state, shape ``(n_cells, n_latent)``.
    scale_tril
        Factors :math:`L` of the covariances, lower triangular, shape
        ``(n_cells, n_latent, n_latent)``; None where the numbers are independent.
    names
        Names of the cells.
    """

    loc: NDArray[np.floating]
    scale: NDArray[np.floating]
    scale_tril: NDArray[np.floating] | None = None
    names: pd.Index

    def __repr__(self) -> str:
        return brief(self)

    def __post_init__(self) -> None:
        n_cells, n_latent = self.loc.shape
        shapes = {"loc": self.loc.shape, "scale": self.scale.shape, "names": self.names.shape}
        wanted = {"loc": self.loc.shape, "scale": self.loc.shape, "names": (n_cells,)}
        if self.scale_tril is not None:
            shapes["scale_tril"] = self.scale_tril.shape
            wanted["scale_tril"] = (n_cells, n_latent, n_latent)
        for name, shape in shapes.items():
            if shape != wanted[name]:
                raise DataError(
                    f"`{name}` has the shape {shape}, and `loc` {self.loc.shape}.",
                    remedy=f"Give `{name}` of shape {wanted[name]}.",
                )

    @classmethod
    def of(
        cls,
        posterior: NormalPosterior,
        names: pd.Index,
        *,
        full: bool = False,
        dtype: DTypeLike = np.float32,
    ) -> Posteriors:
        """Take over the posteriors of a minibatch.

        Parameters
        ----------
        posterior
            Posteriors of the latent states.
        names
            Names of the cells.
        full
            Whether to keep the factors of the covariances.
        dtype
            Type of the arrays.
        """

        def array(tensor: Tensor) -> NDArray[np.floating]:
            return tensor.detach().cpu().numpy().astype(dtype)

        return Posteriors(
            loc=array(posterior.loc),
            scale=array(posterior.scale),
            scale_tril=array(posterior.scale_tril) if full else None,
            names=names,
        )

    def __len__(self) -> int:
        return len(self.loc)

    @property
    def n_latent(self) -> int:
        """Length of a state."""
        return self.loc.shape[1]

    @property
    def factor(self) -> NDArray[np.floating]:
        """Standard deviations where the numbers of all cells are independent, else the factors."""
        if self.scale_tril is None or not np.tril(self.scale_tril, -1).any():
            return self.scale
        return self.scale_tril

    @property
    def covariance(self) -> NDArray[np.floating]:
        """Covariances, shape ``(n_cells, n_latent, n_latent)``."""
        if self.scale_tril is None:
            return self.scale[:, :, None] ** 2 * np.eye(self.n_latent, dtype=self.scale.dtype)
        return self.scale_tril @ np.swapaxes(self.scale_tril, 1, 2)

    def select(self, cells: NDArray[np.integer] | NDArray[np.bool_] | slice) -> Self:
        """Return the posteriors of some cells, by position, mask or slice."""
        arrays = {name: value[cells] for name, value in self._by_cell().items()}
        return replace(self, **arrays)

    @classmethod
    def concatenate(cls, parts: Sequence[Self]) -> Self:
        """Return the posteriors of all cells of several, in their order.

        What is an array in some of them and None in others is None; so is what is no array and
        differs between them.
        """
        whole: dict[str, Any] = {}
        by_cell = set(parts[0]._by_cell())
        for name in (field.name for field in fields(cls)):
            values = [getattr(part, name) for part in parts]
            if any(value is None for value in values):
                whole[name] = None
            elif name not in by_cell:
                whole[name] = values[0] if all(value == values[0] for value in values) else None
            elif isinstance(values[0], pd.Index):
                whole[name] = values[0].append(values[1:])
            else:
                whole[name] = np.concatenate(values)
        return cls(**whole)

    def to_frame(self) -> pd.DataFrame:
        """Return means and standard deviations as a table with the cells' names.

        Columns have two levels: ``"loc"`` or ``"scale"``, and the position in the state, so that
        ``table["loc"]`` are the means.
        """
        parts = {
            part: pd.DataFrame(values, index=self.names)
            for part, values in (("loc", self.loc), ("scale", self.scale))
        }
        return pd.concat(parts, axis=1)

    def _by_cell(self) -> dict[str, Any]:
        """Return what has a value for each cell."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            name: value
            for name, value in values.items()
            if isinstance(value, np.ndarray | pd.Index) and len(value) == len(self)
        }

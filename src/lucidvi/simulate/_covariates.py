"""Covariates that cells are decoded under in place of their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scvi import REGISTRY_KEYS
from torch import Tensor

from lucidvi._kinds import shown
from lucidvi.checks import listed
from lucidvi.data import category_codes
from lucidvi.errors import DataError, MissingKeyError
from lucidvi.inference import PosteriorTarget

#: Columns of ``obs`` that say how simulated cells were made.
WRITTEN = tuple(
    f"lucidvi_{name}"
    for name in ("origin", "exposure", "changed", "time", "origin_time", "trajectory", "log_mass")
)


@dataclass(frozen=True)
class Column:
    """Where the model reads a column of ``obs``.

    Parameters
    ----------
    key
        Registry key of the tensor in a minibatch.
    position
        Column of that tensor.
    categories
        The categories by their codes; None for a column of numbers.
    """

    key: str
    position: int
    categories: NDArray[Any] | None


@dataclass(frozen=True)
class Setting:
    """New values of some columns.

    Parameters
    ----------
    columns
        Where the model reads each column, by its name in ``obs``.
    values
        The new values by the column's name, codes of categories or numbers, each of shape
        ``(n_cells,)``.
    """

    columns: dict[str, Column]
    values: dict[str, NDArray[Any]]

    def of(self, target: PosteriorTarget, rows: slice) -> PosteriorTarget:
        """Return a target whose cells are decoded with the new values.

        Parameters
        ----------
        target
            Some of the cells; their posteriors stay as they are.
        rows
            Positions of these cells among all.
        """
        changes: dict[str, Tensor] = {}
        for name, values in self.values.items():
            column = self.columns[name]
            if column.key not in changes:
                changes[column.key] = target.covariates[column.key].clone()
            tensor = changes[column.key]
            tensor[:, column.position] = torch.as_tensor(values[rows]).to(tensor)
        return target.with_covariates(changes)

    def write(self, obs: pd.DataFrame) -> pd.DataFrame:
        """Return ``obs`` of the cells with the new values."""
        new = {name: self.shown(name) for name in self.values}
        return obs.assign(**{name: pd.Series(v, index=obs.index) for name, v in new.items()})

    def shown(self, name: str) -> Any:
        """Return the new values of a column as ``obs`` has them, shape ``(n_cells,)``."""
        categories = self.columns[name].categories
        if categories is None:
            return self.values[name]
        return pd.Categorical.from_codes(self.values[name], categories)

    @property
    def categorical(self) -> list[str]:
        """Names of the columns that are categories."""
        return [name for name in self.values if self.columns[name].categories is not None]


def read_setting(
    model: Any,
    batch: Any,
    covariates: Mapping[str, Any] | None,
    n: int,
    rng: np.random.Generator | None = None,
) -> Setting:
    """Check new values of batch and covariates.

    Parameters
    ----------
    model
        The model that decodes the cells.
    batch
        A category for all cells, or one for each; None keeps the cells' batches. With ``rng`` it
        may also be a mapping from categories to shares.
    covariates
        What ``batch`` may be, by name of the column; numbers for a continuous one.
    n
        Number of cells.
    rng
        Generator that mixes the cells where shares are wanted.
    """
    columns = columns_of(model)
    batch_key = model.registry["setup_args"].get("batch_key")
    if not isinstance(covariates, Mapping | None):
        raise DataError(
            f"`covariates` is {shown(covariates)}, and no dictionary.",
            remedy='covariates={"column": value}, or None.',
        )
    settings = {str(name): value for name, value in (covariates or {}).items()}
    others = [name for name in columns if name != batch_key]
    for name in settings:
        if name not in others:
            raise MissingKeyError(
                f"`covariates` names {name!r}, which is no covariate of the model.",
                remedy=f"It has {listed(others)}"
                + ("; say `batch=`." if name == batch_key else "."),
            )
    if batch is not None and batch_key is None:
        raise DataError(
            f"`batch` is {batch!r}, but the model was set up without batches.",
            remedy="batch=None, or a model that was set up with a `batch_key`.",
        )
    argument = {name: f"covariates[{name!r}]" for name in settings}
    if batch is not None:
        settings[batch_key], argument[batch_key] = batch, "batch"
    values = {
        name: _values(argument[name], value, columns[name].categories, n, rng)
        for name, value in settings.items()
    }
    return Setting(columns, values)


def columns_of(model: Any) -> dict[str, Column]:
    """Return the columns of ``obs`` that decoding depends on, by name, but for size factors."""
    fields, arguments = model.registry["field_registries"], model.registry["setup_args"]
    columns = {}
    for argument, key in (
        ("batch_key", REGISTRY_KEYS.BATCH_KEY),
        ("labels_key", REGISTRY_KEYS.LABELS_KEY),
    ):
        if arguments.get(argument) is not None:
            categories = fields[key]["state_registry"]["categorical_mapping"]
            columns[arguments[argument]] = Column(key, 0, np.asarray(categories))
    state = fields.get(REGISTRY_KEYS.CAT_COVS_KEY, {}).get("state_registry", {})
    for i, name in enumerate(state.get("field_keys", [])):
        categories = np.asarray(state["mappings"][name])
        columns[name] = Column(REGISTRY_KEYS.CAT_COVS_KEY, i, categories)
    state = fields.get(REGISTRY_KEYS.CONT_COVS_KEY, {}).get("state_registry", {})
    for i, name in enumerate(state.get("columns", [])):
        columns[name] = Column(REGISTRY_KEYS.CONT_COVS_KEY, i, None)
    taken = [name for name in columns if name in WRITTEN]
    if taken:
        raise DataError(
            f"The model's covariate {taken[0]!r} is called like a column of `obs` that says how "
            "simulated cells were made.",
            remedy=f"call the column {taken[0].removeprefix('lucidvi_')!r}, and train anew.",
        )
    return columns


def _values(
    argument: str,
    value: Any,
    categories: NDArray[Any] | None,
    n: int,
    rng: np.random.Generator | None,
) -> NDArray[Any]:
    """Return a value for each cell: a code, or a number."""
    shares = isinstance(value, Mapping)
    if shares and (rng is None or categories is None):
        raise DataError(f"`{argument}` is a mapping.", remedy="Give a value, or one a cell.")
    values = np.asarray(list(value) if shares else value)
    if not shares and values.shape not in ((), (n,)):
        raise DataError(
            f"`{argument}` has the shape {values.shape}, but there are {n:,} cells.",
            remedy=f"Give one value, or an array of shape ({n},).",
        )
    if categories is None:
        return np.full(n, _numbers(argument, values))
    codes = category_codes(list(value) if shares else values, categories, argument)
    if shares and rng is not None:
        return rng.permutation(np.repeat(codes, _apportioned(argument, value, n)))
    return np.full(n, codes)


def _numbers(argument: str, values: NDArray[Any]) -> NDArray[np.float64]:
    try:
        numbers = values.astype(float)
    except (TypeError, ValueError):
        numbers = np.full(values.shape, np.nan)
    if not np.isfinite(numbers).all():
        raise DataError(
            f"`{argument}` is {values[~np.isfinite(numbers)][:1].tolist()[0]!r}.",
            remedy="Give finite numbers: the covariate is continuous.",
        )
    return numbers


def _apportioned(argument: str, shares: Mapping[Any, Any], n: int) -> NDArray[np.integer]:
    """Return how many of ``n`` cells each gets, by the largest remainder."""
    share = _numbers(argument, np.asarray(list(shares.values())))
    if len(share) == 0 or (share < 0).any() or share.sum() == 0:
        raise DataError(
            f"`{argument}` has the shares {share.tolist()}.",
            remedy="Give shares that are not negative, and at least one that is not zero.",
        )
    exact = n * share / share.sum()
    whole = np.floor(exact).astype(int)
    largest = np.argsort(-(exact - whole), kind="stable")[: n - whole.sum()]
    whole[largest] += 1
    return whole

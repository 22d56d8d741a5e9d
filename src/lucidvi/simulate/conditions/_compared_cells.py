"""Which cells a condition is compared on: control and target, label by label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from anndata import AnnData
from numpy.typing import NDArray

from lucidvi.checks import listed
from lucidvi.data import category_text, category_texts
from lucidvi.errors import DataError, MissingKeyError, ModelTypeError, first_few
from lucidvi.model import Cells
from lucidvi.simulate._covariates import Setting, columns_of, read_setting

#: Cells of a label under each condition from which on it is learned from.
N_CELLS_MIN = 2


@dataclass(frozen=True, eq=False)
class Compared:
    """Cells of two conditions.

    Parameters
    ----------
    asked
        Control cells that are to be predicted under the target.
    control, target
        Cells of the other labels, by label; both have the same labels.
    condition_key
        Column of ``obs`` with the conditions.
    target_name
        The target.
    """

    asked: Cells
    control: dict[str, Cells]
    target: dict[str, Cells]
    condition_key: str
    target_name: str

    @property
    def model(self) -> Any:
        """The model that the cells are registered with."""
        return self.asked.model


def compared(
    model: Any,
    adata: AnnData | None,
    condition_key: str,
    control: str,
    target: str,
    labels_key: str,
    cells: str | NDArray[Any],
) -> Compared:
    """Check the arguments of :func:`predict_condition`, and find the cells."""
    if model.registry["setup_args"].get("is_count_data", True) is False:
        raise DataError(
            "`model` was set up with `is_count_data=False`, so there are no counts to change.",
            remedy="Train a model of the counts.",
        )
    every = Cells.of(model, adata)
    for argument, key in (("condition_key", condition_key), ("labels_key", labels_key)):
        _check_column(every.adata, argument, key)
    condition = category_texts(every.adata.obs[condition_key])
    labels = category_texts(every.adata.obs[labels_key])
    control, target = category_text(control), category_text(target)
    for argument, value in (("control", control), ("target", target)):
        if not (condition == value).any():
            raise DataError(
                f"`{argument}` is {value!r}, which no cell has in {condition_key!r}.",
                remedy=f"There are {listed(np.unique(condition))}.",
            )
    if control == target:
        raise DataError(
            f"`control` and `target` are both {control!r}.", remedy="Name two conditions."
        )
    asked = _asked(model, every.adata, labels, condition == control, cells)
    by_label = {
        label: tuple(
            np.flatnonzero((labels == label) & (condition == c)) for c in (control, target)
        )
        for label in np.setdiff1d(labels, labels[asked.positions])
    }
    seen = {
        label: [Cells(model, every.adata, part) for part in parts]
        for label, parts in by_label.items()
        if min(map(len, parts)) >= N_CELLS_MIN
    }
    if not seen:
        others = first_few(np.unique(labels[asked.positions]))
        raise DataError(
            f"No label in {labels_key!r} besides {others} has "
            f"{N_CELLS_MIN} cells under {control!r} and under {target!r}, so there is no response "
            "to learn from.",
            remedy="Pass an `adata` with other labels under both conditions.",
        )
    return Compared(
        asked,
        {label: parts[0] for label, parts in seen.items()},
        {label: parts[1] for label, parts in seen.items()},
        condition_key,
        target,
    )


def condition_setting(given: Compared, required: bool, method: str) -> Setting | None:
    """Return what decodes the cells under the target; None if the model knows no condition.

    Parameters
    ----------
    given
        The cells.
    required
        Whether to raise if it does not.
    method
        Which says so.
    """
    key, batch_key = given.condition_key, given.model.registry["setup_args"].get("batch_key")
    labels_key = given.model.registry["setup_args"].get("labels_key")
    known = columns_of(given.model)
    if key in known and known[key].categories is not None and key != labels_key:
        n = len(given.asked)
        if key == batch_key:
            return read_setting(given.model, given.target_name, None, n)
        return read_setting(given.model, None, {key: given.target_name}, n)
    if required:
        raise ModelTypeError(
            f"`method` is {method!r}, but {key!r} is neither the batch nor a categorical "
            "covariate of the model, so its decoder does not know the condition.",
            remedy="Train a model that was set up with "
            f'`categorical_covariate_keys=["{key}"]`, or take another method.',
        )
    return None


def _check_column(adata: AnnData, argument: str, key: str) -> None:
    """Raise unless a column exists and has a value for every cell."""
    if key not in adata.obs:
        raise MissingKeyError(
            f"`{argument}` is {key!r}, which is no column of `adata.obs`.",
            remedy=f"There are {listed(adata.obs.columns)}.",
        )
    missing = adata.obs[key].isna()
    if missing.any():
        raise DataError(
            f"{missing.sum():,} cells have no value in {key!r} (`{argument}`): "
            f"{first_few(adata.obs_names[missing])}.",
            remedy="Leave these cells out of `adata`.",
        )


def _asked(
    model: Any,
    adata: AnnData,
    labels: NDArray[Any],
    is_control: NDArray[np.bool_],
    cells: str | NDArray[Any],
) -> Cells:
    """Return the control cells of a label, or those that were named."""
    if not isinstance(cells, str):
        asked = Cells.of(model, adata, cells)
        others = ~is_control[asked.positions]
        if others.any():
            raise DataError(
                f"{others.sum():,} of the {len(others):,} `cells` are no control cells: "
                f"{first_few(adata.obs_names[asked.positions[others]])}.",
                remedy="Leave them out, or give a label.",
            )
        return asked
    if not (labels == cells).any():
        raise DataError(
            f"`cells` is {cells!r}, which is no label.",
            remedy=f"There are {listed(np.unique(labels))}.",
        )
    chosen = np.flatnonzero((labels == cells) & is_control)
    if len(chosen) == 0:
        raise DataError(
            f"`cells` is {cells!r}, a label without control cells to start from.",
            remedy="Pass an `adata` with control cells of the label.",
        )
    return Cells(model, adata, chosen)

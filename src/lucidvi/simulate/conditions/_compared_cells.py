"""Which cells a condition is compared on: control and target, label by label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray

from lucidvi.checks import check_column, listed
from lucidvi.data import category_text, category_texts
from lucidvi.errors import DataError, ModelTypeError, first_few
from lucidvi.model import Cells
from lucidvi.simulate._covariates import Setting, columns_of, read_setting
from lucidvi.simulate._models import cells_with_counts

#: Cells of a label under each condition from which on it is learned from.
N_CELLS_MIN = 2


@dataclass(frozen=True, eq=False)
class Compared:
    """Cells of two conditions.

    Parameters
    ----------
    predicted
        Control cells that are to be predicted under the target.
    control, target
        Cells of the other labels, by label; both have the same labels.
    condition_key
        Column of ``obs`` with the conditions.
    target_name
        The target.
    """

    predicted: Cells
    control: dict[str, Cells]
    target: dict[str, Cells]
    condition_key: str
    target_name: str

    @property
    def model(self) -> Any:
        """The model that the cells are registered with."""
        return self.predicted.model


def compared(
    model: Any,
    adata: AnnData | None,
    condition_key: str,
    control: str,
    target: str,
    labels_key: str,
    label: str | None = None,
    indices: Any | None = None,
) -> Compared:
    """Check the arguments of :func:`predict_condition`, and find the cells."""
    if (label is None) == (indices is None):
        raise DataError(
            f"`label` is {label!r} and `indices` is {indices!r}.",
            remedy="Give exactly one of them: a label, for its control cells, or control cells.",
        )
    every = Cells.of(model, adata)
    for argument, key in (("condition_key", condition_key), ("labels_key", labels_key)):
        _check_complete(every.adata.obs, argument, key)
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
    has_counts = every.have()
    is_control = condition == control
    predicted = (
        _among(cells_with_counts(model, every.adata, indices), is_control)
        if label is None
        else every.select(_of_label(category_text(label), labels, is_control & has_counts))
    )
    by_label = {
        other: tuple(
            np.flatnonzero((labels == other) & (condition == c) & has_counts)
            for c in (control, target)
        )
        for other in np.setdiff1d(labels, labels[predicted.positions])
    }
    seen = {
        other: [every.select(part) for part in parts]
        for other, parts in by_label.items()
        if min(map(len, parts)) >= N_CELLS_MIN
    }
    if not seen:
        others = first_few(np.unique(labels[predicted.positions]))
        raise DataError(
            f"No label in {labels_key!r} besides {others} has "
            f"{N_CELLS_MIN} cells under {control!r} and under {target!r}, so there is no response "
            "to learn from.",
            remedy="Pass an `adata` with other labels under both conditions.",
        )
    return Compared(
        predicted,
        {other: parts[0] for other, parts in seen.items()},
        {other: parts[1] for other, parts in seen.items()},
        condition_key,
        target,
    )


def condition_setting(cells: Compared, required: bool, method: str) -> Setting | None:
    """Return what decodes the cells under the target; None if the model knows no condition.

    Parameters
    ----------
    cells
        The cells of both conditions.
    required
        Whether a model that knows no condition is an error.
    method
        The method that requires it, for the error.
    """
    arguments, key = cells.model.registry["setup_args"], cells.condition_key
    columns = columns_of(cells.model)
    is_category = key in columns and columns[key].categories is not None
    if is_category and key != arguments.get("labels_key"):
        n = len(cells.predicted)
        if key == arguments.get("batch_key"):
            return read_setting(cells.model, cells.target_name, None, n)
        return read_setting(cells.model, None, {key: cells.target_name}, n)
    if required:
        raise ModelTypeError(
            f"`method` is {method!r}, but {key!r} is neither the batch nor a categorical "
            "covariate of the model, so its decoder does not know the condition.",
            remedy="Train a model that was set up with "
            f'`categorical_covariate_keys=["{key}"]`, or take another method.',
        )
    return None


def _check_complete(obs: pd.DataFrame, argument: str, key: str) -> None:
    """Raise unless a column exists and has a value for every cell."""
    check_column(obs, argument, key)
    missing = obs[key].isna()
    if missing.any():
        raise DataError(
            f"{missing.sum():,} cells have no value in {key!r} (`{argument}`): "
            f"{first_few(obs.index[missing])}.",
            remedy="Leave these cells out of `adata`.",
        )


def _among(cells: Cells, is_control: NDArray[np.bool_]) -> Cells:
    """Return the chosen cells, or raise if some are no control cells."""
    others = ~is_control[cells.positions]
    if others.any():
        raise DataError(
            f"{others.sum():,} of the {len(others):,} `indices` are no control cells: "
            f"{first_few(cells.names[others])}.",
            remedy="Leave them out, or give a label.",
        )
    return cells


def _of_label(
    label: str, labels: NDArray[Any], is_control: NDArray[np.bool_]
) -> NDArray[np.integer]:
    """Return the positions of the control cells of a label, or raise if there are none."""
    if not (labels == label).any():
        raise DataError(
            f"`label` is {label!r}, which is no label.",
            remedy=f"There are {listed(np.unique(labels))}.",
        )
    positions = np.flatnonzero((labels == label) & is_control)
    if len(positions) == 0:
        raise DataError(
            f"`label` is {label!r}, a label without control cells to start from.",
            remedy="Pass an `adata` with control cells of the label.",
        )
    return positions

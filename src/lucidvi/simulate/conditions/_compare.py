"""The table of methods and baselines, scored on cells that were measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse
from scvi.model.base import BaseModelClass

from lucidvi._kinds import checked
from lucidvi.checks import check_choice, check_whole
from lucidvi.errors import DataError
from lucidvi.model import Cells
from lucidvi.simulate._models import cells_with_counts, model_of_counts
from lucidvi.simulate.conditions._carried_over import NOISE
from lucidvi.simulate.conditions._compared_cells import Compared, compared, condition_setting
from lucidvi.simulate.conditions._predict import predicted
from lucidvi.simulate.conditions._responses import METHODS
from lucidvi.simulate.conditions._scores import SCORES, Expression, Truth, log_expression

#: Rows of the table that need no model.
NO_CHANGE, MEAN_SHIFT = "no change", "mean shift of the other labels"
#: Cells that are scored on either side, at most: distances are between all pairs.
N_SCORED = 2_000
#: Cells on either side from which on there is a variance.
N_CELLS_MIN = 2


@checked
def compare_conditions(
    model: BaseModelClass,
    truth: AnnData,
    adata: AnnData | None = None,
    *,
    condition_key: str,
    control: str,
    target: str,
    labels_key: str,
    label: str,
    methods: Sequence[str] | None = None,
    noise: str = "kept",
    seed: int = 0,
) -> pd.DataFrame:
    r"""Score predictions of a condition on cells of a label that the model did not see under it.

    Always in the table are two baselines: ``"no change"``, the control cells as they are, and
    ``"mean shift of the other labels"``, the control cells' log expression with the mean
    difference of the other labels' mean log expression added, each label counting the same. What
    does not beat them is of no use. Log expression is :math:`\log(1 + 10^4 x / \sum_g x_g)`, of
    drawn counts for the methods and of the cells' own for the baselines.

    Parameters
    ----------
    model, adata, condition_key, control, target, labels_key, noise, seed
        See :func:`predict_condition`.
    truth
        Target cells of the label, which the model was not trained on, with the model's genes.
    label
        Label of the cells that are predicted and measured.
    methods
        Methods to compare; by default all that the model and the installed packages allow.

    Returns
    -------
    A row for each baseline and method, with

    ``"R2"``, ``"R2 of top genes"``
        Coefficient of determination of mean log expression, over all genes and over the 100 that
        differ most between measured control and target cells, by Welch's t.
    ``"energy distance"``
        Of predicted and measured target cells, in 50 principal components of the measured cells;
        0 if they have one distribution, and about 0, of either sign, in samples.
    ``"DE genes recovered"``
        Share of these 100 genes among the 100 whose mean is predicted to change most, in the same
        direction.

    Raises
    ------
    lucidvi.errors.DataError, lucidvi.errors.MissingKeyError, lucidvi.errors.ModelTypeError
        As :func:`predict_condition`; and if there are fewer than two cells on either side.
    """
    check_choice("noise", noise, NOISE)
    for method in methods or ():
        check_choice("methods", method, METHODS)
    check_whole("seed", seed)
    model = model_of_counts(model, whole=True)
    rng = np.random.default_rng(seed)
    # First: a model lets go of cells whose genes it had to put in order when it is given others.
    _check_number(truth.n_obs, "cells in `truth`")
    after = _scored(cells_with_counts(model, truth, None), rng)
    cells = compared(model, adata, condition_key, control, target, labels_key, label=label)
    _check_number(len(cells.predicted), f"control cells of {label!r}")
    measured = Truth(_scored(cells.predicted, rng), after)
    predictions = baselines(cells, measured.control)
    for method in allowed(cells) if methods is None else methods:
        out = predicted(cells, method, noise, seed)
        predictions[method] = log_expression(out.X[_some(out.n_obs, rng)]).toarray()
    return scored(measured, predictions)


def scored(truth: Truth, predictions: Mapping[str, Expression]) -> pd.DataFrame:
    """Return a row for each prediction and a column for each score."""
    rows = {
        name: {score: compute(truth, expression) for score, compute in SCORES.items()}
        for name, expression in predictions.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index")


def baselines(cells: Compared, control: Expression) -> dict[str, Expression]:
    """Return what the baselines predict.

    Parameters
    ----------
    cells
        The cells of both conditions.
    control
        Log expression of the control cells to predict for.
    """
    shifts = [
        np.ravel(_log_counts(cells.target[label]).mean(axis=0) - _log_counts(part).mean(axis=0))
        for label, part in cells.control.items()
    ]
    return {NO_CHANGE: control, MEAN_SHIFT: control + np.mean(shifts, axis=0)}


def allowed(cells: Compared) -> list[str]:
    """Return the methods that the model and the installed packages allow."""
    knows = condition_setting(cells, required=False, method="") is not None
    return [
        name
        for name, method in METHODS.items()
        if (knows or not method.needs_covariate) and method.is_installed
    ]


def _log_counts(cells: Cells, rows: slice | np.ndarray = slice(None)) -> sparse.csr_matrix:
    return log_expression(cells.select(rows).counts)


def _check_number(n: int, what: str) -> None:
    if n < N_CELLS_MIN:
        raise DataError(
            f"There are {n} {what}; scores need {N_CELLS_MIN} at least.",
            remedy="Compare on a label with more cells.",
        )


def _scored(cells: Cells, rng: np.random.Generator) -> Expression:
    return _log_counts(cells, _some(len(cells), rng)).toarray()


def _some(n: int, rng: np.random.Generator) -> np.ndarray:
    return np.sort(rng.permutation(n)[:N_SCORED])

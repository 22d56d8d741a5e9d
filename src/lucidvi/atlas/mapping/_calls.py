"""What a reference says of cells: labels on each level, how sure they are, and what is unknown."""

from __future__ import annotations

import warnings
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import scvi
from numpy.typing import NDArray

from lucidvi.atlas._data import ReferenceData
from lucidvi.atlas.calibration._calibrated import (
    calibrated_p_values,
    calibrated_probabilities,
)
from lucidvi.atlas.labels._hierarchy import coarser, finest_believed
from lucidvi.atlas.mapping._place import Placed
from lucidvi.atlas.mapping._request import Request

LABEL, CONFIDENCE = "lucidvi_label", "lucidvi_confidence"
NOVELTY, CALL = "lucidvi_novelty", "lucidvi_call"
#: The call of a cell that is unlike the reference.
UNKNOWN = "unknown"
#: Share of the calibration cells that other batches must be able to vote on, for what is said of
#: new batches to be believed.
COMPARED = 0.5
#: Share of the cells of a query that are unknown from which on it may be the experiment.
MOST = 0.5


def calls(
    data: ReferenceData,
    placed: Placed,
    information: NDArray[np.floating],
    new_batch: NDArray[np.bool_],
    request: Request,
) -> dict[str, Any]:
    """Return the columns of ``obs`` that :meth:`lucidvi.atlas.Reference.map` adds.

    Parameters
    ----------
    data
        Cells of the reference; of one without calibration confidences are shares of the votes,
        p-values are NaN and no cell is unknown.
    placed
        The cells of the query.
    information
        Share of the model's information that was measured of each cell, shape ``(n_cells,)``.
    new_batch
        Which cells are of a batch that the model does not know, shape ``(n_cells,)``.
    request
        How the query is to be mapped.
    """
    if new_batch.any():
        _warn_of_new_batches(data)
    shares, novelty = _judged(data, placed, information, new_batch)
    labels, confidences = [], []
    for level in (column.array for column in data.levels.values()):
        p = coarser(shares, data.labels.array, level)
        labels.append(pd.Categorical.from_codes(p.argmax(axis=1), categories=level.categories))
        confidences.append(p.max(axis=1))
    columns: dict[str, Any] = {}
    for key, label, confidence in zip(data.coarser_keys, labels, confidences, strict=False):
        columns[f"{LABEL}_{key}"], columns[f"{CONFIDENCE}_{key}"] = label, confidence
    unknown = novelty <= request.novelty_rate
    if data.batches is None and unknown.mean() > max(MOST, request.novelty_rate):
        _warn_of_experiment(unknown)
    called = finest_believed(labels, confidences, request.min_confidence)
    return columns | {
        LABEL: labels[-1],
        CONFIDENCE: confidences[-1],
        NOVELTY: novelty,
        CALL: pd.Categorical(np.where(unknown, UNKNOWN, called)),
    }


def _judged(
    data: ReferenceData,
    placed: Placed,
    information: NDArray[np.floating],
    new_batch: NDArray[np.bool_],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return probabilities of the labels, and p-values of being new."""
    shares, distance = data.voters.judge(placed.posteriors)
    novelty = np.full(len(distance), np.nan)
    calibration = data.calibration
    for is_new, share in product((False, True), np.unique(information)):
        cells = (new_batch == is_new) & (information == share)
        if calibration is not None and cells.any():
            shares[cells] = calibrated_probabilities(
                calibration, shares[cells], float(share), is_new
            )
            novelty[cells] = calibrated_p_values(
                calibration, distance[cells], placed.agreement[cells], float(share), is_new
            )
    return shares, novelty


def _warn_of_new_batches(data: ReferenceData) -> None:
    """Warn if the reference cannot say how unlike each other its own batches are."""
    calibration = data.calibration
    if calibration is None or calibration.share_compared >= COMPARED:
        return
    warnings.warn(
        f"Confidences and p-values of new batches cannot be relied on: for "
        f"{1 - calibration.share_compared:.0%} of the cells that the reference is calibrated by, "
        f"no other batch has enough cells of their label in {data.labels_key!r}. To change "
        "that, make a reference of batches that share labels, or of coarser labels.",
        UserWarning,
        stacklevel=scvi.settings.warnings_stacklevel,
    )


def _warn_of_experiment(unknown: NDArray[np.bool_]) -> None:
    """Warn that a model without batches takes what its experiment does for what cells are."""
    warnings.warn(
        f"{unknown.mean():.0%} of the cells are unknown. The reference's model was set up without "
        "batches, so what another experiment changes in the counts makes cells look new. Set it "
        "up with a `batch_key`, if only of one value, and `map` learns the query's batches.",
        UserWarning,
        stacklevel=scvi.settings.warnings_stacklevel,
    )

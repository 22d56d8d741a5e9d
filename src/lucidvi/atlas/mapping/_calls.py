"""What a reference says of cells: labels on each level, how sure they are, and what is unknown."""

from __future__ import annotations

import warnings
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scvi
from numpy.typing import NDArray

from lucidvi.atlas.labels._hierarchy import coarser, finest_believed
from lucidvi.atlas.mapping._place import Placed
from lucidvi.errors import DataError

if TYPE_CHECKING:
    from lucidvi.atlas._reference import Reference

LABEL, CONFIDENCE = "lucidvi_label", "lucidvi_confidence"
NOVELTY, CALL = "lucidvi_novelty", "lucidvi_call"
#: Rates of :meth:`lucidvi.atlas.Reference.map`.
DEFAULT = {"novelty_rate": 0.05, "min_confidence": 0.8}
#: The call of a cell that is unlike the reference.
UNKNOWN = "unknown"
#: Share of the calibration cells that other batches must be able to vote on, for what is said of
#: new batches to be believed.
COMPARED = 0.5
#: Share of the cells of a query that are unknown from which on it may be the experiment.
MOST = 0.5


def calls(
    reference: Reference,
    placed: Placed,
    information: float,
    new_batch: NDArray[np.bool_],
    novelty_rate: float,
    min_confidence: float,
) -> dict[str, Any]:
    """Return the columns of ``obs`` that :meth:`Reference.map` adds.

    Parameters
    ----------
    reference
        The reference; of one without calibration confidences are shares of the votes, p-values
        are NaN and no cell is unknown.
    placed
        The cells.
    information
        Share of the model's information that was measured.
    new_batch
        Which cells are of a batch that the model does not know, shape ``(n_cells,)``.
    novelty_rate, min_confidence
        As in :meth:`Reference.map`.
    """
    if new_batch.any():
        _warn_of_new_batches(reference)
    shares, distance = reference.voters.judge(placed.states)
    novelty = np.full(len(distance), np.nan)
    calibration = reference.calibration
    for is_new in (False, True):
        cells = new_batch == is_new
        if calibration is not None and cells.any():
            shares[cells] = calibration.probabilities(shares[cells], information, is_new)
            novelty[cells] = calibration.p_values(
                distance[cells], placed.agreement[cells], information, is_new
            )
    levels = reference.levels
    labels, confidences = [], []
    for level in levels.values():
        p = coarser(shares, reference.labels, level)
        labels.append(pd.Categorical.from_codes(p.argmax(axis=1), categories=level.categories))
        confidences.append(p.max(axis=1))
    found: dict[str, Any] = {}
    for key, label, confidence in list(zip(levels, labels, confidences, strict=True))[:-1]:
        found[f"{LABEL}_{key}"], found[f"{CONFIDENCE}_{key}"] = label, confidence
    called = finest_believed(labels, confidences, min_confidence)
    unknown = novelty <= novelty_rate
    if reference.batches is None and unknown.mean() > max(MOST, novelty_rate):
        _warn_of_experiment(unknown)
    return found | {
        LABEL: labels[-1],
        CONFIDENCE: confidences[-1],
        NOVELTY: novelty,
        CALL: pd.Categorical(np.where(unknown, UNKNOWN, called)),
    }


def check_rates(reference: Reference, novelty_rate: float, min_confidence: float) -> None:
    """Raise DataError for rates that are none, and warn of one that is never reached."""
    rates = {"novelty_rate": novelty_rate, "min_confidence": min_confidence}
    for name, rate in rates.items():
        if not (isinstance(rate, Real | np.number) and 0 <= rate <= 1):
            raise DataError(
                f"`{name}` is {rate!r}.",
                remedy=f"pass a share from 0 to 1, reference.map(query, {name}={DEFAULT[name]}).",
            )
    calibration = reference.calibration
    if calibration is None:
        return
    least = 1 / (1 + calibration.n_cells)
    if 0 < novelty_rate < least:
        warnings.warn(
            f"No cell can be called unknown at novelty_rate={novelty_rate:g}: of the "
            f"{calibration.n_cells} cells that the reference is calibrated by, the least p-value "
            f"is {least:.2g}.",
            UserWarning,
            stacklevel=scvi.settings.warnings_stacklevel,
        )


def _warn_of_new_batches(reference: Reference) -> None:
    """Warn if the reference cannot say how unlike each other its own batches are."""
    calibration = reference.calibration
    if calibration is None or calibration.share_compared >= COMPARED:
        return
    warnings.warn(
        f"Confidences and p-values of new batches cannot be relied on: for "
        f"{1 - calibration.share_compared:.0%} of the cells that the reference is calibrated by, "
        f"no other batch has enough cells of their label in {reference.labels_key!r}. To change "
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

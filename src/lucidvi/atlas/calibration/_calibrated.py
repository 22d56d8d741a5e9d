"""What votes and distances mean by a calibration: probabilities and p-values."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from lucidvi.atlas.calibration._probabilities import probabilities
from lucidvi.atlas.labels._novelty import novelty
from lucidvi.results import Calibration, Setting


def calibrated_probabilities(
    calibration: Calibration,
    shares: NDArray[np.floating],
    information: float,
    new_batch: bool,
) -> NDArray[np.float64]:
    """Turn shares of the votes into probabilities.

    Parameters
    ----------
    calibration
        Calibration of the reference.
    shares
        Shares of the votes, shape ``(n_cells, n_labels)``.
    information
        Share of the model's information that was measured. Between the two settings that come
        next to it, the result is interpolated.
    new_batch
        Whether the model does not know the cells' batch.
    """
    return _between(
        calibration.of_batches(new_batch=new_batch),
        lambda setting: probabilities(shares, setting.smoothing, setting.power),
        information,
    )


def calibrated_p_values(
    calibration: Calibration,
    distance: NDArray[np.floating],
    agreement: NDArray[np.floating],
    information: float,
    new_batch: bool,
) -> NDArray[np.float64]:
    """Return how many of the calibration cells are as unlike the reference as each cell.

    Parameters
    ----------
    calibration
        Calibration of the reference.
    distance, agreement
        Of the cells, shape ``(n_cells,)``; cells without agreement (NaN) are judged by their
        distance alone.
    information, new_batch
        As in :func:`calibrated_probabilities`.
    """
    return _between(
        calibration.of_batches(new_batch=new_batch),
        lambda setting: novelty(distance, agreement, setting.distance, setting.agreement),
        information,
    )


def _between(
    settings: list[Setting],
    result: Callable[[Setting], NDArray[np.float64]],
    information: float,
) -> NDArray[np.float64]:
    """Interpolate a result between the settings of the closest shares of information."""
    at = np.array([setting.information for setting in settings])
    above = int(np.clip((at > information).sum(), 1, len(at) - 1))  # at[above] <= information
    high, low = at[above - 1], at[above]
    weight = float(np.clip((information - low) / (high - low), 0, 1))
    return weight * result(settings[above - 1]) + (1 - weight) * result(settings[above])

"""What votes and distances mean: probabilities, p-values, and how far they can be believed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lucidvi._brief import brief
from lucidvi.atlas.calibration._reliability import (
    expected_calibration_error,
    probabilities,
    reliability,
)
from lucidvi.atlas.labels._novelty import novelty


@dataclass(frozen=True, eq=False)
class Setting:
    """A calibration for one share of the genes, of known batches or of new ones.

    Parameters
    ----------
    new_batch
        Whether the cells were voted on by cells of other batches only.
    information
        Share of the model's information that was left in.
    smoothing, power
        From votes to probabilities, see ``_reliability.probabilities``.
    distance, agreement
        What novelty is made of, see :func:`lucidvi.atlas.labels._novelty.novelty`; shape
        ``(n_cells,)``.
        Of new batches there is no agreement (NaN), as what a batch does is shared by its cells.
    confidence_raw, confidence
        Share of the votes and calibrated probability of each cell's label, of which the latter
        owes nothing to the cell itself; shape ``(n_cells,)``.
    right
        Whether the cell's label is the true one, shape ``(n_cells,)``.
    """

    new_batch: bool
    information: float
    smoothing: float
    power: float
    distance: NDArray[np.float32]
    agreement: NDArray[np.float32]
    confidence_raw: NDArray[np.float32]
    confidence: NDArray[np.float32]
    right: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Calibration:
    """How far the labels of a reference can be believed, measured on cells of its own.

    Parameters
    ----------
    held_out
        Whether the model was not trained on these cells.
    settings
        A calibration for each share of the genes, and for new batches where there are several.
    share_compared
        Share of the cells that other batches can vote on: which have enough of their label.
    """

    held_out: bool
    settings: tuple[Setting, ...]
    share_compared: float = 0.0

    __repr__ = brief

    @property
    def n_cells(self) -> int:
        """Number of cells it rests on."""
        return len(self.settings[0].distance)

    @property
    def new_batches(self) -> bool:
        """Whether cells of new batches are calibrated for themselves."""
        return any(setting.new_batch for setting in self.settings)

    def expected_calibration_error(self, *, new_batch: bool = False, raw: bool = False) -> float:
        r"""Mean distance of confidence and accuracy, over bins of equally many cells.

        .. math::
            \mathrm{ECE} = \sum_b \frac{n_b}{n} \, |\mathrm{confidence}_b - \mathrm{accuracy}_b|

        Parameters
        ----------
        new_batch
            Of cells that were labelled by cells of other batches only, as those of a new batch
            are; the same as of known batches where that is not possible.
        raw
            Of the shares of the votes, before calibration.

        Returns
        -------
        With all genes. No cell is judged by numbers that were fitted to it.
        """
        setting = self._of(new_batch)[0]
        confidence = setting.confidence_raw if raw else setting.confidence
        return expected_calibration_error(confidence, setting.right)

    def reliability(self, *, new_batch: bool = False, raw: bool = False) -> pd.DataFrame:
        """Return confidence and accuracy of bins of equally many cells, with all genes.

        Parameters
        ----------
        new_batch, raw
            As in :meth:`expected_calibration_error`.

        Returns
        -------
        A row a bin with ``confidence``, ``accuracy`` and ``n_cells``: at most ten, of at least
        20 cells if there are so many.
        """
        setting = self._of(new_batch)[0]
        confidence = setting.confidence_raw if raw else setting.confidence
        return reliability(confidence, setting.right)

    def probabilities(
        self, shares: NDArray[np.floating], information: float, new_batch: bool
    ) -> NDArray[np.float64]:
        """Turn shares of the votes into probabilities.

        Parameters
        ----------
        shares
            Shape ``(n_cells, n_labels)``.
        information
            Share of the model's information that was measured. Between the two settings that
            come next to it, the result is interpolated.
        new_batch
            Whether the model does not know the cells' batch.
        """
        return self._between(
            lambda s: probabilities(shares, s.smoothing, s.power), information, new_batch
        )

    def p_values(
        self,
        distance: NDArray[np.floating],
        agreement: NDArray[np.floating],
        information: float,
        new_batch: bool,
    ) -> NDArray[np.float64]:
        """Return how many of the calibration cells are as unlike the reference as each cell.

        Parameters
        ----------
        distance, agreement
            Of the cells, shape ``(n_cells,)``; cells without agreement (NaN) are judged by their
            distance alone.
        information, new_batch
            As in :meth:`probabilities`.
        """
        return self._between(
            lambda s: novelty(distance, agreement, s.distance, s.agreement), information, new_batch
        )

    def to_arrays(self) -> dict[str, Any]:
        """Return what :meth:`from_arrays` takes: numbers and arrays, by name."""
        settings = {str(i): asdict(setting) for i, setting in enumerate(self.settings)}
        return {
            "held_out": self.held_out,
            "share_compared": self.share_compared,
            "settings": settings,
        }

    @classmethod
    def from_arrays(cls, arrays: dict[str, Any]) -> Self:
        """Make a calibration of what :meth:`to_arrays` returned, also out of a file."""
        settings = (arrays["settings"][str(i)] for i in range(len(arrays["settings"])))
        return cls(
            bool(arrays["held_out"]),
            tuple(Setting(**setting) for setting in settings),
            float(arrays["share_compared"]),
        )

    def _of(self, new_batch: bool) -> list[Setting]:
        """Return the settings of one kind of batch, from all genes down."""
        new_batch = new_batch and self.new_batches
        return [setting for setting in self.settings if setting.new_batch == new_batch]

    def _between(
        self, result: Callable[[Setting], NDArray[np.float64]], information: float, new_batch: bool
    ) -> NDArray[np.float64]:
        settings = self._of(new_batch)
        at = np.array([setting.information for setting in settings])
        above = int(np.clip((at > information).sum(), 1, len(at) - 1))  # at[above] <= information
        high, low = at[above - 1], at[above]
        weight = float(np.clip((information - low) / (high - low), 0, 1))
        return weight * result(settings[above - 1]) + (1 - weight) * result(settings[above])

"""How far the labels of a reference can be believed."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lucidvi._brief import brief
from lucidvi.results._reliability import expected_calibration_error, reliability


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
        Numbers that turn votes into probabilities.
    distance, agreement
        Distance of the cells to the reference, and agreement of their residuals with those of
        other cells, of which novelty is made; shape ``(n_cells,)``.
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

    __repr__ = brief

    def is_whole(self) -> bool:
        """Whether there is a number of each cell, as far as there has to be."""
        numbers = (self.information, self.smoothing, self.power)
        needed = (self.distance, self.confidence_raw, self.confidence, self.right)
        return (
            all(np.asarray(x).dtype.kind in "fiub" for x in (*numbers, *needed))
            and all(np.ndim(number) == 0 and np.isfinite(number) for number in numbers)
            and all(np.ndim(x) == 1 and np.isfinite(x).all() for x in needed)
            and len({np.shape(x) for x in (*needed, self.agreement)}) == 1
            and np.asarray(self.agreement).dtype.kind == "f"
        )


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
            Whether to judge cells that were labelled by cells of other batches only, as those of a
            new batch are; where that is not possible, it is the same as for known batches.
        raw
            Whether to judge the shares of the votes, before calibration.

        Returns
        -------
        The error with all genes; no cell is judged by numbers that were fitted to it.
        """
        setting = self.of_batches(new_batch=new_batch)[0]
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
        setting = self.of_batches(new_batch=new_batch)[0]
        confidence = setting.confidence_raw if raw else setting.confidence
        return reliability(confidence, setting.right)

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
        """Make a calibration of what :meth:`to_arrays` returned, also out of a file.

        Raises
        ------
        ValueError
            If numbers are missing, or arrays do not fit each other.
        """
        saved = (arrays["settings"][str(i)] for i in range(len(arrays["settings"])))
        settings = tuple(Setting(**setting) for setting in saved)
        if not any(setting.is_whole() for setting in settings if not setting.new_batch):
            raise ValueError("there is no calibration for known batches")
        if not all(setting.is_whole() for setting in settings):
            raise ValueError("arrays of a calibration do not fit each other, or are no numbers")
        return cls(bool(arrays["held_out"]), settings, float(arrays["share_compared"]))

    def of_batches(self, *, new_batch: bool) -> list[Setting]:
        """Return the settings of one kind of batch, from all genes down.

        Parameters
        ----------
        new_batch
            Whether to return those of new batches, where there are any.
        """
        new_batch = new_batch and self.new_batches
        return [setting for setting in self.settings if setting.new_batch == new_batch]

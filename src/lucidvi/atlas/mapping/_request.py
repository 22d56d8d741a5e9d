"""How a query is to be mapped."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import scvi

from lucidvi.atlas.mapping._place import POSTERIORS
from lucidvi.checks import check_choice, check_share
from lucidvi.results import Calibration


@dataclass(frozen=True)
class Request:
    """Arguments of :meth:`lucidvi.atlas.Reference.map`, which says what they mean."""

    batch_key: str | None = None
    layer: str | None = None
    gene_key: str | None = None
    novelty_rate: float = 0.05
    min_confidence: float = 0.8
    posterior: str = "refined"

    def check(self, calibration: Calibration | None) -> None:
        """Raise DataError for what cannot be, and warn of a rate that is never reached."""
        check_choice("posterior", self.posterior, POSTERIORS)
        check_share("novelty_rate", self.novelty_rate)
        check_share("min_confidence", self.min_confidence)
        least = 1.0 if calibration is None else 1 / (1 + calibration.n_cells)
        if calibration is not None and 0 < self.novelty_rate < least:
            warnings.warn(
                f"No cell can be called unknown at novelty_rate={self.novelty_rate:g}: of the "
                f"{calibration.n_cells} cells that the reference is calibrated by, the least "
                f"p-value is {least:.2g}.",
                UserWarning,
                stacklevel=scvi.settings.warnings_stacklevel,
            )

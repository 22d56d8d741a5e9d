"""How a query is to be mapped."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import scvi

from lucidvi.atlas.calibration._calibration import Calibration
from lucidvi.atlas.mapping._place import POSTERIORS
from lucidvi.checks import check_choice
from lucidvi.errors import DataError


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
        for name in ("novelty_rate", "min_confidence"):
            rate: Any = getattr(self, name)
            if not isinstance(rate, float | int | np.number) or not 0 <= rate <= 1:
                default = getattr(Request, name)
                raise DataError(
                    f"`{name}` is {rate!r}.",
                    remedy=f"pass a share from 0 to 1, reference.map(query, {name}={default}).",
                )
        least = 1.0 if calibration is None else 1 / (1 + calibration.n_cells)
        if calibration is not None and 0 < self.novelty_rate < least:
            warnings.warn(
                f"No cell can be called unknown at novelty_rate={self.novelty_rate:g}: of the "
                f"{calibration.n_cells} cells that the reference is calibrated by, the least "
                f"p-value is {least:.2g}.",
                UserWarning,
                stacklevel=scvi.settings.warnings_stacklevel,
            )

"""How often a checkpoint is written."""

from __future__ import annotations

import datetime
import re
import time
from dataclasses import dataclass, field
from typing import Any, Self

import pandas as pd

from lucidvi.errors import DataError

#: A duration as text says its unit; of a bare number pandas makes nanoseconds.
HAS_UNIT = re.compile(r"[a-zA-Z]|\d:\d")


@dataclass
class Every:
    """Durations, or numbers of updates, between two checkpoints.

    Parameters
    ----------
    seconds, steps
        One of the two.
    """

    seconds: float | None = None
    steps: int | None = None
    _time: float = field(default_factory=time.monotonic)
    _step: int = 0

    @classmethod
    def of(cls, value: Any) -> Self:
        """Read the argument ``checkpoint_every``.

        Parameters
        ----------
        value
            A duration as text (``"10min"``) or as a timedelta, or a number of updates.

        Raises
        ------
        lucidvi.errors.DataError
            If it is neither, or not above zero.
        """
        if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
            return cls(steps=value)
        if isinstance(value, datetime.timedelta) or (
            isinstance(value, str) and HAS_UNIT.search(value)
        ):
            try:
                seconds = pd.Timedelta(value).total_seconds()
            except ValueError:
                seconds = 0.0
            if seconds > 0:
                return cls(seconds=seconds)
        raise DataError(
            f"`checkpoint_every` is {value!r}; it must be a duration with its unit, such as "
            '"10min", "30s" or "2h", or a number of updates, 1 or more.',
            remedy='model.train(checkpoint_every="10min", checkpoint_dir="run1")',
        )

    def is_due(self, n_steps: int) -> bool:
        """Whether it is time for the next checkpoint.

        Parameters
        ----------
        n_steps
            Number of updates done.
        """
        if self.steps is not None:
            return n_steps - self._step >= self.steps
        return time.monotonic() - self._time >= (self.seconds or 0)

    def restart(self, n_steps: int) -> None:
        """Count from now on."""
        self._time, self._step = time.monotonic(), n_steps

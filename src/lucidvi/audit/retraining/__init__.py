"""Whether trainings with other seeds would say the same."""

from lucidvi.audit.retraining._across_runs import Run, across_runs
from lucidvi.audit.retraining._stability import stability

__all__ = ["Run", "across_runs", "stability"]

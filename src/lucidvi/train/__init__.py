"""Training: Lightning plan, schedules, and what happens when it goes wrong."""

from lucidvi.train._plan import TrainingPlan
from lucidvi.train._runner import TrainRunner
from lucidvi.train._schedules import linear_warmup

__all__ = ["TrainRunner", "TrainingPlan", "linear_warmup"]

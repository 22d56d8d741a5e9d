"""Training: Lightning plan, presets, schedules, and what happens when it goes wrong."""

from lucidvi.train._plan import TrainingPlan
from lucidvi.train._presets import PRESETS, Preset, plan_arguments
from lucidvi.train._runner import TrainRunner
from lucidvi.train._schedules import LR_SCHEDULES, linear_warmup

__all__ = [
    "LR_SCHEDULES",
    "PRESETS",
    "Preset",
    "TrainRunner",
    "TrainingPlan",
    "linear_warmup",
    "plan_arguments",
]

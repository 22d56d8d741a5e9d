"""Training: objectives, practices, the Lightning plan, its runner, and presets."""

from lucidvi.train._kinetics import SplicedCells, fit_kinetics
from lucidvi.train._presets import PRESETS, Preset, plan_arguments, preset_for
from lucidvi.train.checkpoints._checkpointing import Checkpointing
from lucidvi.train.objectives import (
    ELBO,
    OBJECTIVES,
    FreeBits,
    ImportanceWeighted,
    Objective,
    SemiAmortized,
    Step,
)
from lucidvi.train.plan._cyclical import KL_SCHEDULES, Cyclical
from lucidvi.train.plan._plan import TrainingPlan
from lucidvi.train.plan._schedules import LR_SCHEDULES, linear_warmup
from lucidvi.train.practices import (
    PRACTICES,
    AlignAxes,
    CollapseWarning,
    EncoderFirst,
    MeanNorm,
    Practice,
    StartFromData,
    StartFromFactors,
    Training,
    practice_options,
)
from lucidvi.train.runner._process import process_put_back
from lucidvi.train.runner._quiet import quiet_lightning, say_which
from lucidvi.train.runner._runner import TrainRunner

__all__ = [
    "ELBO",
    "KL_SCHEDULES",
    "LR_SCHEDULES",
    "OBJECTIVES",
    "PRACTICES",
    "PRESETS",
    "AlignAxes",
    "Checkpointing",
    "CollapseWarning",
    "Cyclical",
    "EncoderFirst",
    "FreeBits",
    "ImportanceWeighted",
    "MeanNorm",
    "Objective",
    "Practice",
    "Preset",
    "SemiAmortized",
    "SplicedCells",
    "StartFromData",
    "StartFromFactors",
    "Step",
    "TrainRunner",
    "Training",
    "TrainingPlan",
    "fit_kinetics",
    "linear_warmup",
    "plan_arguments",
    "practice_options",
    "preset_for",
    "process_put_back",
    "quiet_lightning",
    "say_which",
]

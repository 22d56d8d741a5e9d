"""Ways to train: what ``SCVI.train`` takes where its arguments leave it open."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lucidvi._compat import get_max_epochs_heuristic


@dataclass(frozen=True)
class Preset:
    """Defaults of a training.

    Parameters
    ----------
    max_epochs
        Number of epochs by the number of cells.
    batch_size
        Cells a minibatch.
    plan
        Arguments of the training plan.
    """

    max_epochs: Callable[[int], int]
    batch_size: int
    plan: dict[str, Any]


def lucid_max_epochs(n_cells: int) -> int:
    """Epochs of ``"lucid"``: fewer, the more cells there are, as each is many updates.

    Parameters
    ----------
    n_cells
        Number of cells.

    Returns
    -------
    ``LUCID_EPOCHS``, but for small and large data as many as make ``LUCID_STEPS`` updates with
    minibatches of 128 cells; at least two.
    """
    fewest, most = LUCID_STEPS
    n_steps = min(max(LUCID_EPOCHS * n_cells / 128, fewest), most)
    return max(2, math.ceil(n_steps / math.ceil(n_cells / 128)))


#: Epochs of ``"lucid"`` between the bounds, and fewest and most updates.
LUCID_EPOCHS = 20
LUCID_STEPS = (300, 4_000)

#: The values of ``preset``.
PRESETS = {
    # Chosen for the held-out likelihood per second on real data, with benchmarks/presets.py.
    "lucid": Preset(
        lucid_max_epochs,
        batch_size=128,
        plan={
            "lr": 3e-2,
            "betas": (0.8, 0.9),
            "lr_schedule": "one_cycle",
            "kl_warmup": 0.3,
            "start_from_data": True,
            "start_from_factors": True,
        },
    ),
    # What scvi-tools does, its schedule over 400 epochs included.
    "scvi": Preset(get_max_epochs_heuristic, batch_size=128, plan={"n_epochs_kl_warmup": 400}),
}


def plan_arguments(preset: Preset, arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of a plan: a user's, then those of a preset that go with them.

    Parameters
    ----------
    preset
        Supplies what a user leaves open.
    arguments
        Arguments from a user, by name.
    """
    defaults = dict(preset.plan)
    if arguments.get("reduce_lr_on_plateau") or arguments.get("optimizer") == "Custom":
        defaults.pop("lr_schedule", None)  # the rate is then somebody else's business
    if {"n_epochs_kl_warmup", "n_steps_kl_warmup", "kl_warmup"} & set(arguments):
        defaults.pop("kl_warmup", None)
        defaults.pop("n_epochs_kl_warmup", None)
    if "kl_schedule" in arguments:
        defaults.pop("n_epochs_kl_warmup", None)
    return {**defaults, **arguments}

"""Ways to train: what ``SCVI.train`` takes where its arguments leave it open."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
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


def lucid_max_epochs(n_cells: int, n_epochs: int, most: int) -> int:
    """Epochs of ``"lucid"``: fewer, the more cells there are, as each is many updates.

    Parameters
    ----------
    n_cells
        Number of cells.
    n_epochs
        Epochs between the bounds.
    most
        Updates at most.

    Returns
    -------
    `n_epochs`, but for small data as many as make ``LUCID_STEPS`` updates with minibatches of 128
    cells, and for large data `most`; at least two.
    """
    n_steps = min(max(n_epochs * n_cells / 128, LUCID_STEPS), most)
    return max(2, math.ceil(n_steps / math.ceil(n_cells / 128)))


#: Fewest updates of ``"lucid"``, and cells from which on it is short.
LUCID_STEPS = 300
LUCID_MANY = 2_500

# Chosen for the held-out likelihood per second on real data, with benchmarks/presets.py.
SHORT = Preset(
    partial(lucid_max_epochs, n_epochs=20, most=4_000),
    batch_size=128,
    plan={
        "lr": 3e-2,
        "betas": (0.8, 0.9),
        "lr_schedule": "one_cycle",
        "kl_warmup": 0.3,
        "start_from_data": True,
        "start_from_factors": True,
    },
)
LONG = Preset(
    partial(lucid_max_epochs, n_epochs=40, most=8_000),
    batch_size=128,
    plan={"lr": 2e-2, "lr_schedule": "one_cycle", "kl_warmup": 0.3, "start_from_data": True},
)
# Of several modalities each has networks of its own, and each subset of them a posterior.
SEVERAL = Preset(
    partial(lucid_max_epochs, n_epochs=100, most=12_000),
    batch_size=128,
    plan=LONG.plan,
)
# Of fewer counts than the decoder has weights for, most of a longer training learns by heart.
SPARSE_SEVERAL = Preset(
    partial(lucid_max_epochs, n_epochs=45, most=12_000),
    batch_size=128,
    plan=LONG.plan,
)
#: Counts a weight of the decoder of a modality below which a training of several is that one.
FEW_COUNTS = 1.0
# What scvi-tools does, its schedule over 400 epochs included.
SCVI_TOOLS = Preset(get_max_epochs_heuristic, batch_size=128, plan={"n_epochs_kl_warmup": 400})


def lucid(
    n_cells: int | None,
    n_batches: int,
    n_modalities: int = 1,
    counts_per_weight: float = math.inf,
) -> Preset:
    """Say how ``"lucid"`` trains: short, unless cells are few or batches are to be mixed.

    A few hundred cells are soon known by heart, and batches mix late in a training. Several
    modalities take longest, unless the counts of one are few.

    Parameters
    ----------
    n_cells
        Number of cells, if known.
    n_batches
        Number of batches.
    n_modalities
        Number of modalities.
    counts_per_weight
        Counts of the modality that has fewest, for each weight that decodes its features.
    """
    if n_modalities > 1:
        return SPARSE_SEVERAL if counts_per_weight < FEW_COUNTS else SEVERAL
    is_small = n_cells is not None and n_cells < LUCID_MANY
    return LONG if is_small or n_batches > 1 else SHORT


def scvi_tools(n_cells: int | None, n_batches: int, *_: Any) -> Preset:
    """Say how ``"scvi"`` trains: as scvi-tools does."""
    return SCVI_TOOLS


#: The values of ``preset``, each by the numbers of cells, batches and modalities, and by how many
#: counts there are.
PRESETS: dict[str, Callable[..., Preset]] = {"lucid": lucid, "scvi": scvi_tools}


def preset_for(module: Any, name: str, n_cells: int | None) -> Preset:
    """Return a preset as it is for a module.

    Parameters
    ----------
    module
        The module, or None of a model whose module is made when it is trained.
    name
        Key of :data:`PRESETS`.
    n_cells
        Number of cells, if known.
    """
    n_modalities = len(getattr(module, "modalities", {0: None}))
    counts = getattr(module, "counts_per_weight", math.inf)
    return PRESETS[name](n_cells, getattr(module, "n_batch", 1), n_modalities, counts)


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

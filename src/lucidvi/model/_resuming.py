"""What a training is of, so that it goes on from checkpoints of itself alone."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from typing import Any

from lucidvi.data import CheckedAnnDataManager
from lucidvi.errors import DataError
from lucidvi.files import named_functions
from lucidvi.train import Checkpointing, TrainingPlan
from lucidvi.train.checkpoints._fit import WITHOUT_EFFECT, described, versions


def checkpointing_of(
    model: Any,
    every: Any,
    folder: str | PathLike[str] | None,
    resume_from: str | PathLike[str] | None,
    datamodule: Any,
    arguments: Mapping[str, Any],
) -> Checkpointing | None:
    """Return the checkpoints of a training, the one from which it goes on found, if it has any.

    Parameters
    ----------
    model
        The model, which is not changed.
    every, folder, resume_from, datamodule
        Arguments of ``train``.
    arguments
        The others by name, with what the preset says.
    """
    if every is None and folder is None and resume_from is None:
        return None
    for name, path in (("checkpoint_dir", folder), ("resume_from", resume_from)):
        if not isinstance(path, str | PathLike | None):
            raise DataError(f"`{name}` is {path!r}, no path.", remedy=f'{name}="run1"')
    check_can_resume(model, datamodule, arguments)
    checkpointing = Checkpointing(every, folder, resume_from)
    checkpointing.find(signature(model, arguments))
    return checkpointing


def check_can_resume(model: Any, datamodule: Any, arguments: Mapping[str, Any]) -> None:
    """Raise :class:`DataError` for a training of which no checkpoint can be written.

    Parameters
    ----------
    model
        The model.
    datamodule
        Where its cells come from, if not from an AnnData.
    arguments
        The other arguments of the training by name.
    """
    manager = getattr(model, "_adata_manager", None)
    if datamodule is not None or not isinstance(manager, CheckedAnnDataManager):
        raise DataError(
            "A training writes checkpoints of an AnnData alone: the order in which a `datamodule` "
            "gives cells cannot be gone on with.",
            remedy="leave out `checkpoint_every`, `checkpoint_dir` and `resume_from`.",
        )
    if not issubclass(model._training_plan_cls, TrainingPlan):
        raise DataError(
            f"A {model._training_plan_cls.__name__} does not say what it keeps between two steps, "
            "so that no checkpoint of it can be written.",
            remedy="derive the training plan from `lucidvi.train.TrainingPlan`.",
        )
    if arguments.get("ckpt_path") is not None:
        raise DataError(
            f"`ckpt_path` is {arguments['ckpt_path']!r}, a checkpoint of Lightning, beside "
            "LucidVI's own.",
            remedy="leave one of the two out.",
        )


def signature(model: Any, arguments: Mapping[str, Any]) -> dict[str, str]:
    """Return what a training is of, as text by the names that an error has for it.

    Parameters
    ----------
    model
        The model.
    arguments
        Arguments of the training by name, with what its preset says.
    """
    arguments = {**arguments.get("trainer_config", {}), **arguments}
    arguments.pop("trainer_config", None)
    manager = model.adata_manager
    parts: dict[str, Any] = {"the model": type(model)}
    given = model.init_params_["non_kwargs"], *model.init_params_["kwargs"].values()
    for some in given:
        parts |= {f"the model's `{name}`": named_functions(it) for name, it in some.items()}
    setup = manager.registry.get("setup_args") or {}
    parts |= {f"the setup's `{name}`": value for name, value in setup.items()}
    parts["the number of cells"] = manager.adata.n_obs
    parts |= {f"`{place}`": values for place, values in manager.checked_values().items()}
    parts |= {f"`{name}`": it for name, it in arguments.items() if name not in WITHOUT_EFFECT}
    texts = (pair for name, value in parts.items() for pair in described(name, value))
    return {**versions(), **dict(texts)}

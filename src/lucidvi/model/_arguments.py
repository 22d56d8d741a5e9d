"""Arguments that do not exist: said at once, with the one that was meant or the place it has.

scvi-tools hands what it does not know through five layers to somebody else's class, whose name
then stands in the error.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Mapping
from numbers import Integral, Real
from typing import Any

import scvi.nn

from lucidvi._compat import merge_kwargs
from lucidvi._kinds import check_kinds
from lucidvi._kinds import shown as in_a_line
from lucidvi.checks import check_arguments
from lucidvi.data import check_sizes
from lucidvi.errors import ArgumentError, DataError
from lucidvi.nn import ENCODERS, Decoder, Encoder
from lucidvi.train import TrainingPlan, practice_options

#: What other packages, or older versions of scvi-tools, call an argument.
SYNONYMS = {
    "epochs": "max_epochs",
    "n_epochs": "max_epochs",
    "num_epochs": "max_epochs",
    "learning_rate": "lr",
    "wd": "weight_decay",
    "gpus": "devices",
    "frequency": "check_val_every_n_epoch",
    "test_size": "validation_size",
    "beta": "max_kl_weight",
    "latent_dim": "n_latent",
    "hidden_dim": "n_hidden",
    "likelihood": "gene_likelihood",
    "loss": "objective",
}
#: What no argument sets.
OTHER_WAYS = {
    "use_gpu": 'model.train(accelerator="gpu")',
    "use_cuda": 'model.train(accelerator="gpu")',
    "seed": "scvi.settings.seed = 0 before the model is made.",
    "random_state": "scvi.settings.seed = 0 before the model is made.",
    "verbose": "`enable_progress_bar=False`, or a level of messages, `scvi.settings.verbosity`.",
    "n_samples": 'plan_kwargs={"objective": lucidvi.train.ImportanceWeighted(n_samples=5)}',
}
#: What ``train`` hands to the splitter itself.
FROM_TRAIN = (
    "adata_manager",
    "train_size",
    "validation_size",
    "batch_size",
    "shuffle_set_split",
    "load_sparse_tensor",
    "distributed_sampler",
)
#: Packages whose classes pass on the arguments that they do not name.
PASS_ON = ("lucidvi", "scvi", "torch")


def keywords(function: Callable[..., Any]) -> set[str]:
    """Names of the arguments of a function."""
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    parameters = inspect.signature(function).parameters.values()
    return {p.name for p in parameters if p.kind in kinds} - {"self", "cls"}


def keywords_of(cls: type) -> set[str] | None:
    """Names of the arguments that a class takes; None if it takes any, as a user's own may."""
    names: set[str] = set()
    for base in cls.__mro__:
        if "__init__" not in vars(base) or base is object:
            continue
        init = vars(base)["__init__"]
        names |= keywords(init)
        passes_on = any(
            p.kind is inspect.Parameter.VAR_KEYWORD
            for p in inspect.signature(init).parameters.values()
        )
        if not passes_on:
            return names
        if base.__module__.startswith("lightning"):
            return names
        if base.__module__.partition(".")[0] not in PASS_ON:
            return None
    return names


def accepted_by_plan(model: Any) -> set[str] | None:
    """Names of the arguments of a model's training plan, which hands some to the loss."""
    names = keywords_of(model._training_plan_cls)
    if names is None:
        return None
    module = getattr(model, "module", None) or model._module_cls
    of_loss = keywords(module.loss) - {"tensors", "inference_outputs", "generative_outputs"}
    of_practices = practice_options() if issubclass(model._training_plan_cls, TrainingPlan) else {}
    return (names | of_loss | of_practices.keys()) - {"module"}


def accepted_by_splitter(model: Any) -> set[str] | None:
    """Names of the arguments of ``datasplitter_kwargs``, some of which go on to the loader."""
    cls = model._data_splitter_cls
    splitter, loader = keywords_of(cls), keywords_of(cls.data_loader_cls)
    if splitter is None or loader is None:
        return None
    unset = {"indices", "shuffle", "cells", "device", "dataset", *FROM_TRAIN}
    return (splitter | loader) - unset


def accepted_by_trainer(model: Any) -> set[str] | None:
    """Names of the arguments that ``train`` hands to the trainer."""
    trainer = getattr(model._train_runner_cls, "_trainer_cls", None)
    names = None if trainer is None else keywords_of(trainer)
    return None if names is None else names | {"ckpt_path"}


def places(model: Any) -> dict[str, tuple[set[str] | None, str]]:
    """Return accepted names by the places of a training's arguments, and code that sets one."""
    trainer = accepted_by_trainer(model)
    train = None if trainer is None else trainer | keywords(type(model).train)
    in_plan = 'model.train(plan_kwargs={{"{0}": {1}}})'
    in_splitter = 'model.train(datasplitter_kwargs={{"{0}": {1}}})'
    return {
        "model.train()": (train, "model.train({0}={1})"),
        "`plan_kwargs`": (accepted_by_plan(model), in_plan),
        "`datasplitter_kwargs`": (accepted_by_splitter(model), in_splitter),
    }


def remedies(
    arguments: Mapping[str, Any], here: set[str], others: list[tuple[set[str] | None, str]]
) -> dict[str, str]:
    """Remedies for names that are meant for another place, or go by another name."""
    texts = {}
    for name, value in arguments.items():
        canonical = SYNONYMS.get(name, name)
        if canonical in here:
            texts[name] = f"did you mean {canonical!r}?"
            continue
        for names, code in others:
            if canonical in (names or ()):
                texts[name] = code.format(canonical, shown(value))
                break
        else:
            if name in OTHER_WAYS:
                texts[name] = OTHER_WAYS[name]
    return texts


def shown(value: Any) -> str:
    """Return a value as code, if that is short."""
    simple = isinstance(value, str | bool | int | float | None)
    return repr(value) if simple else "..."


def check_training(
    model: Any,
    trainer_kwargs: Mapping[str, Any],
    plan_kwargs: Mapping[str, Any],
    datasplitter_kwargs: Mapping[str, Any],
) -> None:
    """Raise for arguments that a training does not take.

    Parameters
    ----------
    model
        The model.
    trainer_kwargs, plan_kwargs, datasplitter_kwargs
        Arguments by name.

    Raises
    ------
    lucidvi.errors.ArgumentError
        Names the argument, and the nearest one or the place that it has.
    """
    table = places(model)
    name = type(model).__name__
    elsewhere = [
        (keywords(type(model).__init__), f"{name}(adata, {{0}}={{1}})"),
        (keywords_of(model._module_cls), f"{name}(adata, {{0}}={{1}})"),
        (keywords(type(model).setup_anndata), f"{name}.setup_anndata(adata, {{0}}={{1}})"),
    ]
    of_places = (trainer_kwargs, plan_kwargs, datasplitter_kwargs)
    for (place, (here, _)), arguments in zip(table.items(), of_places, strict=True):
        if here is not None:
            others = [entry for other, entry in table.items() if other != place]
            others += elsewhere
            check_arguments(place, arguments, here, remedies(arguments, here, others))


def check_constructor(model: Any, arguments: dict[str, Any]) -> None:
    """Raise for arguments that neither a model nor its module takes.

    Parameters
    ----------
    model
        The model, of which nothing but its classes is there yet.
    arguments
        Arguments that the signature of the constructor does not name, by name.

    Raises
    ------
    lucidvi.errors.ArgumentError
        Names the argument, and the nearest one or the place that it has: arguments of
        ``setup_anndata`` are often meant for the model and vice versa.
    """
    name, from_the_data = type(model).__name__, set(model._from_the_data)
    of_module = keywords_of(model._module_cls)
    if of_module is None:
        return
    here = (of_module - from_the_data) | keywords(type(model).__init__)
    of_setup = (keywords(type(model).setup_anndata), f"{name}.setup_anndata(adata, {{0}}={{1}})")
    others = [of_setup, *places(model).values()]
    elsewhere = remedies(arguments, here, others)
    for argument in set(arguments) & from_the_data:
        elsewhere[argument] = "leave it out: it follows from the data."
    check_arguments(f"{name}()", arguments, here, elsewhere)


def check_networks(arguments: dict[str, Any]) -> None:
    """Raise for arguments of the networks of :class:`lucidvi.module.VAE` that do not exist.

    Parameters
    ----------
    arguments
        Arguments of the module by name.

    Raises
    ------
    lucidvi.errors.ArgumentError
        Names the argument, and the nearest one.
    """
    layers = keywords_of(scvi.nn.FCLayers) or set()
    as_mapping("prior_kwargs", arguments.get("prior_kwargs"))
    posterior = arguments.get("posterior", "diagonal")
    networks = {"extra_encoder_kwargs": Encoder, "extra_decoder_kwargs": Decoder}
    if isinstance(posterior, str) and posterior in ENCODERS:
        networks["posterior_kwargs"] = ENCODERS[posterior]
    for argument, network in networks.items():
        names = (keywords_of(network) or set()) | layers
        names = names - {"n_in", "n_out", "n_input", "n_output"}
        check_arguments(f"`{argument}`", as_mapping(argument, arguments.get(argument)), names)


def check_plan(plan: type, arguments: Mapping[str, Any]) -> None:
    """Raise for arguments of a training plan of another kind than it, or a base, says.

    Parameters
    ----------
    plan
        The class.
    arguments
        Arguments by name, a value each.
    """
    for cls in plan.__mro__:
        if "__init__" in vars(cls) and cls is not object:
            check_kinds(inspect.signature(vars(cls)["__init__"]), arguments, bounded=False)


def as_mapping(name: str, value: Any) -> dict[str, Any]:
    """Return a dictionary of arguments, or of a ``config`` of scvi-tools."""
    try:
        return merge_kwargs(None, value, name=name)
    except TypeError as error:
        raise ArgumentError(
            f"`{name}` is {value!r}, a {type(value).__name__}; it must be a dictionary of "
            "arguments by name.",
            remedy=f'{name}={{"name": value}}',
        ) from error


def check_values(
    max_epochs: Any, batch_size: Any, train_size: Any, validation_size: Any, lr: Any
) -> None:
    """Raise :class:`DataError` for numbers that no training can have."""
    rules = {
        "max_epochs": (max_epochs, Integral, lambda n: n >= 1 or n == -1, "1 or more", "40"),
        "batch_size": (batch_size, Integral, lambda n: n >= 1, "1 or more", "128"),
        "lr": (lr, Real, lambda x: 0 <= x < math.inf, "a finite number from 0 on", "1e-3"),
    }
    for name, (value, kind, holds, what, example) in rules.items():
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, kind) or not holds(value):
            whole = "a whole number, " if kind is Integral else ""
            call = f"plan_kwargs={{'lr': {example}}}" if name == "lr" else f"{name}={example}"
            raise DataError(
                f"`{name}` is {value!r}; it must be {whole}{what}.", remedy=f"model.train({call})"
            )
    check_sizes(train_size, validation_size)


def check_whence(accelerator: Any, devices: Any, datamodule: Any) -> None:
    """Raise :class:`DataError` for what is no list of devices, or no source of minibatches."""
    is_number = isinstance(devices, int) and not isinstance(devices, bool)
    is_text = isinstance(devices, str) and re.fullmatch(r"auto|-?\d+(,\d+)*,?", devices)
    if not is_number and not is_text and (accelerator == "cpu" or not isinstance(devices, list)):
        raise DataError(
            f"`devices` is {in_a_line(devices)}; it must be a number, 'auto', or a "
            "list of the numbers of GPUs.",
            remedy='devices="auto"',
        )
    if datamodule is not None and not hasattr(datamodule, "train_dataloader"):
        raise DataError(
            f"`datamodule` is {in_a_line(datamodule)}, which has no minibatches to train with.",
            remedy="leave it out, or give a LightningDataModule.",
        )

"""How a model was made and trained, as code, and how to make it again with some of it changed."""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from anndata import AnnData

from lucidvi.data import is_joined, is_on_disk
from lucidvi.model import MODELS
from lucidvi.train import preset_for

#: Where classes of models are imported from.
PUBLIC = ("lucidvi.model", "scvi.model")
#: Arguments of saved models that scvi-tools leaves out when it makes them again, or that a model
#: gets by what is done to it later.
OUTDATED = ("unlabeled_category", "pretrained_model", "use_cuda", "datamodule", "registry")
NOT_AT_FIRST = ("rotated",)


def preset_of(history: Mapping[str, Any]) -> str:
    """Recognise scvi-tools' training by its KL weight, which rises over 400 epochs."""
    if "kl_weight" not in history:
        return "lucid"
    first = float(np.ravel(history["kl_weight"])[0])
    return "scvi" if first <= 1.5 / SCVI_WARMUP else "lucid"


def init_arguments(model: Any) -> dict[str, Any]:
    """Return the arguments that a model was made with, by name."""
    return {name: value for name, (value, _) in _init_places(model).items()}


def _init_places(model: Any) -> dict[str, tuple[Any, str]]:
    """Return the value of each argument of the constructor, and where it is found."""
    shown, others = (model.init_params_[part] for part in ("non_kwargs", "kwargs"))
    groups = {"model.init_params_['non_kwargs']": shown} | {
        f"model.init_params_['kwargs'][{name!r}]": group for name, group in others.items()
    }
    return {
        name: (value, f"{place}[{name!r}]")
        for place, group in groups.items()
        for name, value in group.items()
        if name not in OUTDATED
    }


@dataclass(frozen=True)
class Making:
    """How a model was made and trained.

    Parameters
    ----------
    class_name, imported
        Name of its class, and the line of code that imports it; by default of the first of
        :data:`lucidvi.model.MODELS`.
    setup, init, train
        Arguments of ``setup_anndata``, of the constructor and of ``train`` that are not the
        defaults.
    defaults
        Defaults of the constructor.
    init_takes, setup_takes
        Names of the arguments that the constructor and ``setup_anndata`` take; None for any.
    default_epochs, n_epochs
        Epochs of a training by default, and those that the model had, 0 if not known.
    is_linear
        Whether its decoder is linear; its encoder then knows no covariates.
    is_lucid
        Whether its training takes what LucidVI's does.
    can_refine, can_turn
        Whether it refines posteriors, and can turn its latent space to canonical axes.
    is_backed
        Whether its counts are in a file.
    is_joined, main
        Whether its cells were joined of several modalities, and the name of the main one.
    """

    class_name: str = field(default_factory=lambda: next(iter(MODELS)))
    imported: str = field(default_factory=lambda: _import_of(_first_model()))
    setup: Mapping[str, Any] = field(default_factory=dict)
    init: Mapping[str, Any] = field(default_factory=dict)
    train: Mapping[str, Any] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=lambda: _defaults(_first_model().__init__))
    init_takes: tuple[str, ...] | None = None
    setup_takes: tuple[str, ...] = ("batch_key", "categorical_covariate_keys", "size_factor_key")
    default_epochs: int = 40
    n_epochs: int = 0
    is_linear: bool = False
    is_lucid: bool = True
    can_refine: bool = True
    can_turn: bool = True
    is_backed: bool = False
    is_joined: bool = False
    main: str = "rna"

    @classmethod
    def of(cls, model: Any, adata: AnnData) -> Making:
        """Read, from a model and the cells that it is looked at with, how it was made."""
        kind = type(model)
        registry = model.registry_
        setup = getattr(kind, registry.get("setup_method_name", "setup_anndata"))
        defaults = _defaults(kind.__init__)
        plan = inspect.signature(model._training_plan_cls.__init__).parameters
        is_lucid = "free_bits" in plan
        history = getattr(model, "history_", None) or {}
        n_epochs = next((len(history[key]) for key in EPOCHS if key in history), 0)
        n_cells = adata.n_obs if model.adata is None else model.adata.n_obs
        trained = getattr(model, "_trained_with", {})
        preset = "scvi"
        if is_lucid:
            preset = trained.get("preset") or getattr(model, "preset_", None) or preset_of(history)
        default_epochs = preset_for(model.module, preset, n_cells).max_epochs(n_cells)
        init = {
            name: _written(value, place)
            for name, (value, place) in _init_places(model).items()
            if name not in NOT_AT_FIRST
        }
        arguments = {
            name: _written(value, f"model.registry_['setup_args'][{name!r}]")
            for name, value in registry["setup_args"].items()
        }
        # By then `model` is another one, so what has no text is left out.
        train = {name: _written(value, None) for name, value in trained.items()}
        train |= {"preset": preset} if is_lucid else {}
        if n_epochs > default_epochs:
            train["max_epochs"] = n_epochs
        return cls(
            class_name=kind.__name__,
            imported=_import_of(kind),
            setup=_unusual(arguments, _defaults(setup)),
            init=_unusual(init, defaults),
            train=_unusual(train, _defaults(kind.train)),
            defaults=defaults,
            init_takes=_taken(kind.__init__),
            setup_takes=tuple(inspect.signature(setup).parameters),
            default_epochs=default_epochs,
            n_epochs=n_epochs,
            is_linear=hasattr(getattr(model.module, "decoder", None), "factor_regressor"),
            is_lucid=is_lucid,
            can_refine=hasattr(model, "refine_posterior"),
            can_turn=hasattr(model, "canonicalize")
            and hasattr(model.module, "rotation")
            and getattr(model.module, "is_rotation_invariant", False)
            and model.minified_data_type is None,
            is_backed=is_on_disk(adata),
            is_joined=is_joined(adata),
            main=next(iter(getattr(model.module, "modalities", {"rna": None}))),
        )

    def argument(self, name: str, otherwise: Any = None) -> Any:
        """Return the value of an argument of the constructor."""
        return self.init.get(name, self.defaults.get(name, otherwise))

    @property
    def epochs(self) -> int:
        """Epochs of its training, or of one by default if those are more or not known."""
        return max(self.n_epochs, self.default_epochs)

    @property
    def nonlinear(self) -> Making:
        """The same as scvi-tools' model of the plainest kind, whose decoder is not linear."""
        name = next(iter(MODELS))
        return replace(
            self,
            class_name=name,
            imported=f"from {PUBLIC[-1]} import {name}",
            init={name: self.argument(name) for name in SHARED if name in self.defaults},
            init_takes=None,
            is_linear=False,
        )


#: Arguments that models with a linear decoder and others have in common.
SHARED = (
    "n_hidden",
    "n_latent",
    "n_layers",
    "dropout_rate",
    "dispersion",
    "gene_likelihood",
    "use_observed_lib_size",
    "latent_distribution",
)
#: Epochs of scvi-tools' KL warm-up, by which its preset is recognised.
SCVI_WARMUP = 400
#: Columns of a history that have a row an epoch.
EPOCHS = ("elbo_train", "train_loss_epoch", "kl_weight")


@dataclass(frozen=True)
class Remake:
    """A model made again with some of its arguments changed.

    Parameters
    ----------
    making
        How it was made.
    comment
        Why, lines for a reader.
    imports
        Lines that make further names known.
    before
        Lines of code that come before the model.
    setup, init, train
        What is changed; None takes an argument away.
    after
        Lines of code that come last.
    """

    making: Making
    comment: tuple[str, ...]
    imports: tuple[str, ...] = ()
    before: tuple[str, ...] = ()
    setup: Mapping[str, Any] = field(default_factory=dict)
    init: Mapping[str, Any] = field(default_factory=dict)
    train: Mapping[str, Any] = field(default_factory=dict)
    after: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The code."""
        made, name = self.making, self.making.class_name
        setup, init, train = (
            {k: v for k, v in {**of_model, **changed}.items() if v is not None}
            for of_model, changed in (
                (made.setup, self.setup),
                (made.init, self.init),
                (made.train, self.train),
            )
        )
        lines = [
            *self.imports,
            made.imported,
            "",
            *(f"# {line}" for line in self.comment),
            *self.before,
            f"{name}.setup_anndata({_call(['adata'], setup)})",
            f"model = {name}({_call(['adata'], init)})",
            f"model.train({_call([], train)})",
            *self.after,
        ]
        return "\n".join(lines)

    def agrees_with(self, other: Remake) -> bool:
        """Whether both can be done in one: they change nothing to different values."""
        pairs = ((self.setup, other.setup), (self.init, other.init), (self.train, other.train))
        return self.making == other.making and all(
            one[name] == two[name] for one, two in pairs for name in one.keys() & two.keys()
        )

    def joined(self, other: Remake) -> Remake:
        """Return both in one."""
        lines = {
            name: getattr(self, name)
            + tuple(line for line in getattr(other, name) if line not in getattr(self, name))
            for name in ("comment", "imports", "before", "after")
        }
        return replace(
            self,
            **lines,
            setup={**self.setup, **other.setup},
            init={**self.init, **other.init},
            train={**self.train, **other.train},
        )


def _first_model() -> Any:
    return next(iter(MODELS.values()))


def _import_of(kind: type) -> str:
    for name in PUBLIC:
        if getattr(importlib.import_module(name), kind.__name__, None) is kind:
            return f"from {name} import {kind.__name__}"
    return f"{kind.__name__} = type(model)"


def _defaults(function: Any) -> dict[str, Any]:
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty}


def _taken(function: Any) -> tuple[str, ...] | None:
    """Return the names of the arguments that a function takes; None where it takes any."""
    parameters = inspect.signature(function).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return None
    return tuple(parameter.name for parameter in parameters)


def _unusual(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what is the default, or nothing."""
    return {
        name: value
        for name, value in values.items()
        if value is not None and not _equal(value, defaults.get(name)) and not _is_empty(value)
    }


def _is_empty(value: Any) -> bool:
    return isinstance(value, list | tuple | dict) and not value


def _equal(one: Any, two: Any) -> bool:
    return type(one) is type(two) and bool(np.all(one == two))


class Place(str):
    """Where a value that has no text of its own is found, such as a function."""

    def __repr__(self) -> str:
        return str(self)


def _call(first: list[str], arguments: Mapping[str, Any]) -> str:
    """Return arguments as they are written in a call."""
    return ", ".join([*first, *(f"{name}={value!r}" for name, value in arguments.items())])


def _written(value: Any, place: str | None) -> Any:
    """Return a value whose text is code: itself, or its place; None without either."""
    value = _plain(value)
    if isinstance(value, dict) and place is None:
        written = {key: _written(item, None) for key, item in value.items()}
        return {key: item for key, item in written.items() if item is not None}
    try:
        if ast.literal_eval(repr(value)) == value:
            return value
    except (ValueError, SyntaxError):
        pass
    return None if place is None else Place(place)


def _plain(value: Any) -> Any:
    """Return a value without numpy's types."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, list | tuple):
        return type(value)(_plain(item) for item in value)
    if isinstance(value, dict):
        return {_plain(key): _plain(item) for key, item in value.items()}
    return value

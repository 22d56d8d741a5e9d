"""What a model can do, so that nobody has to ask which class it is of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from lucidvi.checks import check_choice
from lucidvi.errors import DataError, ModelTypeError
from lucidvi.model._base import LucidModel
from lucidvi.model._models import MODELS, as_lucid_model, convertible


@dataclass(frozen=True)
class Capability:
    """Something that a model may be able to do.

    Parameters
    ----------
    has
        Says whether a model, whose module is made, is able to.
    lacks
        Says what a model that is not able to has instead: the end of a sentence about it.
    remedy
        What to do where a model lacks it.
    """

    has: Callable[[LucidModel], bool]
    lacks: Callable[[LucidModel], str]
    remedy: str


def modalities_of(model: LucidModel) -> Mapping[str, Any]:
    """Return what is observed of the cells of a model, see :class:`lucidvi.module.Modality`."""
    module: Any = model.module
    return module.modalities


def _counts(model: LucidModel) -> bool:
    return any(m.likelihood.is_counts for m in modalities_of(model).values())


def _likelihoods(model: LucidModel) -> str:
    listed = ", ".join(
        f"{m.likelihood.family!r} of {key!r}" for key, m in modalities_of(model).items()
    )
    return f"has the likelihood {listed}, which is no distribution of counts"


def _has_free_states(model: LucidModel) -> bool:
    module: Any = model.module
    states = torch.linspace(-1, 1, int(module.n_latent), device=module.device)[None]
    return bool(torch.equal(module.representation(states), states))


def _was_set_up_with(argument: str) -> Callable[[LucidModel], bool]:
    return lambda model: model.registry["setup_args"].get(argument) is not None


#: What a model may be able to do, by name; answered by its modalities and its registry.
CAPABILITIES: dict[str, Capability] = {
    "counts": Capability(
        _counts,
        _likelihoods,
        "train one whose likelihood is of counts, such as `gene_likelihood='nb'`, on the counts.",
    ),
    "labels": Capability(
        _was_set_up_with("labels_key"),
        lambda model: "was set up without labels",
        "set the data up with `labels_key=...`, a column of `adata.obs`, and train anew.",
    ),
    "several modalities": Capability(
        lambda model: len(modalities_of(model)) > 1,
        lambda model: f"has one modality, {next(iter(modalities_of(model)))!r}",
        "train a model of several modalities.",
    ),
    "states that can move": Capability(
        _has_free_states,
        lambda model: "has states that are shares, which sum to one, so that a field leads out",
        "train one with `latent_distribution='normal'`.",
    ),
    "velocity": Capability(
        lambda model: hasattr(model.module, "kinetics"),
        lambda model: "knows nothing of unspliced molecules",
        "train a model of spliced and unspliced counts.",
    ),
    "time": Capability(
        _was_set_up_with("time_key"),
        lambda model: "was set up without times",
        "train a model whose `setup_anndata` takes a `time_key`.",
    ),
}


def has_capability(model: LucidModel, capability: str) -> bool:
    """Return whether a model is able to do something.

    Parameters
    ----------
    model
        A model of LucidVI whose module is made.
    capability
        A key of :data:`CAPABILITIES`.
    """
    check_choice("capability", capability, CAPABILITIES)
    return CAPABILITIES[capability].has(model)


def capable(model: Any, *capabilities: str) -> Any:
    """Return a trained model of LucidVI that is able to do what is asked of it.

    Parameters
    ----------
    model
        A model of LucidVI, of any class derived from :class:`LucidModel`; or one of scvi-tools, of
        which one of LucidVI is made.
    *capabilities
        Keys of :data:`CAPABILITIES`.

    Raises
    ------
    lucidvi.errors.ModelTypeError
        If it is another kind of model, or lacks a capability, which is named.
    lucidvi.errors.DataError
        If it is not trained.
    """
    model = as_lucid_model(model)
    if not isinstance(model, LucidModel):
        raise ModelTypeError(
            f"`model` is a {type(model).__module__}.{type(model).__name__}.",
            remedy=f"pass a trained model of LucidVI ({', '.join(MODELS)}), or of scvi-tools "
            f"({', '.join(convertible())}).",
        )
    if not model.is_trained_:
        raise DataError(
            "`model` has not been trained, so its latent states mean nothing.",
            remedy="call `model.train()`.",
        )
    for capability in capabilities:
        if not has_capability(model, capability):
            row = CAPABILITIES[capability]
            name = type(model).__name__
            raise ModelTypeError(
                f"`model`, a {name}, has no {capability!r}: it {row.lacks(model)}.",
                remedy=row.remedy,
            )
    return model

"""Arguments of a query that do not exist, also of those that it hands to something else.

scvi-tools hands what a method does not name to a loader, to the module or to another method, in
whose error the name of the method that was called does not appear.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from lucidvi._kinds import check_kinds
from lucidvi.checks import check_arguments
from lucidvi.model._arguments import keywords, keywords_of

#: Says which arguments a method hands on, by the model and the other arguments of the call; None
#: if they are not known.
Recipient = Callable[[Any, Mapping[str, Any]], set[str] | None]

#: Names that other methods, or other packages, use for an argument of a query.
SYNONYMS = {
    "cells": "indices",
    "genes": "gene_list",
    "gene_list": "genes",
    "indices": "subset_idx",
    "n_draws": "n_samples",
    "seed": "n_samples",
    "show_progress": "silent",
}


def to_function(function: Callable[..., Any], *taken: str) -> Recipient:
    """Hand arguments on to a function.

    Parameters
    ----------
    function
        The function.
    *taken
        Arguments of it that the method sets itself.
    """
    return lambda model, arguments: keywords(function) - set(taken)


def to_loader(model: Any, arguments: Mapping[str, Any]) -> set[str] | None:
    """Hand arguments on to the loader of minibatches."""
    of_loader = keywords_of(model._data_loader_cls)
    if of_loader is None or "data_loader_class" in arguments:
        return None
    taken = {"adata_manager", "dataset", "cells", "device", "description", "slow_steps"}
    return (of_loader | keywords(type(model)._make_data_loader)) - taken - {"adata"}


def to_module(model: Any, arguments: Mapping[str, Any]) -> set[str] | None:
    """Hand arguments on to the module's ``forward``."""
    return keywords(type(model.module).forward) - {"tensors", "get_inference_input_kwargs"}


def bind(
    signature: inspect.Signature,
    name: str,
    recipient: Recipient | None,
    model: Any,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> inspect.BoundArguments:
    """Return the arguments of a call by name.

    Parameters
    ----------
    signature
        Signature of the method.
    name
        Name of the method.
    recipient
        What further arguments are handed to; None if that is not known.
    model, args, kwargs
        The call.

    Raises
    ------
    lucidvi.errors.ArgumentError
        If an argument does not exist; the nearest ones are named.
    """
    kinds = {parameter.kind: key for key, parameter in signature.parameters.items()}
    named = set(signature.parameters) - {"self", kinds.get(inspect.Parameter.VAR_KEYWORD)}
    further = set(kwargs) - named
    if further:
        passes_on = inspect.Parameter.VAR_KEYWORD in kinds
        accepted: set[str] | None = set()
        if passes_on:
            accepted = None if recipient is None else recipient(model, kwargs)
        if accepted is not None:
            every = accepted | named
            remedies = {
                key: f"did you mean {SYNONYMS[key]!r}?"
                for key in further
                if SYNONYMS.get(key) in every
            }
            check_arguments(f"`{name}`", sorted(further), every, remedies)
    bound = signature.bind(model, *args, **kwargs)
    check_kinds(signature, bound.arguments, exact=False)
    for key, value in bound.arguments.items():
        if isinstance(value, np.integer):  # which loaders and shapes of torch do not all take
            bound.arguments[key] = int(value)
    return bound

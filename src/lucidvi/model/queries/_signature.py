"""Signatures of scvi-tools, with arguments of LucidVI's added."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any

from lucidvi._kinds import check_kinds


def like(method: Callable[..., Any], **additions: Any) -> Callable[..., Any]:
    """Give a method the signature of one of scvi-tools, and keywords of its own; a decorator.

    Parameters
    ----------
    method
        Method of scvi-tools, whose arguments the decorated one gets by name.
    **additions
        Defaults of the additional keywords, which the decorated method gets by name, too.
    """
    signature = with_keywords(inspect.signature(method), additions)

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        own = inspect.signature(function)

        @wraps(function)
        def called(self: Any, *args: Any, **kwargs: Any) -> Any:
            arguments = by_name(signature, self, args, kwargs)
            check_kinds(own, arguments)  # scvi-tools takes more than its annotations say
            return function(self, **(additions | arguments))

        called.__signature__ = signature  # type: ignore[attr-defined]
        return called

    return decorate


def with_keywords(signature: inspect.Signature, additions: dict[str, Any]) -> inspect.Signature:
    """Return a signature with further keywords, which have defaults."""
    keywords = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default)
        for name, default in additions.items()
    ]
    parameters = list(signature.parameters.values())
    end = len(parameters) - (parameters[-1].kind is inspect.Parameter.VAR_KEYWORD)
    return signature.replace(parameters=[*parameters[:end], *keywords, *parameters[end:]])


def by_name(
    signature: inspect.Signature, model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> dict[str, Any]:
    """Return the arguments of a call by name, without the model."""
    arguments = dict(signature.bind(model, *args, **kwargs).arguments)
    arguments.pop("self")
    for name, parameter in signature.parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            arguments |= arguments.pop(name, {})
    return arguments

"""Whether arguments are of the kinds that a signature says: numbers, texts, yes or no."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Hashable, Iterable, Mapping, Sized
from functools import wraps
from numbers import Integral
from typing import Any, ParamSpec, TypeVar

from lucidvi.checks import check_arguments, check_share, is_number
from lucidvi.errors import DataError

Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")
#: Types of values whose text says which type they are of.
PLAIN = (str, float, int, list, tuple, dict, set, type(None))
#: What numbers are less than, in any type that they become.
MOST = 2.0**63
#: Largest whole number that anything is a number of.
LARGEST = 2**31 - 1
#: How names of numbers begin of which there is at least one, where no default says so.
NUMBERS_OF = ("n_", "num_", "batch_size")
#: Shares that something is left out with, of which 1 would leave nothing.
RATES = ("dropout_rate", "modality_dropout")


def _is_truth(value: Any) -> bool:
    is_bool = type(value).__name__ in ("bool", "bool_")  # Python's, and NumPy's by both names
    return is_bool or (type(value) is int and value in (0, 1))


def _is_whole(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _is_name(value: Any) -> bool:
    """Whether a value may be a name, as any category is, or None, which others judge."""
    is_one = not isinstance(value, Sized | Iterable) and isinstance(value, Hashable)
    return isinstance(value, str) or is_one


#: How an annotation calls a kind: what is of it, and how to say so.
KINDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "bool": (_is_truth, "True or False"),
    "int": (_is_whole, "a whole number"),
    "float": (lambda value: is_number(value) and abs(value) < MOST, "a finite number, below 9e18"),
    "str": (_is_name, "one name"),
    "Literal": (lambda value: isinstance(value, str | None), "a text"),
    "None": (lambda value: value is None, "None"),
}


def check_kinds(
    signature: inspect.Signature,
    arguments: Mapping[str, Any],
    *,
    bounded: bool = True,
    exact: bool = True,
) -> None:
    """Raise :class:`DataError` for an argument of another kind than its annotation says.

    Parameters
    ----------
    signature
        Signature of a function. Annotations other than of numbers, texts, truth and None are
        passed over.
    arguments
        Arguments of a call by name.
    bounded
        Whether whole numbers are such that something is a number of: at least one, or none where
        that is the default.
    exact
        Whether None, and several names, are refused where an annotation does not allow them;
        methods of scvi-tools take more than their annotations say.
    """
    for name, value in arguments.items():
        parameter = signature.parameters.get(name)
        if parameter is None or value is parameter.default:
            continue
        kinds = _kinds_of(parameter)
        if kinds is None or (not exact and (value is None or set(kinds) <= {"str", "None"})):
            continue
        if not any(KINDS[kind][0](value) for kind in kinds):
            wanted = " or ".join(KINDS[kind][1] for kind in kinds)
            raise DataError(
                f"`{name}` is {shown(value)}; it must be {wanted}.",
                remedy=f"{name}={_example(parameter, kinds)}",
            )
        if bounded and "int" in kinds and _is_whole(value):
            _check_bounds(name, int(value), parameter)
        if name in RATES and (value == 1 or not 0 <= value <= 1):
            check_share(name, value, between=True)


def checked(function: Callable[Arguments, Answer]) -> Callable[Arguments, Answer]:
    """Check names and kinds of arguments before a function is called; a decorator."""
    signature = inspect.signature(function)
    name = f"`{function.__name__}`"

    @wraps(function)
    def call(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Answer:
        check_arguments(name, kwargs, set(signature.parameters) - {"self", "cls"})
        check_kinds(signature, signature.bind_partial(*args, **kwargs).arguments)
        return function(*args, **kwargs)

    return call


def shown(value: Any) -> str:
    """Return a value in one line of at most eighty characters, with its type if it is no text."""
    text = " ".join(repr(value).split())
    text = text if len(text) <= 60 else f"{text[:57]}..."
    return text if isinstance(value, PLAIN) else f"{text}, a {type(value).__name__}"


def _kinds_of(parameter: inspect.Parameter) -> list[str] | None:
    """Return the kinds that an annotation, or else the default, allows; None if others too."""
    annotation = parameter.annotation
    if annotation is parameter.empty:
        annotation = type(parameter.default)
    text = annotation.__name__ if isinstance(annotation, type) else str(annotation)
    text = re.sub(r"(typing\.)?Literal\[[^]]*\]", "Literal", text)
    kinds = text.replace("Optional[", "None | ").replace("]", "").split(" | ")
    return kinds if all(kind in KINDS for kind in kinds) else None


def _check_bounds(name: str, value: int, parameter: inspect.Parameter) -> None:
    default = parameter.default
    if _is_whole(default) and default >= 0:
        least = min(int(default), 1)
    elif name.startswith(NUMBERS_OF):
        least = 1
    else:
        return
    if not least <= value <= LARGEST:
        raise DataError(
            f"`{name}` is {shown(value)}; it must be from {least} to {LARGEST:,}.",
            remedy=f"{name}={_example(parameter, ['int'])}",
        )


def _example(parameter: inspect.Parameter, kinds: list[str]) -> str:
    if parameter.default is not parameter.empty:
        return repr(parameter.default)
    return {"bool": "True", "int": "1", "float": "1.0", "str": '"name"'}.get(kinds[0], "None")

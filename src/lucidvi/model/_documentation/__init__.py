"""What ``help`` says of a model's methods, those of scvi-tools too.

A text is kept apart from the code that it describes, since most of that code is scvi-tools'. What
a docstring of LucidVI's own says of differences and errors is kept.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from functools import wraps
from inspect import cleandoc, signature
from typing import Any

from lucidvi.model._documentation._additions import ADDITIONS
from lucidvi.model._documentation._comparisons import COMPARISONS
from lucidvi.model._documentation._data import DATA
from lucidvi.model._documentation._expression import EXPRESSION
from lucidvi.model._documentation._latent import LATENT
from lucidvi.model._documentation._queries import QUERIES
from lucidvi.model._documentation._text import CELLS, Addition, Text, parameter

#: Texts of methods, by name.
TEXTS: Mapping[str, Text] = {**LATENT, **EXPRESSION, **COMPARISONS, **QUERIES, **DATA}
#: Paragraphs of a docstring that a text does not replace, and sections.
KEPT = ("Differs from scvi-tools:",)
KEPT_SECTIONS = ("Raises", "Warns")
#: Parameters that a docstring describes by those of another method.
ELSEWHERE = re.compile(
    r"^(?P<names>\*{0,2}\w+(?:, \*{0,2}\w+)*)\n    The cells, see :meth:`get_elbo`\.$",
    re.MULTILINE,
)


def documented(cls: type) -> type:
    """Give each method of a model its docstring; a decorator.

    Parameters
    ----------
    cls
        Class of models. Methods that are scvi-tools' alone are wrapped and otherwise the same,
        with ``documents`` for the original. Those of a base that was documented stay as they are.
    """
    for name in (*TEXTS, *ADDITIONS):
        owner = next((base for base in cls.__mro__ if name in vars(base)), None)
        if owner is None:
            continue
        member = vars(owner)[name]
        if getattr(getattr(member, "__func__", member), "is_documented", False):
            continue
        if owner.__module__.partition(".")[0] == "scvi":
            member = _passing_on(cls, name, member)
            setattr(cls, name, member)
        function = getattr(member, "__func__", member)
        names = list(signature(function).parameters)
        function.__doc__ = docstring(name, function.__doc__ or "", names)
        function.__module__ = cls.__module__  # whose text it is
        function.is_documented = True
    return cls


def described(function: Callable[..., Any]) -> Callable[..., Any]:
    """Keep the docstring of a method, which is another one than that of the texts; a decorator."""
    function.is_documented = True  # type: ignore[attr-defined]
    return function


def docstring(name: str, before: str, parameters: Collection[str] | None = None) -> str:
    """Return the docstring of a method.

    Parameters
    ----------
    name
        Name of the method.
    before
        The docstring that stands in the code, possibly that of scvi-tools.
    parameters
        Names of those that the method has, which are fewer in older versions of scvi-tools; by
        default all that there is a text of.
    """
    before = cleandoc(before)
    if name in TEXTS:
        kept = [part for part in before.split("\n\n") if part.startswith(KEPT)]
        sections = {title: body for title, body in _sections(before) if title in KEPT_SECTIONS}
        return TEXTS[name].render(kept, sections, parameters)
    return _with(ADDITIONS[name], ELSEWHERE.sub(_spelled_out, before))


def _passing_on(cls: type, name: str, member: Any) -> Any:
    """Return a method that does what the next class says, with a docstring of its own."""
    kind = type(member) if isinstance(member, classmethod | staticmethod) else None
    function: Callable[..., Any] = getattr(member, "__func__", member)
    if kind is staticmethod:

        @wraps(function)
        def passing_on(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

    else:

        @wraps(function)
        def passing_on(self: Any, *args: Any, **kwargs: Any) -> Any:
            return getattr(super(cls, self), name)(*args, **kwargs)

    passing_on.documents = member  # type: ignore[attr-defined]
    return passing_on if kind is None else kind(passing_on)


def _sections(text: str) -> list[tuple[str, str]]:
    """Return titles and bodies of the sections of a numpy docstring."""
    parts = re.split(r"^(\w[\w ]*)\n-{3,}\n", text, flags=re.MULTILINE)
    return list(zip(parts[1::2], (body.strip("\n") for body in parts[2::2]), strict=True))


def _spelled_out(match: re.Match[str]) -> str:
    names = match["names"].split(", ")
    return "\n".join(parameter(name, CELLS[name.strip("*")]) for name in names)


def _with(addition: Addition, text: str) -> str:
    """Return a docstring with an example, and what it returns if it does not say."""
    titles = [title for title, _ in _sections(text)]
    if addition.returns and "Returns" not in titles:
        section = f"Returns\n-------\n{addition.returns}\n\n"
        at = text.find("Raises\n------")
        text = f"{text}\n\n{section}" if at < 0 else text[:at] + section + text[at:]
    example = f"Examples\n--------\n{cleandoc(addition.example)}"
    at = text.find("References\n----------")
    if at < 0:
        return f"{text.strip()}\n\n{example}\n"
    return f"{text[:at]}{example}\n\n{text[at:]}"

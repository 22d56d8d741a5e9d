"""What an object holds, in a few lines: names and sizes in place of thousands of numbers."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

import numpy as np

#: Columns of a line; values of a collection, and letters of a text, that are shown in full.
WIDTH, N_VALUES, N_LETTERS = 88, 4, 60
#: Columns of a list, of which the rest is left out.
N_LISTED = 3 * WIDTH


def outline(value: Any) -> str:
    """Return a value, or what kind and size it is of."""
    if isinstance(value, np.ndarray):
        return f"<{value.dtype}, shape {value.shape}>"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, str):
        return repr(textwrap.shorten(value, N_LETTERS, placeholder=" ..."))
    if isinstance(value, Mapping):
        if len(value) > N_VALUES:
            return f"<{len(value):,} by name>"
        return "{" + ", ".join(f"{name!r}: {outline(v)}" for name, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        if len(value) > N_VALUES:
            return f"<{len(value):,} values>"
        return "(" + ", ".join(map(outline, value)) + ")"
    return repr(value)


def wrapped(text: str, first: str = "", then: str = "    ") -> str:
    """Return a text in lines that a terminal has room for."""
    return textwrap.fill(
        text,
        WIDTH,
        initial_indent=first,
        subsequent_indent=then,
        break_long_words=False,
        break_on_hyphens=False,
    )


def listed(name: str, items: list[str]) -> str:
    """Return a list in some lines, cut off where it is long; nothing of none."""
    if not items:
        return ""
    text = textwrap.shorten(", ".join(items), N_LISTED, placeholder=" ...")
    return wrapped(f"{name}: {text}", "    ", "        ")

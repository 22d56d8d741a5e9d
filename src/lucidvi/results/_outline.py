"""Lists of what an object holds, in a few lines."""

from __future__ import annotations

import textwrap

#: Columns of a line, and of a list, of which the rest is left out.
WIDTH, N_LISTED = 88, 264


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

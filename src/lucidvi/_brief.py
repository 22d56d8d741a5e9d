"""What a result shows of itself: what it holds in a few lines, and not all its numbers."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

import numpy as np

#: Letters of a line, and of a value that is shown whole.
WIDTH, WHOLE = 88, 40
#: Most lines.
N_LINES = 8


def brief(self: Any, *headline: str) -> str:
    """Return a ``repr`` of a dataclass that may hold arrays.

    Parameters
    ----------
    self
        Instance of a dataclass.
    *headline
        What it is, such as ``"300 cells"``; comes first, before its single numbers and texts.

    Returns
    -------
    At most eight lines: the single values, the mean of what is one number a cell, and the shapes
    of the rest.
    """
    single, means, shapes = list(headline), [], []
    for name, value in _values(self):
        shape = getattr(value, "shape", None)
        if shape is None or shape == ():
            single.append(f"{name}={_short(value)}")
        elif len(shape) == 1 and shape[0] and (mean := _mean(value)) is not None:
            means.append(f"{name} {mean:.4g}")
        else:
            shapes.append(f"{name} ({', '.join(f'{size:,}' for size in shape)})")
    paragraphs = [f"{type(self).__name__}({', '.join(single)})"]
    paragraphs += [f"  means: {', '.join(means)}"] if means else []
    paragraphs += [f"  arrays: {', '.join(shapes)}"] if shapes else []
    lines = [
        line
        for paragraph in paragraphs
        for line in textwrap.wrap(paragraph, WIDTH, subsequent_indent="    ", drop_whitespace=True)
    ]
    return "\n".join(lines if len(lines) <= N_LINES else [*lines[: N_LINES - 1], "    ..."])


def _values(self: Any) -> Iterator[tuple[str, Any]]:
    for field in fields(self):
        if field.repr:
            yield field.name, getattr(self, field.name)


def _mean(value: Any) -> float | None:
    """Mean of the finite values of a vector of numbers; None of anything else."""
    array = np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)
    if array.dtype.kind not in "buif":
        return None
    finite = array[np.isfinite(array)]
    return float(finite.mean(dtype=np.float64)) if finite.size else np.nan


def _short(value: Any) -> str:
    """Return a value that is no array: whole if it is short, else its type and size."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if not isinstance(value, str | bytes | int | bool | type(None)):
        size = f" of {len(value):,}" if isinstance(value, Mapping | list | tuple) else ""
        text = repr(value) if _is_plain(value) else ""
        return text if 0 < len(text) <= WHOLE else f"<{type(value).__name__}{size}>"
    text = repr(value)
    return text if len(text) <= WHOLE else f"{text[: WHOLE - 3]}..."


def _is_plain(value: Any) -> bool:
    """Whether a value's own ``repr`` is sure to be short to make."""
    return isinstance(value, tuple | list) and all(
        isinstance(item, str | int | float | bool | type(None)) for item in value
    )

"""What a command prints besides its result: errors, warnings, and how far it is."""

from __future__ import annotations

import os
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from lucidvi.errors import LucidVIError

#: Where a line of code says that the counts are, by what the option is then called.
PLACES = (
    (re.compile(r"\.raw\b|layer=\"raw\""), "raw"),
    (re.compile(r" = \w+\.layers\[\"(?P<name>[^\"]+)\"\]$|layer=\"(?P<layer>[^\"]+)\""), None),
    (re.compile(r" = \w+\.X$|^(?:reference\.map|SCVI\.setup_anndata)\(\w+\)$"), "X"),
)


@contextmanager
def errors_end_it() -> Iterator[None]:
    """Print an error that LucidVI raised on purpose, and end the command with exit code 2."""
    from lucidvi.errors import LucidVIError

    try:
        yield
    except LucidVIError as error:
        typer.echo(f"Error: {error.problem}\nRemedy: {remedy_of(error)}", err=True)
        raise typer.Exit(2) from None


def remedy_of(error: LucidVIError) -> str:
    """Return the remedy of an error, in options of a command where counts are elsewhere."""
    options = [option for option in map(_option, error.code) if option]
    if not options:
        return error.remedy
    return f"The counts are elsewhere: {' or '.join(dict.fromkeys(options))}."


def _option(code: str) -> str:
    """Return the option that reads counts where a line of code takes them from."""
    for pattern, place in PLACES:
        match = pattern.search(code)
        if match and "is_count_data" not in code:
            name = place or match["name"] or match["layer"]
            return (
                f"--layer {name if re.fullmatch(r'[-.+=@%/:,0-9A-Za-z_]+', name) else repr(name)}"
            )
    return ""


@contextmanager
def at_work() -> Iterator[None]:
    """Show progress where someone watches, and warnings without the lines of code they rose in.

    Progress bars go to where errors go, so that what is printed can be piped; where that is no
    terminal there are none.
    """

    def show(message: Warning | str, category: type[Warning], *_: object) -> None:
        if issubclass(category, UserWarning):  # the others are about code
            typer.echo(f"Warning: {message}", err=True)

    with open(os.devnull, "w") as nowhere, warnings.catch_warnings():
        warnings.showwarning = show  # type: ignore[assignment]
        with redirect_stdout(sys.stderr if sys.stderr.isatty() else nowhere):
            yield

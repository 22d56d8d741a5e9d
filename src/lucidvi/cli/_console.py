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

#: Names that a shell takes as they are.
PLAIN = re.compile(r"[-.+=@%/:,0-9A-Za-z_]+")


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
    if not error.counts_in:
        return error.remedy
    names = (name if PLAIN.fullmatch(name) else repr(name) for name in error.counts_in)
    return f"The counts are elsewhere: {' or '.join(f'--layer {name}' for name in names)}."


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

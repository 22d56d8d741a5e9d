"""The command ``lucidvi``: one file a command."""

from __future__ import annotations

from typing import Annotated

import typer

from lucidvi import __version__
from lucidvi.cli import _reference
from lucidvi.cli._audit import audit
from lucidvi.cli._demo import demo
from lucidvi.cli._train import train

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
    help="Fast, tight and inspectable variational autoencoders for single-cell omics.",
)
app.command()(demo)
app.command()(train)
app.command()(audit)
app.add_typer(_reference.app, name="reference")


def _print_version(is_wanted: bool) -> None:
    if is_wanted:
        typer.echo(f"lucidvi {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show it.")
    ] = False,
) -> None: ...


def main() -> None:
    """Run the command line interface."""
    app()

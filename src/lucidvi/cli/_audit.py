"""``lucidvi audit``: whether a model can be trusted."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from lucidvi.cli._console import at_work, errors_end_it
from lucidvi.cli._files import check_is_file, check_is_model, load_model, read_cells


def audit(
    model_dir: Annotated[Path, typer.Argument(help="Folder of a saved model.")],
    data: Annotated[Path, typer.Argument(help="Cells with the model's genes, as .h5ad or .h5mu.")],
    html: Annotated[Path | None, typer.Option(help="Page to write, with figures.")] = None,
    json: Annotated[Path | None, typer.Option(help="File for all numbers.")] = None,
    batch_key: Annotated[
        str | None, typer.Option(help="Column of obs, if not the model's.")
    ] = None,
    labels_key: Annotated[
        str | None, typer.Option(help="Column of obs, if not the model's.")
    ] = None,
    layer: Annotated[
        str | None, typer.Option(help="Where the counts are, if not the model's: a layer, raw, X.")
    ] = None,
    max_cells: Annotated[int, typer.Option(min=2, help="Most cells to look at.")] = 5000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything random.")] = 0,
    trust: Annotated[
        bool, typer.Option("--trust", help="Let scvi-tools read models, which runs their files.")
    ] = False,
) -> None:
    """Tell whether a model can be trusted, and what to do if not.

    The model is a folder that `save` of LucidVI or of scvi-tools wrote; nothing in it is run.
    Models that LucidVI does not read itself, such as those of other classes, are read by
    scvi-tools, which runs what a file may hold, so only with --trust. Exit code: 0 for ok and
    warn, 1 for fail, 2 for an error.
    """
    with errors_end_it():
        from lucidvi.checks import check_suffix

        check_is_file(data)
        check_is_model(model_dir)
        for path, suffix in ((html, ".html"), (json, ".json")):
            if path is not None:
                check_suffix(path, suffix)  # now, not after minutes
        from lucidvi.audit import run

        with at_work():
            cells = read_cells(data)
            model = load_model(
                model_dir, cells, "audited", layer, read_by_scvi_tools=True, trust=trust
            )
            report = run(
                model, seed=seed, batch_key=batch_key, labels_key=labels_key, max_cells=max_cells
            )
        Console().print(report, crop=False)
        for path, write in ((html, report.to_html), (json, report.to_json)):
            if path is not None:
                write(path)
                typer.echo(f"Written  {path}")
    raise typer.Exit(report.verdict == "fail")

"""The command ``lucidvi``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from lucidvi import __version__

if TYPE_CHECKING:
    from anndata import AnnData
    from scvi.model.base import BaseModelClass

#: Models of scvi-tools that LucidVI has no reader of its own for.
RUN_BY_SCVI = ("LinearSCVI", "SCANVI")

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
    help="Fast, tight and inspectable variational autoencoders for single-cell omics.",
)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"lucidvi {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show it.")
    ] = False,
) -> None: ...


@app.command()
def demo(
    output: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("lucidvi-demo"),
    max_epochs: Annotated[
        int | None, typer.Option(min=1, help="Passes over the data; chosen by default.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
) -> None:
    """Train a first model on 700 real blood cells and look at what it found."""
    # Imported here: `lucidvi --help` should not wait for torch.
    from lucidvi.demo import run_demo

    console = Console()
    console.print("Training SCVI on 700 PBMC (10x Genomics, ten known cell types) ...")
    result = run_demo(output, max_epochs=max_epochs, seed=seed)

    table = Table(title="SCVI on PBMC", title_justify="left", show_header=False)
    table.add_row("Cells x genes", f"{result.n_cells} x {result.n_genes}")
    table.add_row("Training time", f"{result.seconds:.1f} s ({result.n_epochs} epochs)")
    table.add_row("ELBO, held-out cells", f"{result.elbo:.1f} nats a cell (higher is better)")
    table.add_row("Clusters against cell types", f"ARI {result.ari:.2f}, NMI {result.nmi:.2f}")
    console.print(table)
    console.print(f"Look at  {result.figure}", soft_wrap=True)
    console.print(f'Cells    {result.adata}  (latent space in obsm["X_scVI"])', soft_wrap=True)
    console.print(f"Model    {result.model}  (SCVI.load)", soft_wrap=True)
    console.print(
        "Next: the same on your own cells, five lines of Python: tutorials/first_model.md"
    )


@app.command()
def audit(
    model_dir: Annotated[Path, typer.Argument(help="Folder of a saved model.")],
    data: Annotated[Path, typer.Argument(help="Cells with the model's genes, as .h5ad.")],
    html: Annotated[Path | None, typer.Option(help="Page to write, with figures.")] = None,
    json: Annotated[Path | None, typer.Option(help="File for all numbers.")] = None,
    batch_key: Annotated[
        str | None, typer.Option(help="Column of obs, if not the model's.")
    ] = None,
    labels_key: Annotated[
        str | None, typer.Option(help="Column of obs, if not the model's.")
    ] = None,
    max_cells: Annotated[int, typer.Option(min=2, help="Most cells to look at.")] = 5000,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    trust: Annotated[
        bool, typer.Option("--trust", help="Read LinearSCVI and SCANVI, which runs their files.")
    ] = False,
) -> None:
    """Tell whether a model can be trusted, and what to do if not.

    The model is a folder that SCVI.save of LucidVI or of scvi-tools wrote; nothing in it is run.
    LinearSCVI and SCANVI are read by scvi-tools, which runs what a file may hold, so only with
    --trust. Exit code: 0 for ok and warn, 1 for fail, 2 for an error.
    """
    from lucidvi.audit import run
    from lucidvi.audit._report import check_suffix
    from lucidvi.errors import LucidVIError

    try:
        for path, suffix in ((html, ".html"), (json, ".json")):
            if path is not None:
                check_suffix(path, suffix)  # now, not after minutes
        model = _load(model_dir, _read_cells(data), trust)
        report = run(
            model, seed=seed, batch_key=batch_key, labels_key=labels_key, max_cells=max_cells
        )
        Console().print(report, crop=False)
        for path, write in ((html, report.to_html), (json, report.to_json)):
            if path is not None:
                write(path)
                typer.echo(f"Written  {path}")
    except LucidVIError as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(2) from None
    raise typer.Exit(report.verdict == "fail")


def _read_cells(path: Path) -> AnnData:
    """Read an .h5ad file; raise if that is none."""
    from anndata import read_h5ad

    from lucidvi.errors import FileError

    if not path.is_file():
        raise FileError(f"There is no file {path}.", remedy="Give the path of an .h5ad file.")
    try:
        return read_h5ad(path)
    except Exception as error:  # anndata and HDF5 raise many kinds for a file that is another's
        remedy = "Write one with `adata.write_h5ad(path)`."
        raise FileError(f"{path} is no .h5ad file.", remedy=remedy) from error


def _load(folder: Path, adata: AnnData, trust: bool) -> BaseModelClass:
    """Load a model with these cells; raise if it is another or of other cells."""
    import scvi

    from lucidvi.errors import DataError, FileError, LucidVIError, ModelTypeError
    from lucidvi.model import SCVI

    if not folder.is_dir():
        raise FileError(f"There is no folder {folder}.", remedy="Give one that `save` wrote.")
    name = SCVI.load_registry(str(folder))["model_name"]
    if name in RUN_BY_SCVI and not trust:
        raise ModelTypeError(
            f"{folder} holds a {name}, which scvi-tools reads by running what its files hold.",
            remedy="Give --trust if you know who made them.",
        )
    if name not in ("SCVI", *RUN_BY_SCVI):
        raise ModelTypeError(
            f"{folder} holds a {name}, which cannot be audited.",
            remedy="Give a SCVI, LinearSCVI or SCANVI.",
        )
    loader = SCVI if name == "SCVI" else getattr(scvi.model, name)
    try:
        return loader.load(str(folder), adata=adata)
    except LucidVIError:
        raise
    except ValueError as error:  # of scvi-tools, such as for batches that the model lacks
        remedy = "Give the cells that the model was trained on, or others of the same batches."
        raise DataError(f"The cells do not suit the model: {error}", remedy=remedy) from error


def main() -> None:
    """Run the command line interface."""
    app()

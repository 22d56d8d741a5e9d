"""``lucidvi demo``: a first model on real cells."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from lucidvi.cli._console import errors_end_it


def demo(
    output: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("lucidvi-demo"),
    max_epochs: Annotated[
        int | None, typer.Option(min=1, help="Passes over the data; chosen by default.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything random.")] = 0,
) -> None:
    """Train a first model on 700 real blood cells and look at what it found."""
    # Imported here: `lucidvi --help` should not wait for torch.
    from lucidvi.demo import run_demo

    console = Console()
    console.print("Training SCVI on 700 PBMC (10x Genomics, ten known cell types) ...")
    with errors_end_it():
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

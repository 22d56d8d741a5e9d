"""``lucidvi reference``: make a reference of a model, and map cells onto it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from lucidvi.cli import _choices
from lucidvi.cli._console import at_work, errors_end_it
from lucidvi.cli._files import (
    check_is_file,
    check_is_model,
    check_output,
    is_x,
    load_model,
    opened_cells,
    read_cells,
    with_counts_of,
    write_cells,
)

if TYPE_CHECKING:
    from anndata import AnnData

app = typer.Typer(
    no_args_is_help=True, help="Make a reference of a trained model, and map cells onto it."
)
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]


@app.command()
def build(
    model_dir: Annotated[Path, typer.Argument(help="Folder of a saved model.")],
    data: Annotated[Path, typer.Argument(help="The cells it was trained on, as .h5ad or .h5mu.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write.")],
    labels_key: Annotated[str, typer.Option(help="Column of obs with the labels.")] = "cell_type",
    layer: Annotated[
        str | None, typer.Option(help="Where the counts are, if not the model's: a layer, raw, X.")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Make a reference of a trained model and its cells.

    The model is a folder that `save` of LucidVI or of scvi-tools wrote; nothing in it is run.
    The reference holds no counts. Exit code: 0, or 2 for an error, with nothing written.
    """
    with errors_end_it():
        check_is_file(data)
        check_is_model(model_dir)
        check_output(output, overwrite, {"folder of the model": model_dir})
        from lucidvi.atlas import Reference

        with at_work():
            cells = read_cells(data)
            model = load_model(model_dir, cells, "made a reference of", layer)
            reference = Reference.from_model(model, labels_key)
            reference.save(output, overwrite=overwrite)
    console = Console()
    table = _plain_table(show_header=False)
    table.add_row("Cells", f"{reference.cells.n_obs:,}")
    table.add_row("Genes", f"{reference.cells.n_vars:,}")
    table.add_row("Labels", f"{len(reference.labels.cat.categories)} in {labels_key!r}")
    if reference.batches is not None:
        table.add_row("Batches", f"{len(reference.batches.cat.categories)}")
    table.add_row("In memory", f"{reference.n_bytes_per_cell:.0f} bytes a cell")
    console.print(table)
    typer.echo(f"Written  {output}")


@app.command("map")
def map_cells(
    query: Annotated[Path, typer.Argument(help="Cells with counts, as .h5ad or .h5mu.")],
    reference: Annotated[Path, typer.Option(help="Folder of the reference.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write, .h5ad.")],
    batch_key: Annotated[
        str | None, typer.Option(help="Column of obs with batches, if not the reference's.")
    ] = None,
    layer: Annotated[
        str | None,
        typer.Option(
            help="Where the counts are, if not the reference's layer or X: a layer, raw."
        ),
    ] = None,
    gene_key: Annotated[
        str | None, typer.Option(help="Column of var with the genes' names, if not the best one.")
    ] = None,
    novelty_rate: Annotated[
        float, typer.Option(help="Share of known cells that may be called unknown.")
    ] = 0.05,
    posterior: Annotated[
        str, typer.Option(help="refined, each cell's own; or encoder, which is faster.")
    ] = "refined",
    overwrite: Overwrite = False,
) -> None:
    """Map cells onto a reference, and give them its labels.

    Counts are read from the file block by block. The output has obs and var of the query, the
    latent states, the labels, and no counts. Exit code: 0, or 2 for an error, with nothing
    written.
    """
    with errors_end_it():
        from lucidvi.checks import check_choice, check_share, check_suffix

        check_choice("posterior", posterior, _choices.posteriors())
        check_share("novelty_rate", novelty_rate)
        check_is_file(query)
        check_output(check_suffix(output, ".h5ad"), overwrite, {"query": query}, is_file=True)
        from lucidvi.atlas import Reference

        with at_work(), opened_cells(query) as cells:
            atlas = Reference.load(reference)
            if is_x(cells, layer):
                own_layer = atlas.model.registry["setup_args"].get("layer")
                cells, layer = with_counts_of(cells, layer, own_layer), None
            out = atlas.map(
                cells,
                batch_key,
                layer=layer,
                gene_key=gene_key,
                novelty_rate=novelty_rate,
                posterior=posterior,  # type: ignore[arg-type]
            )
            write_cells(out, output)
    console = Console()
    console.print(_summary(out))
    console.print()
    console.print(_labels(out))
    typer.echo(f"Written  {output}")


def _plain_table(show_header: bool = True) -> Table:
    return Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=show_header)


def _summary(out: AnnData) -> Table:
    """Tell what was measured of the query, and what was learned of it."""
    said = out.uns["lucidvi"]
    table = _plain_table(show_header=False)
    genes = f"{said['n_genes_measured']:,} of {said['n_genes']:,}"
    table.add_row("Cells", f"{out.n_obs:,}")
    table.add_row("Genes measured", genes)
    table.add_row("Found by", said["genes_matched_by"])
    if said["n_genes_summed"]:
        table.add_row("Sums of several", f"{said['n_genes_summed']:,}")
    for what in ("expression", "information"):
        table.add_row(f"Share of {what}", f"{said[f'share_of_{what}']:.1%}")
    if len(said["new_batches"]):
        pairs = zip(said["new_batches"], said["new_batches_as"], strict=True)
        table.add_row("New batches", ", ".join(f"{new} (as {trained})" for new, trained in pairs))
    unknown = int((out.obs["lucidvi_call"] == "unknown").sum())
    table.add_row("Called unknown", f"{unknown:,}")
    return table


def _labels(out: AnnData) -> Table:
    """Tell how many cells have each label, and how sure that is."""
    groups = out.obs.groupby("lucidvi_label", observed=True)["lucidvi_confidence"]
    by_label = groups.agg(["size", "mean"]).sort_values("size", ascending=False)
    table = _plain_table()
    table.add_column("Label", overflow="fold")
    table.add_column("Cells", justify="right")
    table.add_column("Mean confidence", justify="right")
    for label, (size, confidence) in zip(by_label.index, by_label.to_numpy(), strict=True):
        table.add_row(str(label), f"{size:,.0f}", f"{confidence:.2f}")
    return table

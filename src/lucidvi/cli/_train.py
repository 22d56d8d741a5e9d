"""``lucidvi train``: a model of one's own cells."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from lucidvi.cli import _choices
from lucidvi.cli._console import at_work, errors_end_it
from lucidvi.cli._files import check_is_file, check_output, is_x, read_cells, with_counts_of

if TYPE_CHECKING:
    from anndata import AnnData


def train(
    data: Annotated[Path, typer.Argument(help="Cells with counts, as .h5ad.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write.")],
    batch_key: Annotated[str | None, typer.Option(help="Column of obs with batches.")] = None,
    labels_key: Annotated[str | None, typer.Option(help="Column of obs with labels.")] = None,
    categorical_covariate: Annotated[
        list[str] | None, typer.Option(help="Column of obs with categories; can be repeated.")
    ] = None,
    continuous_covariate: Annotated[
        list[str] | None, typer.Option(help="Column of obs with numbers; can be repeated.")
    ] = None,
    layer: Annotated[
        str | None, typer.Option(help="Where the counts are, if not in X: a layer, raw.")
    ] = None,
    gene_likelihood: Annotated[
        str, typer.Option(help="Distribution of the counts: zinb, nb, poisson.")
    ] = "zinb",
    n_latent: Annotated[int, typer.Option(min=1, help="Latent dimensions.")] = 10,
    max_epochs: Annotated[
        int | None,
        typer.Option("--max-epochs", min=1, help="Passes over the cells, if not chosen."),
    ] = None,
    preset: Annotated[str, typer.Option(help="How it is trained: lucid, scvi.")] = "lucid",
    kind: Annotated[str | None, typer.Option(help="Class of the model, if not the first.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything random.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")] = False,
) -> None:
    """Train a model of cells, and save it.

    The data are checked first: counts, columns, names of genes. Exit code: 0, or 2 for an error
    and 130 where it is stopped, with nothing written.
    """
    with errors_end_it():
        from lucidvi.checks import check_choice

        kind = _choices.kinds()[0] if kind is None else kind
        check_choice("kind", kind, _choices.kinds())
        check_choice("gene_likelihood", gene_likelihood, _choices.likelihoods())
        check_choice("preset", preset, _choices.presets())
        check_is_file(data)
        check_output(output, overwrite, {"data": data})
        with at_work():
            cells, layer_read = _counts_first(read_cells(data), layer)
            setup = {
                "layer": layer_read,
                "batch_key": batch_key,
                "labels_key": labels_key,
                "categorical_covariate_keys": categorical_covariate or None,
                "continuous_covariate_keys": continuous_covariate or None,
            }
            arguments = {"n_latent": n_latent, "gene_likelihood": gene_likelihood}
            model = _trained(cells, kind, setup, arguments, max_epochs, preset, seed)
            model.save(str(output), overwrite=overwrite)
    console = Console()
    console.print(_summary(model, cells))
    typer.echo(f"Written  {output}")
    for line in _next_steps(output, data, layer, labels_key):
        typer.echo(line)


def _counts_first(cells: AnnData, layer: str | None) -> tuple[AnnData, str | None]:
    """Return the cells, and the layer that a model shall read; None for ``X``."""
    from lucidvi.data import is_raw

    if layer is not None and (is_raw(cells, layer) or is_x(cells, layer)):
        return with_counts_of(cells, layer, None), None
    return cells, layer


def _trained(
    cells: AnnData,
    kind: str,
    setup: dict[str, Any],
    arguments: dict[str, Any],
    max_epochs: int | None,
    preset: str,
    seed: int,
) -> Any:
    """Return a model of the cells, trained from a seed."""
    import scvi
    from lightning.pytorch.callbacks import LambdaCallback

    from lucidvi.model import MODELS

    cls: Any = MODELS[kind]
    scvi.settings.seed = seed
    cls.setup_anndata(cells, **setup)
    model = cls(cells, **arguments)
    stops: list[BaseException] = []
    note = LambdaCallback(on_exception=lambda trainer, plan, fault: stops.append(fault))
    model.train(max_epochs=max_epochs, preset=preset, callbacks=[note])
    if stops:  # by hand: a command that was asked for a whole training has not done it
        raise KeyboardInterrupt
    return model


def _summary(model: Any, cells: AnnData) -> Table:
    """Tell what was trained on, and how well it went."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=False)
    table.add_row("Model", type(model).__name__)
    table.add_row("Cells", f"{cells.n_obs:,}")
    table.add_row("Genes", f"{cells.n_vars:,}")
    for name, argument in (("Batches", "batch_key"), ("Labels", "labels_key")):
        column = model.registry["setup_args"].get(argument)
        if column is not None:
            table.add_row(name, f"{cells.obs[column].nunique()} in {column!r}")
    n_epochs = len(model.history["elbo_train"])
    table.add_row("Training", f"{n_epochs} epochs, {model.training_seconds_:.1f} s")
    held_out = model.validation_indices
    if held_out is not None and len(held_out):
        elbo = float(model.get_elbo(indices=held_out))
        table.add_row("ELBO, held-out cells", f"{elbo:.1f} nats a cell (higher is better)")
    return table


def _next_steps(output: Path, data: Path, layer: str | None, labels_key: str | None) -> list[str]:
    """Return the commands that come next, to be pasted."""
    model, cells = shlex.quote(str(output)), shlex.quote(str(data))
    place = "" if layer is None else f" --layer {shlex.quote(layer)}"
    labels = "LABELS" if labels_key is None else shlex.quote(labels_key)
    return [
        f"Next: whether it can be trusted    lucidvi audit {model} {cells}{place}",
        f"      a reference to map cells to  lucidvi reference build {model} {cells}{place} "
        f"--labels-key {labels} -o REFERENCE",
    ]

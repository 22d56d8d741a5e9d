"""``lucidvi train``: a model of one's own cells."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from lucidvi.cli import _choices
from lucidvi.cli._console import at_work, errors_end_it
from lucidvi.cli._files import (
    check_has_layers,
    check_is_file,
    check_output,
    is_x,
    read_cells,
    with_counts_of,
)


def train(
    data: Annotated[Path, typer.Argument(help="Cells with counts, as .h5ad or .h5mu.")],
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
    modality: Annotated[
        list[str] | None,
        typer.Option(help="Modality of an .h5mu and its kind, prot=protein; can be repeated."),
    ] = None,
    gene_likelihood: Annotated[
        str | None, typer.Option(help="Distribution of the counts: zinb, nb, poisson.")
    ] = None,
    n_latent: Annotated[int | None, typer.Option(min=1, help="Latent dimensions.")] = None,
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
        if gene_likelihood is not None:
            check_choice("gene_likelihood", gene_likelihood, _choices.likelihoods())
        check_choice("preset", preset, _choices.presets())
        check_is_file(data)
        check_output(output, overwrite, {"data": data})
        with at_work():
            cells, layer_read = _counts_first(read_cells(data), layer)
            setup = {
                "layer": layer_read,
                "modalities": _kinds_of_modalities(modality),
                "batch_key": batch_key,
                "labels_key": labels_key,
                "categorical_covariate_keys": categorical_covariate or None,
                "continuous_covariate_keys": continuous_covariate or None,
            }
            arguments = {"n_latent": n_latent, "gene_likelihood": gene_likelihood}
            model = _trained(cells, kind, setup, arguments, max_epochs, preset, seed)
            model.save(str(output), overwrite=overwrite)
    console = Console()
    console.print(_summary(model))
    typer.echo(f"Written  {output}")
    for line in _next_steps(output, data, layer, labels_key):
        typer.echo(line)


def _kinds_of_modalities(named: list[str] | None) -> dict[str, str] | None:
    """Return the kind of each modality by its name, as the options have them."""
    from lucidvi.errors import DataError

    kinds = {}
    for text in named or ():
        name, is_there, kind = text.partition("=")
        if not (name and is_there and kind):
            raise DataError(
                f"--modality is {text!r}.", remedy="Give name and kind, --modality prot=protein."
            )
        kinds[name] = kind
    return kinds or None


def _counts_first(cells: Any, layer: str | None) -> tuple[Any, str | None]:
    """Return the cells, and the layer that a model shall read; None for ``X``."""
    from lucidvi.data import is_raw

    if layer is not None:
        check_has_layers(cells, layer)
    if layer is not None and (is_raw(cells, layer) or is_x(cells, layer)):
        return with_counts_of(cells, layer, None), None
    return cells, layer


def _set_up(cls: Any, cells: Any, setup: dict[str, Any]) -> None:
    """Set cells up for a model, with the options that it takes."""
    from inspect import signature

    from anndata import AnnData

    from lucidvi.errors import DataError
    from lucidvi.model import MODELS

    set_up = (
        cls.setup_anndata if isinstance(cells, AnnData) else getattr(cls, "setup_mudata", None)
    )
    given = {name: value for name, value in setup.items() if value is not None}
    foreign = [] if set_up is None else set(given) - set(signature(set_up).parameters)
    if set_up is None or "modalities" in foreign:
        kinds = [name for name, model in MODELS.items() if hasattr(model, "setup_mudata")]
        raise DataError(
            f"A {cls.__name__} is a model of one modality, and there are several.",
            remedy=f"Give --kind {kinds[0]} --modality rna=rna --modality prot=protein, with the "
            "names and kinds of the modalities.",
        )
    if foreign:
        raise DataError(
            f"A {cls.__name__} of these cells takes no {', '.join(sorted(foreign))}.",
            remedy="Leave the option out.",
        )
    if "modalities" in signature(set_up).parameters and "modalities" not in given:
        raise DataError(
            f"A {cls.__name__} has to be told what the modalities are.",
            remedy="Give --modality rna=rna --modality prot=protein, with their names and kinds.",
        )
    set_up(cells, **given)


def _trained(
    cells: Any,
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
    _set_up(cls, cells, setup)
    model = cls(cells, **{name: value for name, value in arguments.items() if value is not None})
    stops: list[BaseException] = []
    note = LambdaCallback(on_exception=lambda trainer, plan, fault: stops.append(fault))
    model.train(max_epochs=max_epochs, preset=preset, callbacks=[note])
    if stops:  # by hand: a command that was asked for a whole training has not done it
        raise KeyboardInterrupt
    return model


def _summary(model: Any) -> Table:
    """Tell what was trained on, and how well it went."""
    cells = model.adata
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=False)
    table.add_row("Model", type(model).__name__)
    table.add_row("Cells", f"{cells.n_obs:,}")
    for key, modality in model.module.modalities.items():
        of_several = len(model.module.modalities) > 1
        table.add_row(key if of_several else "Genes", f"{modality.n_features:,}")
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

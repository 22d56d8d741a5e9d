"""Files that commands read and write."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anndata import AnnData
    from scvi.model.base import BaseModelClass


def read_cells(path: Path) -> Any:
    """Read an .h5ad file, or of several modalities an .h5mu file; raise if that is none."""
    check_is_file(path)
    from anndata import read_h5ad
    from mudata import read_h5mu

    try:
        return read_h5mu(path) if is_of_modalities(path) else read_h5ad(path)
    except Exception as error:  # anndata and HDF5 raise many kinds for a file that is another's
        raise _no_cells(path) from error


def is_of_modalities(path: Path) -> bool:
    """Return whether a file holds several modalities, by its name."""
    return path.suffix == ".h5mu"


@contextmanager
def opened_cells(path: Path) -> Iterator[Any]:
    """Open a file of cells, its counts left on disk; raise if that is none."""
    check_is_file(path)
    from lucidvi.data import close_cells, open_cells
    from lucidvi.errors import FileError

    try:
        cells = open_cells(path)
    except FileError as error:
        raise _no_cells(path) from error
    try:
        yield cells
    finally:
        close_cells(cells)


def with_counts_of(cells: Any, layer: str | None, own_layer: str | None) -> Any:
    """Return cells with the counts of a layer where a model reads them.

    Parameters
    ----------
    cells
        The cells.
    layer
        Where the counts are: a layer, ``"raw"`` for ``cells.raw`` with its genes, or ``"X"``;
        None if they are where the model reads them.
    own_layer
        Layer that the model reads; None for ``X``.
    """
    from lucidvi.data import check_layer, is_raw, of_raw

    if layer is None:
        return cells
    check_has_layers(cells, layer)
    if is_raw(cells, layer):
        cells, layer = of_raw(cells), None
    elif is_x(cells, layer):
        layer = None
    check_layer(cells, layer)
    if layer == own_layer:
        return cells
    matrix = cells.X if layer is None else cells.layers[layer]
    if own_layer is None:
        cells.X = matrix
    else:
        cells.layers[own_layer] = matrix
    return cells


def check_has_layers(cells: Any, layer: str) -> None:
    """Raise where a layer is named of several modalities, each of which has its own."""
    from anndata import AnnData

    from lucidvi.errors import DataError

    if not isinstance(cells, AnnData):
        raise DataError(
            f"--layer is {layer!r}, and the file holds several modalities.",
            remedy="Leave it out; MOSAICVI.setup_mudata takes a layer of each modality.",
        )


def is_x(cells: Any, layer: str | None) -> bool:
    """Return whether a layer means ``X``: it is called so, and no layer is."""
    if layer is None:
        return False
    check_has_layers(cells, layer)
    return layer == "X" and layer not in cells.layers


def write_cells(cells: AnnData, path: Path) -> None:
    """Write an .h5ad file whole or not at all."""
    from lucidvi._compat import write_adata
    from lucidvi.errors import FileError
    from lucidvi.files import written_whole

    try:
        with written_whole(path.parent, path.name) as folder:
            write_adata(cells, str(folder / path.name))
    except OSError as error:
        raise FileError(
            f"{path} cannot be written: {error.strerror or error}.",
            remedy="Name a file in a folder that you may write to, with space left.",
        ) from error


def check_output(
    path: Path, overwrite: bool, inputs: dict[str, Path], is_file: bool = False
) -> None:
    """Raise for an output that exists, that would replace an input or a folder, or cannot be."""
    from lucidvi.errors import FileError

    if is_file and path.is_dir():
        raise FileError(
            f"{path} is a folder.", remedy="Give the path of a file to write, -o OUT.h5ad."
        )
    for name, source in inputs.items():
        if path.exists() and source.exists() and path.samefile(source):
            raise FileError(
                f"{path} is the {name}, which is not to be replaced.",
                remedy="Give another path to write to, -o.",
            )
    if path.exists() and not overwrite:
        raise FileError(
            f"{path} already exists.",
            remedy="Give another path to write to, -o, or --overwrite to replace it.",
        )
    # Before the work, which may take hours, and not after it.
    above = next(parent for parent in path.absolute().parents if parent.exists())
    if not (above.is_dir() and os.access(above, os.W_OK)):
        why = "is not yours to write to" if above.is_dir() else "is a file"
        raise FileError(
            f"{path} cannot be written: {above} {why}.",
            remedy="Give a path in a folder that you may write to, -o.",
        )


def load_model(
    folder: Path,
    adata: Any,
    purpose: str,
    layer: str | None = None,
    *,
    read_by_scvi_tools: bool = False,
    trust: bool = False,
) -> BaseModelClass:
    """Load a model with these cells; raise if it is another or of other cells.

    Parameters
    ----------
    folder
        Folder that ``save`` wrote.
    adata
        The cells.
    purpose
        What shall be done with the model, as in "which cannot be audited".
    layer
        Where the counts are, if not where the model reads them; see :func:`with_counts_of`.
    read_by_scvi_tools
        Take models that scvi-tools alone reads, too.
    trust
        Whether they are trusted, so that scvi-tools may run what their files hold.
    """
    from lucidvi.errors import DataError, LucidVIError, ModelTypeError
    from lucidvi.model import LucidModel, class_of_saved

    loader: Any = class_of_saved(str(folder), purpose, read_by_scvi_tools=read_by_scvi_tools)
    if not (trust or issubclass(loader, LucidModel)):
        raise ModelTypeError(
            f"{folder} holds a {loader.__name__}, which scvi-tools reads by running what its "
            "files hold.",
            remedy="Give --trust if you know who made them.",
        )
    registry = LucidModel.load_registry(str(folder))
    adata = with_counts_of(adata, layer, registry["setup_args"].get("layer"))
    try:
        return loader.load(str(folder), adata=adata)
    except DataError as error:
        problem = f"The cells do not suit the model: {error.problem}"
        raise type(error)(
            problem, remedy=error.remedy, code=error.code, counts_in=error.counts_in
        ) from error
    except LucidVIError:
        raise
    except ValueError as error:  # of scvi-tools, such as for batches that the model lacks
        remedy = "Give the cells that the model was trained on, or others of the same batches."
        raise DataError(f"The cells do not suit the model: {error}", remedy=remedy) from error


def check_is_file(path: Path) -> None:
    """Raise if there is no such file of cells."""
    from lucidvi.errors import FileError

    if not path.is_file():
        raise FileError(
            f"There is no file {path}.", remedy="Give the path of an .h5ad or .h5mu file."
        )


def check_is_model(folder: Path) -> None:
    """Raise if there is no such folder of a model."""
    from lucidvi.errors import FileError

    if not folder.is_dir():
        raise FileError(f"There is no folder {folder}.", remedy="Give one that `save` wrote.")


def _no_cells(path: Path) -> Exception:
    from lucidvi.errors import FileError

    kind, write = (".h5ad", "adata.write_h5ad(path)")
    if is_of_modalities(path):
        kind, write = ".h5mu", "mdata.write(path)"
    return FileError(f"{path} is no {kind} file.", remedy=f"Write one with `{write}`.")

"""Files of cells, opened with everything that grows with cells times genes left where it is."""

from __future__ import annotations

import gc
import importlib.util
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
from anndata import AnnData, read_h5ad
from anndata.io import read_elem, sparse_dataset
from mudata import read_h5mu

from lucidvi.data.checks._adata import check_is_anndata
from lucidvi.data.matrices._portable import InFile, portable
from lucidvi.data.opening._several import joined, named
from lucidvi.errors import FileError, ModelTypeError

Path_ = str | os.PathLike[str]
#: Encodings of matrices that are read row by row.
SPARSE = ("csr_matrix", "csc_matrix")


def are_paths(cells: object) -> bool:
    """Return whether cells are given by the place of their file, or of several."""
    if isinstance(cells, list | tuple | Mapping) and len(cells):
        paths = cells.values() if isinstance(cells, Mapping) else cells
        return all(isinstance(path, str | os.PathLike) for path in paths)
    return isinstance(cells, str | os.PathLike)


def check_installed() -> None:
    """Raise if there is no dask, in whose arrays an AnnData holds rows of several files."""
    if importlib.util.find_spec("dask") is None:
        raise FileError(
            "Several files are opened together as dask arrays, and dask is not installed.",
            remedy='pip install "dask[array]"',
        )


def opened(cells: Any, call: str = "adata = ") -> Any:
    """Return cells: those of a file, opened, where they are given by its path.

    Parameters
    ----------
    cells
        An AnnData, whatever has its tables, or the path of a file.
    call
        What comes before them in code, such as ``"model.get_elbo("``.

    Raises
    ------
    lucidvi.errors.ModelTypeError
        If they are neither.
    lucidvi.errors.FileError
        See :func:`open_cells`.
    """
    cells = open_cells(cells) if are_paths(cells) else cells
    check_is_anndata(cells, call)
    return cells


def close_cells(cells: Any) -> None:
    """Close the HDF5 files that matrices of cells are in, so that they can be written.

    Parameters
    ----------
    cells
        What :func:`open_cells` returned, of which nothing can be read then.
    """
    if not isinstance(cells, AnnData):
        return
    gc.collect()  # of what nobody goes on with, a thread may be about to read further
    raw = [] if cells.raw is None else [cells.raw.X]
    for matrix in (cells.X, *cells.layers.values(), *cells.obsm.values(), *raw):
        place = portable(matrix)
        if isinstance(place, InFile):
            getattr(matrix, "group", matrix).file.close()
            return


def open_cells(
    path: Path_ | Sequence[Path_] | Mapping[str, Path_],
    *,
    join: str = "outer",
    label: str | None = None,
    index_unique: str | None = None,
) -> Any:
    """Open a file of cells, or several, with matrices left on disk.

    Read are the tables of cells and genes (``obs``, ``var``), ``uns``, ``varm`` and ``varp``.
    Matrices with a row a cell (``X``, layers, ``raw``, ``obsm``, ``obsp``) stay in the file and
    are read part by part where they are needed, so that memory does not grow with them.
    ``adata.to_memory()`` reads everything. An ``.h5mu`` file, or one from before anndata 0.7, is
    read into memory.

    Cells of several files become one AnnData, whose genes are found by their names: ``obs`` of all
    files, and ``X`` and layers that all have, as dask arrays of the files' rows. A gene that a
    file lacks was not measured in its cells; that is not a zero, and models that are set up with
    the AnnData leave it out of these cells' likelihoods.

    Parameters
    ----------
    path
        An ``.h5ad`` or ``.h5mu`` file, or a ``.zarr`` folder of version 2 or 3, sharded or not;
        with ``"://"`` the address of a store that zarr opens through fsspec. A list of these, or
        a dictionary by name, for the cells of several.
    join
        Genes of several files: ``"outer"``, those of any, or ``"inner"``, those of all.
    label
        Column of ``obs`` for the name of the file that a cell is from; None for no column.
    index_unique
        Text between the name of a cell and that of its file, where cells of several files have
        the same name; None to keep names as they are.

    Returns
    -------
    AnnData whose matrices are those of the file or store; MuData of an ``.h5mu`` file.

    Raises
    ------
    lucidvi.errors.FileError
        If there is no such file, it is of another kind, or it cannot be read.
    lucidvi.errors.ModelTypeError
        If it is no path.
    lucidvi.errors.DataError
        If names of genes in a file, or of cells in several, are not unique, or no gene is common.

    Examples
    --------
    >>> from lucidvi.data import open_cells
    >>> adata = open_cells("atlas.zarr")  # doctest: +SKIP
    >>> adata = open_cells(["lung.h5ad", "gut.h5ad"], label="tissue")  # doctest: +SKIP
    """
    if not isinstance(path, str | os.PathLike):
        is_empty = isinstance(path, list | tuple | Mapping) and not len(path)
        if not (are_paths(path) or is_empty):
            raise ModelTypeError(
                f"`path` is a {type(path).__name__}, and not the path of a file, or several.",
                remedy='open_cells("cells.h5ad"), or open_cells(["lung.h5ad", "gut.h5ad"])',
            )
        check_installed()
        parts = {name: open_cells(one) for name, one in named(path).items()}
        return joined(parts, join, label, index_unique)
    place = os.fspath(path)
    is_remote = "://" in place
    if not is_remote and not Path(place).exists():
        raise FileError(
            f"There is no file {place}.",
            remedy="give the path of an .h5ad file or of a .zarr folder.",
        )
    if is_remote or Path(place).is_dir():
        return _opened(place, lambda: _of_zarr(place))
    if Path(place).suffix == ".h5mu":
        return _opened(place, lambda: read_h5mu(place))
    return _opened(place, lambda: _of_h5ad(place))


def _opened(place: str, read: Callable[[], Any]) -> Any:
    try:
        with warnings.catch_warnings():  # a model that is set up with such names says so
            warnings.filterwarnings("ignore", "(Observation|Variable) names are not unique")
            return read()
    except FileError:
        raise
    except Exception as error:  # of as many kinds as there are ways to damage a file
        raise FileError(
            f"{place} cannot be read as cells: {error}",
            remedy="give an .h5ad file or a .zarr folder that anndata wrote, "
            "`adata.write_h5ad(path)` or `adata.write_zarr(path)`; one that a newer anndata wrote "
            "is written anew as .h5ad there.",
        ) from error


def _of_h5ad(place: str) -> AnnData:
    if not h5py.is_hdf5(place):
        raise FileError(
            f"{place} is no .h5ad file.", remedy="write one with `adata.write_h5ad(path)`."
        )
    file = h5py.File(place, "r")
    try:
        _check_has_tables(file, place)
        if isinstance(file["obs"], h5py.Group):
            return _of_store(file)
        return read_h5ad(place)  # a layout of old, from before anndata 0.7
    except BaseException:
        file.close()
        raise


def _of_zarr(place: str) -> AnnData:
    try:
        import zarr
    except ImportError as error:
        raise FileError(
            f"{place} is a folder, which zarr opens, and zarr is not installed.",
            remedy="pip install zarr; or give an .h5ad file.",
        ) from error
    # What was written through another handle is not in metadata that were consolidated before.
    how: Any = (
        {} if "://" in place or zarr.__version__.startswith("2") else {"use_consolidated": False}
    )
    store: Any = zarr.open_group(place, mode="r", **how)
    _check_has_tables(store, place)
    return _of_store(store)


def _of_store(store: Any) -> AnnData:
    """Return the cells of a group of HDF5 or zarr: tables in memory, matrices of cells on disk."""
    tables, matrices = ("obs", "var", "uns", "varm", "varp"), ("layers", "obsm", "obsp")
    cells = AnnData(
        _on_disk(store["X"]) if "X" in store else None,
        **{name: read_elem(store[name]) for name in tables if name in store},
        **{
            name: {key: _on_disk(store[name][key]) for key in store[name]}
            for name in matrices
            if name in store
        },
    )
    if "raw" in store and "X" in store["raw"]:
        raw = AnnData(_on_disk(store["raw/X"]), obs=cells.obs[[]], var=read_elem(store["raw/var"]))
        cells.raw = raw
    return cells


def _check_has_tables(store: Any, place: str) -> None:
    if "obs" not in store or "var" not in store:
        raise FileError(
            f"{place} holds no AnnData: it has no obs or no var.",
            remedy="write one with `adata.write_h5ad(path)` or `adata.write_zarr(path)`.",
        )


def _on_disk(element: Any) -> Any:
    """Return a matrix unread; a table is read."""
    if element.attrs.get("encoding-type") in SPARSE:
        return sparse_dataset(element)
    return read_elem(element) if hasattr(element, "keys") else element

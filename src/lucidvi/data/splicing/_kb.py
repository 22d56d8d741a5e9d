"""Files of kb_python: ``kb count --workflow nac``, or ``lamanno`` as it was before.

With ``nac``, a molecule is mature if it spans a junction, nascent if it reaches into an intron,
and ambiguous if it lies in an exon. ``lamanno`` counts the last as spliced; it writes each kind
with the cells that have any of it.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from anndata import AnnData, read_h5ad
from scipy import sparse

from lucidvi._progress import track
from lucidvi.data.matrices._layers import layer_names
from lucidvi.data.matrices._stored import in_memory
from lucidvi.data.splicing._files import (
    existing,
    lines,
    matrix,
    needed,
    table_of_cells,
    table_of_genes,
)
from lucidvi.data.splicing._molecules import Format, Layer, Molecules, Naming
from lucidvi.errors import DataError, FileError

#: How the files of ``nac`` begin.
PREFIX = "cells_x_genes"
#: Matrices of ``nac``.
NAC = {
    "spliced": f"{PREFIX}.mature.mtx",
    "unspliced": f"{PREFIX}.nascent.mtx",
    "ambiguous": f"{PREFIX}.ambiguous.mtx",
}
#: What ``lamanno`` tells apart.
LAMANNO = ("spliced", "unspliced")
#: Where the files are below a path, those of called cells first.
FOLDERS = (".", "counts_filtered", "counts_unfiltered")


def find(path: Path) -> Path | None:
    """Return the folder with the matrices or the ``.h5ad``, or None; see :class:`Format`."""
    if path.is_file():
        return path if path.suffix == ".h5ad" else None
    names = (*NAC.values(), *(f"{kind}.barcodes.txt" for kind in LAMANNO))
    for folder in (path / name for name in FOLDERS):
        if existing(folder, *names):
            return folder
        if (folder / "adata.h5ad").is_file():
            return folder / "adata.h5ad"
    return None


def read(place: Path) -> Molecules:
    """Return what kb counted; see :class:`Format`."""
    if place.is_file():
        return _of_h5ad(place)
    return _of_nac(place) if existing(place, *NAC.values()) else _of_lamanno(place)


def _of_nac(folder: Path) -> Molecules:
    paths = {kind: needed(folder, name) for kind, name in NAC.items()}
    barcodes = needed(folder, f"{PREFIX}.barcodes.txt")
    genes = needed(folder, f"{PREFIX}.genes.txt")
    ids = lines(genes)
    names = _names_of_genes(folder)
    layers = {
        kind: Layer(str(path), matrix(path))
        for kind, path in track(paths.items(), "Matrices", total=len(paths), slow_steps=True)
    }
    return Molecules(
        layers=layers,
        cells=table_of_cells(_barcodes(folder, barcodes)),
        genes=table_of_genes([names.get(gene, gene) for gene in ids], ids),
        place_of_cells=str(barcodes),
        place_of_genes=str(genes),
        ambiguous="spliced",
    )


def _barcodes(folder: Path, path: Path) -> list[str]:
    """Return names of cells: with ``--batch-barcodes``, a barcode may be in several samples."""
    samples = existing(folder, f"{PREFIX}.barcodes.prefix.txt")
    if samples is None:
        return lines(path)
    return [sample + barcode for sample, barcode in _pairs(samples, path)]


def _names_of_genes(folder: Path) -> dict[str, str]:
    """Return names of genes by identifier: kb writes them beside the unfiltered counts alone."""
    for place in (folder, folder.parent / "counts_unfiltered"):
        ids = existing(place, f"{PREFIX}.genes.txt")
        names = existing(place, f"{PREFIX}.genes.names.txt")
        if ids and names:
            return dict(_pairs(ids, names))
    return {}


def _pairs(first: Path, second: Path) -> list[tuple[str, str]]:
    of_first, of_second = lines(first), lines(second)
    if len(of_first) != len(of_second):
        raise DataError(
            f"{first} has {len(of_first):,} lines, but {second} has {len(of_second):,}.",
            remedy="Take both from one run: copy them again, or count again.",
        )
    return list(zip(of_first, of_second, strict=True))


def _of_lamanno(folder: Path) -> Molecules:
    parts = {kind: _part(folder, kind) for kind in track(LAMANNO, "Matrices", slow_steps=True)}
    spliced, unspliced = (parts[kind] for kind in LAMANNO)
    if not spliced.genes.index.equals(unspliced.genes.index):
        raise DataError(
            f"{spliced.place_of_genes} and {unspliced.place_of_genes} name different genes.",
            remedy="Take both from one run: copy them again, or count again.",
        )
    cells = np.union1d(spliced.cells.index, unspliced.cells.index)
    layers = {}
    for kind, part in parts.items():
        (layer,) = part.layers.values()
        values = sparse.coo_matrix(layer.values)
        rows = np.searchsorted(cells, part.cells.index)[values.row]
        shape = (len(cells), values.shape[1])
        layers[kind] = Layer(
            layer.place, sparse.coo_matrix((values.data, (rows, values.col)), shape=shape)
        )
    return Molecules(
        layers=layers,
        cells=table_of_cells(list(cells)),
        genes=spliced.genes,
        place_of_cells=spliced.place_of_cells,
        place_of_genes=spliced.place_of_genes,
    )


def _part(folder: Path, kind: str) -> Molecules:
    """Return one kind of molecules, with the cells that have any."""
    path = needed(folder, f"{kind}.mtx")
    barcodes, genes = (needed(folder, f"{kind}.{what}.txt") for what in ("barcodes", "genes"))
    ids = lines(genes)
    part = Molecules(
        layers={kind: Layer(str(path), matrix(path))},
        cells=table_of_cells(lines(barcodes)),
        genes=table_of_genes(ids, ids),
        place_of_cells=str(barcodes),
        place_of_genes=str(genes),
    )
    part.check_shapes()
    return part


def _of_h5ad(path: Path) -> Molecules:
    adata = _opened(path)
    try:
        found = layer_names(adata)
        naming = Naming.among(found, str(path))
        layers = {
            kind: Layer(f"layers[{name!r}] of {path}", in_memory(adata.layers[name]))
            for kind, name in naming.kinds(found).items()
        }
        cells, genes = adata.obs.copy(), adata.var.copy()
    finally:
        adata.file.close()
    names = _names_of_genes(path.parent)
    return Molecules(
        layers=layers,
        cells=cells.rename_axis(None),
        genes=_with_ids(genes.rename_axis(None), names),
        place_of_cells=f"obs of {path}",
        place_of_genes=f"var of {path}",
        ambiguous=naming.ambiguous,
    )


def _opened(path: Path) -> AnnData:
    """Return the cells with their sum, ``X``, left on disk: it is not asked for."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*names are not unique")  # said later
            return read_h5ad(path, backed="r")
    except Exception as error:  # anndata and HDF5 raise many kinds for a file that is another's
        raise FileError(
            f"{path} cannot be read: {error}",
            remedy="Copy it again, or count again: it was cut off, or is no AnnData. Give its "
            "folder to read the matrices in it.",
        ) from error


def _with_ids(genes: pd.DataFrame, names: dict[str, str]) -> pd.DataFrame:
    """Return ``var`` by names, with identifiers; unchanged if the genes are not known.

    The index is of identifiers or, with ``--gene-names``, of names.
    """
    ids = genes.index
    if not ids.isin(list(names)).all():
        ids = ids.map({name: gene for gene, name in names.items()})
    if not names or ids.hasnans:
        return genes
    genes = genes.assign(gene_ids=list(ids))
    genes.index = pd.Index([names[gene] for gene in ids], dtype=object)
    return genes


FORMAT = Format(
    paths="of kb, the folder that `kb count` wrote, or `counts_filtered` or `counts_unfiltered` "
    "in it, or the file `adata.h5ad`",
    find=find,
    read=read,
)

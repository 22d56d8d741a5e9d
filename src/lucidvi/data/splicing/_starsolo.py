"""Files of STARsolo: ``STAR --soloFeatures Gene Velocyto``.

The three matrices hold the same entries, so that each stores zeros. Before STAR 2.7.8a there is
one ``matrix.mtx`` with three values an entry, which readers of the format do not know: they take
the first for the only one.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from scipy import sparse

from lucidvi._progress import track
from lucidvi.data.splicing._files import (
    existing,
    head_of_matrix,
    lines,
    matrix,
    needed,
    readable,
    table_of_cells,
    table_of_genes,
)
from lucidvi.data.splicing._molecules import Format, Layer, Molecules

KINDS = ("spliced", "unspliced", "ambiguous")
#: Where the files are below a path, those of called cells first.
FOLDERS = tuple(
    f"{above}{cells}"
    for above in ("", "Velocyto/", "Solo.out/Velocyto/")
    for cells in (".", "filtered", "raw")
)
#: Columns of an entry with all three values: gene, cell, and the values.
N_COLUMNS = 5


def find(path: Path) -> Path | None:
    """Return the folder with the matrices, or None; see :class:`Format`."""
    return next((path / name for name in FOLDERS if _is_starsolo(path / name)), None)


def read(folder: Path) -> Molecules:
    """Return what STAR counted; see :class:`Format`."""
    barcodes = needed(folder, "barcodes.tsv")
    features = needed(folder, "features.tsv", "genes.tsv")
    rows = [line.split("\t") for line in lines(features)]
    ids = [row[0] for row in rows]
    names = [row[1] if len(row) > 1 else row[0] for row in rows]
    together = _all_in_one(folder)
    return Molecules(
        layers=_layers(folder) if together is None else _layers_in_one(together),
        cells=table_of_cells(lines(barcodes)),
        genes=table_of_genes(names, ids),
        place_of_cells=str(barcodes),
        place_of_genes=str(features),
    )


def _is_starsolo(folder: Path) -> bool:
    if existing(folder, "spliced.barcodes.txt", "unspliced.barcodes.txt"):  # those of kb
        return False
    has_some = existing(folder, *(f"{kind}.mtx" for kind in KINDS)) is not None
    return has_some or _all_in_one(folder) is not None


def _all_in_one(folder: Path) -> Path | None:
    """Return the matrix of old, of three values an entry; None if there is none."""
    if existing(folder, *(f"{kind}.mtx" for kind in KINDS)):
        return None
    path = existing(folder, "matrix.mtx")
    return path if path is not None and head_of_matrix(path)[2] == N_COLUMNS else None


def _layers(folder: Path) -> dict[str, Layer]:
    paths = {kind: needed(folder, f"{kind}.mtx") for kind in KINDS}
    return {
        kind: Layer(str(paths[kind]), matrix(paths[kind]).T)
        for kind in track(KINDS, "Matrices", slow_steps=True)
    }


def _layers_in_one(path: Path) -> dict[str, Layer]:
    n_lines, sizes, _ = head_of_matrix(path)
    columns = ["gene", "cell", *KINDS]
    with readable(path):
        n_genes, n_cells, n_entries = map(int, sizes)
        entries = pd.read_csv(
            path,
            sep=" ",
            skiprows=n_lines,
            header=None,
            names=columns,
            index_col=False,
            dtype=np.int32,
        )
        if len(entries) != n_entries:
            raise ValueError(f"it has {len(entries):,} entries, not the {n_entries:,} it names")
        where = (entries["cell"].to_numpy() - 1, entries["gene"].to_numpy() - 1)
        shape = (n_cells, n_genes)
        matrices = {
            kind: sparse.coo_matrix((entries[kind].to_numpy(), where), shape=shape)
            for kind in KINDS
        }
    return {
        kind: Layer(f"column {columns.index(kind) + 1} of {path}", values)
        for kind, values in matrices.items()
    }


FORMAT = Format(
    paths="of STARsolo, the folder `Solo.out`, or `Velocyto`, `raw` or `filtered` in it",
    find=find,
    read=read,
)

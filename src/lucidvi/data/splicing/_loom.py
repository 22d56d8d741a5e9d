"""Files of velocyto: ``.loom``, which kb and others write too.

A loom file is of HDF5: each layer a matrix of all values, genes by cells, in compressed tiles.
"""

from __future__ import annotations

import html
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from scipy import sparse

from lucidvi._progress import Progress
from lucidvi.checks import listed
from lucidvi.data.splicing._files import readable
from lucidvi.data.splicing._molecules import Format, Layer, Molecules, Naming
from lucidvi.errors import MissingKeyError

#: Attributes that name cells, in files of velocyto, of kb and of anndata.
CELLS = ("CellID", "barcode", "obs_names")
#: Attributes that name genes.
GENES = ("Gene", "target_name", "var_names")
#: Attribute with identifiers of genes, and how ``var`` calls it.
IDS = {"Accession": "gene_ids"}
#: Values that are read at a time.
N_VALUES = 2**23


def find(path: Path) -> Path | None:
    """Return the file, or None; see :class:`Format`."""
    return path if path.is_file() and path.suffix == ".loom" else None


def read(path: Path) -> Molecules:
    """Return what is in a loom file; see :class:`Format`."""
    with readable(path), h5py.File(path, "r") as file:
        found = list(file.get("layers", ()))
        naming = Naming.among(found, str(path))
        datasets = {kind: file["layers"][name] for kind, name in naming.kinds(found).items()}
        cells = _table(file, "col_attrs", CELLS, path)
        genes = _table(file, "row_attrs", GENES, path)
        total = sum(dataset.shape[1] for dataset in datasets.values())
        with Progress("Cells of all layers", total, slow_steps=True) as progress:
            layers = {
                kind: Layer(f"{dataset.name} of {path}", _by_cells(dataset, progress))
                for kind, dataset in datasets.items()
            }
    return Molecules(
        layers=layers,
        cells=cells,
        genes=genes.rename(columns=IDS),
        place_of_cells=f"/col_attrs of {path}",
        place_of_genes=f"/row_attrs of {path}",
        ambiguous=naming.ambiguous,
    )


def _by_cells(dataset: h5py.Dataset, progress: Progress) -> sparse.csr_matrix:
    """Return a layer of genes by cells as cells by genes, of which few are dense at a time."""
    n_genes, n_cells = dataset.shape
    n_at_a_time = max(1, N_VALUES // max(1, n_genes))
    width = dataset.chunks[1] if dataset.chunks else 1
    if width < n_at_a_time:  # whole tiles, each of which is decompressed once
        n_at_a_time -= n_at_a_time % width
    blocks = [sparse.csr_matrix((0, n_genes), dtype=dataset.dtype)]
    for start in range(0, n_cells, n_at_a_time):
        block = dataset[:, start : start + n_at_a_time]
        blocks.append(sparse.csr_matrix(block.T))
        progress.advance(block.shape[1])
    return sparse.vstack(blocks, format="csr")


def _table(file: h5py.File, group: str, names: tuple[str, ...], path: Path) -> pd.DataFrame:
    """Return attributes of cells or genes that have one value each, by their names."""
    found = {
        key: _values(dataset)
        for key, dataset in file.get(group, {}).items()
        if isinstance(dataset, h5py.Dataset) and dataset.ndim == 1
    }
    key = next((name for name in names if name in found), None)
    if key is None and len(found) == 1:  # as kb calls it with `--loom-names`
        (key,) = found
    if key is None:
        raise MissingKeyError(
            f"{path} has no names in {group}: none is called {names[0]!r}; there are "
            f"{listed(found)}.",
            remedy=f"Write them as {names[0]!r}: "
            f"h5py.File({str(path)!r}, 'a')['{group}/{names[0]}'] = names",
        )
    index = pd.Index(found.pop(key).astype(str), dtype=object)
    return pd.DataFrame(found, index=index)


def _values(dataset: h5py.Dataset) -> np.ndarray:
    """Return an attribute, of text as loompy 2 writes it (ASCII) or loompy 3 (UTF-8)."""
    if h5py.check_string_dtype(dataset.dtype) is None:
        return dataset[()]
    texts = dataset.asstr()[()]
    if dataset.dtype.kind == "S":
        texts = np.array([html.unescape(text) for text in texts], dtype=object)
    return texts


FORMAT = Format(paths="of velocyto, the file that ends in `.loom`", find=find, read=read)

"""Small runs, written as the tools write them: byte for byte where it is text."""

import gzip
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

KINDS = ("spliced", "unspliced", "ambiguous")
BARCODES = ["AAACATAC", "AAACGGCT", "AACCTTGA", "ACGTACGT", "TTTGCATG", "TTTTACCA"]
IDS = ["ENSG1.1", "ENSG2.4", "ENSG3.1", "ENSG4.2"]
NAMES = ["GeneA", '5\'-rich "B"', "ENSG3.1", "NA"]
#: What bustools leaves room for, as it learns how many entries there are at the end.
ROOM = 66


def counted(seed: int = 0) -> dict[str, np.ndarray]:
    """Return counts by kind of six cells and four genes, a fifth of them zero."""
    rng = np.random.default_rng(seed)
    counts = {kind: rng.poisson(1.5, (len(BARCODES), len(IDS))) for kind in KINDS}
    for kind in ("spliced", "unspliced"):
        counts[kind][:, 0] += 1
    return counts


def write_text(path: Path, text: str, compressed: bool = False) -> None:
    """Write a file, with ``.gz`` added to its name if it is compressed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if compressed:
        Path(f"{path}.gz").write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text, encoding="utf-8")


def write_lines(path: Path, lines: Iterable[str], compressed: bool = False) -> None:
    """Write a list of names."""
    write_text(path, "".join(f"{line}\n" for line in lines), compressed)


# -- kb ---------------------------------------------------------------------------------------


def bustools_matrix(path: Path, counts: np.ndarray, compressed: bool = False) -> None:
    """Write cells by genes, without zeros, under a line of fixed width."""
    rows, columns = np.nonzero(counts)
    values = counts[rows, columns]
    entries = zip(rows + 1, columns + 1, values, strict=True)
    sizes = f"{counts.shape[0]} {counts.shape[1]} {len(values)}".ljust(ROOM)
    head = f"%%MatrixMarket matrix coordinate real general\n%\n{sizes}\n"
    text = "".join(f"{row} {column} {value:g}\n" for row, column, value in entries)
    write_text(path, head + text, compressed)


def nac(
    folder: Path,
    counts: dict[str, np.ndarray],
    *,
    compressed: bool = False,
    with_names: bool = True,
    barcodes: Iterable[str] = BARCODES,
) -> Path:
    """Write what ``kb count --workflow nac`` does."""
    prefix = folder / "cells_x_genes"
    names = {"spliced": "mature", "unspliced": "nascent", "ambiguous": "ambiguous"}
    for kind, name in names.items():
        bustools_matrix(Path(f"{prefix}.{name}.mtx"), counts[kind], compressed)
    write_lines(Path(f"{prefix}.barcodes.txt"), barcodes, compressed)
    write_lines(Path(f"{prefix}.genes.txt"), IDS, compressed)
    if with_names:
        write_lines(Path(f"{prefix}.genes.names.txt"), NAMES, compressed)
    return folder


def lamanno(folder: Path, counts: dict[str, np.ndarray]) -> Path:
    """Write what ``kb count --workflow lamanno`` does: each kind with the cells that have any."""
    for kind in ("spliced", "unspliced"):
        some = counts[kind].any(axis=1)
        bustools_matrix(folder / f"{kind}.mtx", counts[kind][some])
        write_lines(folder / f"{kind}.barcodes.txt", np.array(BARCODES)[some])
        write_lines(folder / f"{kind}.genes.txt", IDS)
    return folder


def kb_h5ad(
    path: Path, layers: dict[str, np.ndarray], genes: list[str] = IDS, total: bool = True
) -> Path:
    """Write what ``kb count --h5ad`` does: floating point, with the sum in ``X``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stored = {name: sparse.csr_matrix(layer.astype(np.float64)) for name, layer in layers.items()}
    adata = AnnData(
        sum(stored.values()) if total else next(iter(stored.values())),
        obs=pd.DataFrame(index=pd.Index(BARCODES, name="barcode")),
        var=pd.DataFrame(index=pd.Index(genes, name="gene_id")),
        layers=stored,
    )
    adata.write_h5ad(path)
    return path


# -- STARsolo ---------------------------------------------------------------------------------


def starsolo(
    folder: Path, counts: dict[str, np.ndarray], *, compressed: bool = False, n_columns: int = 3
) -> Path:
    """Write what STAR 2.7.8a and newer do: genes by cells, entries of all kinds in each file."""
    entries, head = _entries_of_star(counts)
    for kind in KINDS:
        values = (f"{gene + 1} {cell + 1} {counts[kind][cell, gene]}\n" for cell, gene in entries)
        write_text(folder / f"{kind}.mtx", head + "".join(values), compressed)
    _names_of_star(folder, compressed, n_columns)
    return folder


def old_starsolo(folder: Path, counts: dict[str, np.ndarray], compressed: bool = False) -> Path:
    """Write what STAR 2.7.3a to 2.7.7a do: one matrix, with three values an entry."""
    entries, head = _entries_of_star(counts)
    text = head
    for cell, gene in entries:
        values = " ".join(str(counts[kind][cell, gene]) for kind in KINDS)
        text += f"{gene + 1} {cell + 1} {values}\n"
    write_text(folder / "matrix.mtx", text, compressed)
    _names_of_star(folder, compressed, n_columns=2)
    return folder


def _entries_of_star(counts: dict[str, np.ndarray]) -> tuple[np.ndarray, str]:
    n_cells, n_genes = counts["spliced"].shape
    entries = np.argwhere(sum(counts.values()))
    return entries, (
        "%%MatrixMarket matrix coordinate integer general\n%\n"
        f"{n_genes} {n_cells} {len(entries)}\n"
    )


def _names_of_star(folder: Path, compressed: bool, n_columns: int) -> None:
    rows = zip(IDS, NAMES, ["Gene Expression"] * len(IDS), strict=True)
    features = ("\t".join(row[:n_columns]) for row in rows)
    write_lines(folder / "features.tsv", features, compressed)
    write_lines(folder / "barcodes.tsv", BARCODES, compressed)


# -- loom -------------------------------------------------------------------------------------


def loom(
    path: Path,
    layers: dict[str, np.ndarray],
    row_attrs: dict[str, Iterable],
    col_attrs: dict[str, Iterable],
    *,
    dtype: str = "uint32",
    text: str = "utf-8",
) -> Path:
    """Write what loompy 3 does, or with ``text="ascii"`` loompy 2: layers of genes by cells."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        total = sum(layers.values()).T.astype("float32")
        _tiles(file, "matrix", total)
        for name, layer in layers.items():
            _tiles(file, f"layers/{name}", layer.T.astype(dtype))
        for group, attributes in (("row_attrs", row_attrs), ("col_attrs", col_attrs)):
            for name, values in attributes.items():
                file[f"{group}/{name}"] = _attribute(np.asarray(values), text)
        file.create_group("row_graphs")
        file.create_group("col_graphs")
    return path


def _tiles(file: h5py.File, name: str, values: np.ndarray) -> None:
    chunks = tuple(min(64, n) for n in values.shape)
    maxshape = (values.shape[0], None)
    file.create_dataset(
        name, data=values, chunks=chunks, maxshape=maxshape, compression="gzip", compression_opts=2
    )


def _attribute(values: np.ndarray, text: str) -> np.ndarray:
    if values.dtype.kind not in "UO":
        return values
    if text == "ascii":
        return np.array([str(value).encode("ascii", "xmlcharrefreplace") for value in values])
    return values.astype(object).astype(h5py.string_dtype())


def velocyto(path: Path, counts: dict[str, np.ndarray], **options: str) -> Path:
    """Write what ``velocyto run10x`` does."""
    rows = {
        "Gene": NAMES,
        "Accession": IDS,
        "Chromosome": ["1"] * len(IDS),
        "Strand": ["+"] * len(IDS),
        "Start": np.arange(len(IDS)),
        "End": np.arange(len(IDS)) + 100,
    }
    cells = {"CellID": [f"sample:{barcode}x" for barcode in BARCODES]}
    return loom(path, counts, rows, cells, **options)


# -- all of them ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Form:
    """One form in which the same molecules may come.

    Parameters
    ----------
    format
        Its row of the table.
    write
        Writes counts into a folder, and returns what a user gives.
    ambiguous
        What is done with ambiguous molecules; None if the tool counts none.
    names
        Names of the genes.
    has_ids
        Whether identifiers are known.
    cells
        Names of the cells.
    """

    format: str
    write: Callable[[Path, dict[str, np.ndarray]], Path]
    ambiguous: str | None = "apart"
    names: tuple[str, ...] = tuple(NAMES)
    has_ids: bool = True
    cells: tuple[str, ...] = tuple(BARCODES)


def in_kb(counts: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return counts by the names that kb gives them."""
    return dict(zip(("mature", "nascent", "ambiguous"), counts.values(), strict=True))


def without_ambiguous(counts: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return spliced and unspliced counts."""
    return {kind: counts[kind] for kind in ("spliced", "unspliced")}


def _h5ad_beside_matrices(folder: Path, counts: dict[str, np.ndarray], genes: list[str]) -> Path:
    return kb_h5ad(nac(folder, counts) / "adata.h5ad", in_kb(counts), genes)


def _filtered_and_unfiltered(folder: Path, counts: dict[str, np.ndarray]) -> Path:
    none = {kind: np.zeros_like(values) for kind, values in counts.items()}
    nac(folder / "counts_unfiltered", none)
    nac(folder / "counts_filtered", counts, with_names=False)
    return folder


def _of_kb_in_loom(folder: Path, counts: dict[str, np.ndarray], cell: str, gene: str) -> Path:
    path = folder / "adata.loom"
    return loom(path, in_kb(counts), {gene: IDS}, {cell: BARCODES}, dtype="float64")


IN_LOOM = {"cells": tuple(f"sample:{barcode}x" for barcode in BARCODES)}
BY_IDS = {"names": tuple(IDS), "has_ids": False}
FORMS = {
    "kb nac": Form("kb", nac, "spliced"),
    "kb nac, compressed": Form("kb", lambda f, c: nac(f, c, compressed=True), "spliced"),
    "kb nac, its run": Form("kb", lambda f, c: nac(f / "counts_unfiltered", c).parent, "spliced"),
    "kb nac, filtered": Form("kb", _filtered_and_unfiltered, "spliced"),
    "kb nac, no names": Form(
        "kb", lambda f, c: nac(f, c, with_names=False), "spliced", names=tuple(IDS)
    ),
    "kb h5ad": Form("kb", lambda f, c: kb_h5ad(f / "adata.h5ad", in_kb(c)), "spliced", **BY_IDS),
    "kb h5ad, in its folder": Form(
        "kb", lambda f, c: kb_h5ad(f / "adata.h5ad", in_kb(c)).parent, "spliced", **BY_IDS
    ),
    "kb h5ad, beside matrices": Form(
        "kb", lambda f, c: _h5ad_beside_matrices(f, c, IDS), "spliced"
    ),
    "kb h5ad, of names": Form("kb", lambda f, c: _h5ad_beside_matrices(f, c, NAMES), "spliced"),
    "kb loom": Form(
        "loom", lambda f, c: _of_kb_in_loom(f, c, "barcode", "target_name"), "spliced", **BY_IDS
    ),
    "kb loom, other names": Form(
        "loom", lambda f, c: _of_kb_in_loom(f, c, "cell", "gene"), "spliced", **BY_IDS
    ),
    "kb lamanno": Form("kb", lamanno, None, names=tuple(IDS)),
    "kb lamanno h5ad": Form(
        "kb",
        lambda f, c: kb_h5ad(f / "adata.h5ad", without_ambiguous(c), total=False),
        None,
        **BY_IDS,
    ),
    "starsolo": Form("starsolo", starsolo),
    "starsolo, two columns": Form("starsolo", lambda f, c: starsolo(f, c, n_columns=2)),
    "starsolo, compressed": Form("starsolo", lambda f, c: starsolo(f, c, compressed=True)),
    "starsolo, its run": Form(
        "starsolo", lambda f, c: starsolo(f / "Solo.out/Velocyto/raw", c).parents[2]
    ),
    "starsolo, Solo.out": Form(
        "starsolo", lambda f, c: starsolo(f / "Velocyto/filtered", c).parents[1]
    ),
    "starsolo, Velocyto": Form("starsolo", lambda f, c: starsolo(f / "raw", c).parent),
    "starsolo, old": Form("starsolo", old_starsolo),
    "starsolo, old, compressed": Form("starsolo", lambda f, c: old_starsolo(f, c, True)),
    "velocyto": Form("loom", lambda f, c: velocyto(f / "sample.loom", c), **IN_LOOM),
    "velocyto, 16 bits": Form(
        "loom", lambda f, c: velocyto(f / "sample.loom", c, dtype="uint16"), **IN_LOOM
    ),
    "velocyto, loompy 2": Form(
        "loom",
        lambda f, c: velocyto(f / "sample.loom", c, dtype="float32", text="ascii"),
        **IN_LOOM,
    ),
}

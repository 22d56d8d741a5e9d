"""What is particular to files of kb."""

from pathlib import Path

import numpy as np
import pytest
from anndata import read_h5ad
from tests.data.splicing.written import (
    BARCODES,
    IDS,
    NAMES,
    bustools_matrix,
    counted,
    in_kb,
    kb_h5ad,
    lamanno,
    nac,
    write_lines,
)

from lucidvi.data import layer_names, read_splicing
from lucidvi.errors import DataError, FileError, MissingKeyError


def test_matrices_are_read_where_there_is_an_h5ad_too(tmp_path: Path):
    """One that kb did not finish has no layers, and hides nothing."""
    counts = counted()
    nac(tmp_path, counts)
    kb_h5ad(tmp_path / "adata.h5ad", {"X": counts["spliced"]})
    adata = read_splicing(tmp_path)
    np.testing.assert_array_equal(adata.layers["unspliced"].toarray(), counts["unspliced"])


def test_barcodes_of_several_samples(tmp_path: Path):
    """``--batch-barcodes``: kb's own h5ad has prefix and barcode together as name of a cell."""
    barcodes = [*BARCODES[:3], *BARCODES[:3]]
    samples = ["AAAAAAAA"] * 3 + ["AAAAAAAC"] * 3
    nac(tmp_path, counted(), barcodes=barcodes)
    write_lines(tmp_path / "cells_x_genes.barcodes.prefix.txt", samples)
    names = read_splicing(tmp_path).obs_names
    assert names.is_unique
    assert names[0] == "AAAAAAAAAAACATAC"
    assert names[3] == "AAAAAAACAAACATAC"


def test_cells_of_lamanno_without_unspliced_molecules_are_kept(tmp_path: Path):
    counts = counted()
    counts["unspliced"][[1, 4]] = 0
    counts["spliced"][2] = 0
    adata = read_splicing(lamanno(tmp_path, counts))
    assert list(adata.obs_names) == BARCODES
    for kind in ("spliced", "unspliced"):
        np.testing.assert_array_equal(adata.layers[kind].toarray(), counts[kind])


def test_mature_layers_without_ambiguous_ones(tmp_path: Path):
    """kb 0.28 and newer call the layers of ``lamanno`` so."""
    counts = counted()
    layers = {"mature": counts["spliced"], "nascent": counts["unspliced"]}
    adata = read_splicing(kb_h5ad(tmp_path / "adata.h5ad", layers))
    assert layer_names(adata) == ["spliced", "unspliced"]
    np.testing.assert_array_equal(adata.layers["spliced"].toarray(), counts["spliced"])


def test_what_was_read_can_be_read_again(tmp_path: Path):
    """Ambiguous molecules are not added a second time."""
    path = tmp_path / "mine.h5ad"
    read_splicing(nac(tmp_path, counted())).write_h5ad(path)
    again = read_splicing(path)
    for kind, layer in read_h5ad(path).layers.items():
        assert (again.layers[kind] != layer).nnz == 0


def test_other_columns_of_an_h5ad_are_kept(tmp_path: Path):
    path = kb_h5ad(tmp_path / "adata.h5ad", in_kb(counted()))
    adata = read_h5ad(path)
    adata.obs["sample"] = "s1"
    adata.var["length"] = 7
    adata.write_h5ad(path)
    adata = read_splicing(path)
    assert list(adata.obs.columns) == ["sample"]
    assert list(adata.var.columns) == ["length"]


def test_unnamed_layers(tmp_path: Path):
    """``--workflow nucleus`` writes the sum alone."""
    path = kb_h5ad(tmp_path / "adata.h5ad", {"total": counted()["spliced"]})
    with pytest.raises(MissingKeyError) as error:
        read_splicing(path)
    assert "'mature' and 'nascent', or 'spliced' and 'unspliced'; it has 'total'" in str(
        error.value
    )
    assert "--workflow nac" in error.value.remedy


@pytest.mark.parametrize("name", ["ambiguous.mtx", "barcodes.txt", "genes.txt"])
def test_missing_file(name: str, tmp_path: Path):
    nac(tmp_path, counted())
    (tmp_path / f"cells_x_genes.{name}").unlink()
    with pytest.raises(FileError) as error:
        read_splicing(tmp_path)
    assert f"has no file 'cells_x_genes.{name}'; it has 'cells_x_genes." in str(error.value)
    assert "Copy the whole folder" in error.value.remedy


def test_half_of_lamanno(tmp_path: Path):
    lamanno(tmp_path, counted())
    (tmp_path / "unspliced.mtx").unlink()
    with pytest.raises(FileError, match=r"has no file 'unspliced.mtx'"):
        read_splicing(tmp_path)


def test_lamanno_of_two_references(tmp_path: Path):
    lamanno(tmp_path, counted())
    write_lines(tmp_path / "unspliced.genes.txt", IDS[::-1])
    with pytest.raises(DataError, match=r"unspliced.genes.txt name different genes"):
        read_splicing(tmp_path)


def test_shared_molecules(tmp_path: Path):
    """``--mm`` shares a molecule between the genes that it may be of."""
    counts = counted()
    nac(tmp_path, counts)
    shared = counts["unspliced"].astype(float)
    shared[2, 0] = 0.5
    bustools_matrix(tmp_path / "cells_x_genes.nascent.mtx", shared)
    with pytest.raises(DataError) as error:
        read_splicing(tmp_path)
    assert "cells_x_genes.nascent.mtx are no numbers of molecules" in str(error.value)
    assert "the first is 0.5, of cell 'AACCTTGA' and gene 'GeneA'" in str(error.value)
    assert "`--mm`" in error.value.remedy


def test_barcodes_of_another_run(tmp_path: Path):
    nac(tmp_path, counted(), barcodes=BARCODES[:4])
    with pytest.raises(DataError) as error:
        read_splicing(tmp_path)
    assert "barcodes.txt names 4 cells, but" in str(error.value)
    assert "cells_x_genes.mature.mtx has counts of 6" in str(error.value)


def test_names_of_another_run(tmp_path: Path):
    nac(tmp_path, counted())
    write_lines(tmp_path / "cells_x_genes.genes.names.txt", NAMES[:3])
    with pytest.raises(DataError, match=r"genes.txt has 4 lines, but .*names.txt has 3"):
        read_splicing(tmp_path)


def test_no_anndata(tmp_path: Path):
    path = tmp_path / "adata.h5ad"
    path.write_bytes(b"\x89HDF\r\n\x1a\n and no more")
    with pytest.raises(FileError, match=r"adata.h5ad cannot be read") as error:
        read_splicing(path)
    assert "Give its folder" in error.value.remedy


def test_sums_beyond_32_bits_do_not_wrap(tmp_path: Path):
    counts = {kind: values.astype(float) for kind, values in counted().items()}
    counts["spliced"][1, 2], counts["ambiguous"][1, 2] = 2**31 - 2, 2
    path = kb_h5ad(tmp_path / "adata.h5ad", in_kb(counts))
    with pytest.raises(DataError, match=r"in the sum of spliced and ambiguous counts of .*h5ad"):
        read_splicing(path)
    assert read_splicing(path, ambiguous="apart").X.max() == 2**31 - 2

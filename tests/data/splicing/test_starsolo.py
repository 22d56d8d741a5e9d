"""What is particular to files of STARsolo."""

from pathlib import Path

import numpy as np
import pytest
from tests.data.splicing.written import (
    BARCODES,
    IDS,
    counted,
    old_starsolo,
    starsolo,
    write_lines,
    write_text,
)

from lucidvi.data import read_splicing
from lucidvi.errors import DataError, FileError

HEAD = "%%MatrixMarket matrix coordinate integer general\n%\n"


def test_filtered_cells_come_first(tmp_path: Path):
    counts = counted()
    few = {kind: values[:2] for kind, values in counts.items()}
    starsolo(tmp_path / "Velocyto" / "raw", counts)
    starsolo(tmp_path / "Velocyto" / "filtered", few)
    write_lines(tmp_path / "Velocyto" / "filtered" / "barcodes.tsv", BARCODES[:2])
    assert read_splicing(tmp_path).n_obs == 2
    assert read_splicing(tmp_path / "Velocyto").n_obs == 2
    assert read_splicing(tmp_path / "Velocyto" / "raw").n_obs == 6


def test_kinds_of_other_sparsity(tmp_path: Path):
    """Zeros are stored, and may be left out by what compressed the files."""
    counts = counted()
    starsolo(tmp_path, counts)
    entries = np.argwhere(counts["ambiguous"])
    values = (f"{g + 1} {c + 1} {counts['ambiguous'][c, g]}\n" for c, g in entries)
    write_text(tmp_path / "ambiguous.mtx", f"{HEAD}4 6 {len(entries)}\n" + "".join(values))
    adata = read_splicing(tmp_path)
    np.testing.assert_array_equal(adata.layers["ambiguous"].toarray(), counts["ambiguous"])


def test_names_that_repeat_are_kept(tmp_path: Path):
    starsolo(tmp_path, counted())
    features = [f"{gene}\tMATR3\tGene Expression" for gene in IDS]
    write_lines(tmp_path / "features.tsv", features)
    with pytest.warns(UserWarning, match="var_names_make_unique"):
        adata = read_splicing(tmp_path)
    assert list(adata.var_names) == ["MATR3"] * 4
    assert list(adata.var["gene_ids"]) == IDS


def test_names_of_genes_as_before(tmp_path: Path):
    starsolo(tmp_path, counted())
    (tmp_path / "features.tsv").rename(tmp_path / "genes.tsv")
    assert list(read_splicing(tmp_path).var["gene_ids"]) == IDS


def test_one_matrix_of_one_value_is_none_of_molecules(tmp_path: Path):
    """That of ``Gene`` is as it is named everywhere."""
    folder = tmp_path / "Gene" / "raw"
    write_text(folder / "matrix.mtx", f"{HEAD}4 6 1\n1 1 2\n")
    for format in (None, "starsolo"):
        with pytest.raises(FileError, match="no spliced and unspliced counts") as error:
            read_splicing(folder, format)
        assert "`Velocyto`" in error.value.remedy


@pytest.mark.parametrize("name", ["unspliced.mtx", "barcodes.tsv", "features.tsv"])
def test_missing_file(name: str, tmp_path: Path):
    starsolo(tmp_path, counted())
    (tmp_path / name).unlink()
    with pytest.raises(FileError, match=f"has no file '{name}'; it has '"):
        read_splicing(tmp_path)


def test_shapes_that_differ(tmp_path: Path):
    starsolo(tmp_path, counted())
    write_text(tmp_path / "unspliced.mtx", f"{HEAD}4 5 1\n1 1 2\n")
    with pytest.raises(DataError) as error:
        read_splicing(tmp_path)
    assert "spliced.mtx has 6 cells and 4 genes, but" in str(error.value)
    assert "unspliced.mtx has 5 cells and 4 genes" in str(error.value)


def test_features_of_another_run(tmp_path: Path):
    starsolo(tmp_path, counted())
    write_lines(tmp_path / "features.tsv", IDS[:3])
    with pytest.raises(DataError, match=r"features.tsv names 3 genes, but .* of 4"):
        read_splicing(tmp_path)


@pytest.mark.parametrize("compressed", [False, True])
def test_cut_off(compressed: bool, tmp_path: Path):
    starsolo(tmp_path, counted(), compressed=compressed)
    path = tmp_path / ("spliced.mtx.gz" if compressed else "spliced.mtx")
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(FileError, match=r"spliced.mtx.* cannot be read") as error:
        read_splicing(tmp_path)
    assert "it was cut off" in error.value.remedy


@pytest.mark.parametrize(
    "entries",
    [
        pytest.param("1 1 2 0 0\n", id="too few"),
        pytest.param("1 1 2 0 0\n2 9 1 0 1\n", id="no such cell"),
        pytest.param("1 1 2 0 0\n2 2 x 0 1\n", id="no number"),
    ],
)
def test_damaged_matrix_of_old(entries: str, tmp_path: Path):
    old_starsolo(tmp_path, counted())
    write_text(tmp_path / "matrix.mtx", f"{HEAD}4 6 2\n{entries}")
    with pytest.raises(FileError, match=r"matrix.mtx cannot be read"):
        read_splicing(tmp_path)


def test_run_that_counted_nothing(tmp_path: Path):
    """As STAR does where ``--soloFeatures`` does not name ``Gene``."""
    starsolo(tmp_path, {kind: 0 * values for kind, values in counted().items()})
    with pytest.raises(DataError, match="all values are zero") as error:
        read_splicing(tmp_path)
    assert "`Gene` as well as `Velocyto`" in error.value.remedy

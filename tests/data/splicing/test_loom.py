"""What is particular to loom files."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy import sparse
from tests.data.splicing.written import (
    BARCODES,
    IDS,
    KINDS,
    NAMES,
    counted,
    loom,
    velocyto,
    without_ambiguous,
)

from lucidvi.data import layer_names, read_splicing
from lucidvi.data.splicing import _loom
from lucidvi.errors import DataError, FileError, MissingKeyError


def test_other_attributes_are_columns(tmp_path: Path):
    path = velocyto(tmp_path / "a.loom", counted())
    with h5py.File(path, "a") as file:
        file["col_attrs/Clusters"] = np.arange(6)
        file["col_attrs/pca"] = np.zeros((6, 2))
    adata = read_splicing(path)
    assert list(adata.obs.columns) == ["Clusters"]
    assert list(adata.obs["Clusters"]) == list(range(6))
    assert set(adata.var.columns) == {"gene_ids", "Chromosome", "Strand", "Start", "End"}
    assert list(adata.var["Chromosome"]) == ["1"] * 4
    assert adata.var["Start"].dtype.kind == "i"


@pytest.mark.parametrize("text", ["utf-8", "ascii"])
def test_names_beyond_ascii(text: str, tmp_path: Path):
    names = ["β-gene", *NAMES[1:]]
    layers = counted()
    path = loom(tmp_path / "a.loom", layers, {"Gene": names}, {"CellID": BARCODES}, text=text)
    assert list(read_splicing(path).var_names) == names


def test_names_that_repeat_are_kept(tmp_path: Path):
    path = loom(
        tmp_path / "a.loom",
        counted(),
        {"Gene": ["MATR3"] * 4, "Accession": IDS},
        {"CellID": BARCODES},
    )
    with pytest.warns(UserWarning, match="var_names_make_unique"):
        adata = read_splicing(path)
    assert list(adata.var_names) == ["MATR3"] * 4
    assert list(adata.var["gene_ids"]) == IDS


@pytest.mark.parametrize("n_values", [1, 300, 64 * 40, 10_000])
@pytest.mark.parametrize("tiles", [(64, 64), (40, 1), (1, 200), None])
def test_any_number_of_values_at_a_time(
    n_values: int, tiles: tuple[int, int] | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(_loom, "N_VALUES", n_values)
    rng = np.random.default_rng(0)
    counts = {kind: rng.poisson(0.3, (200, 40)) for kind in KINDS}
    path = tmp_path / "a.loom"
    with h5py.File(path, "w") as file:
        for kind, values in counts.items():
            chunks = tiles and (min(40, tiles[0]), tiles[1])
            file.create_dataset(f"layers/{kind}", data=values.T, chunks=chunks)
        file["row_attrs/Gene"] = [f"g{gene}" for gene in range(40)]
        file["col_attrs/CellID"] = [f"c{cell}" for cell in range(200)]
    adata = read_splicing(path)
    for kind, values in counts.items():
        np.testing.assert_array_equal(adata.layers[kind].toarray(), values)


def test_few_values_are_dense_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    largest = 0

    def watched(block, **keywords):
        nonlocal largest
        largest = max(largest, getattr(block, "nbytes", 0) // 4)
        return sparse.csr_matrix(block, **keywords)

    class Sparse:
        csr_matrix = staticmethod(watched)
        vstack = staticmethod(sparse.vstack)

    monkeypatch.setattr(_loom, "N_VALUES", 2**14)
    monkeypatch.setattr(_loom, "sparse", Sparse)
    values = np.random.default_rng(0).poisson(0.1, (1_000, 100))
    names = {"Gene": np.arange(100).astype(str)}, {"CellID": np.arange(1_000).astype(str)}
    path = loom(tmp_path / "a.loom", {"spliced": values, "unspliced": values}, *names)
    np.testing.assert_array_equal(read_splicing(path).X.toarray(), values)
    assert 64 * 100 <= largest <= 2**14


def test_no_ambiguous_layer(tmp_path: Path):
    """Loompy's own command writes none: what was not counted is missing, and not zero."""
    counts = without_ambiguous(counted())
    path = velocyto(tmp_path / "a.loom", counts)
    assert layer_names(read_splicing(path)) == ["spliced", "unspliced"]
    assert layer_names(read_splicing(path, ambiguous="apart")) == ["spliced", "unspliced"]
    with pytest.raises(MissingKeyError) as error:
        read_splicing(path, ambiguous="spliced")
    assert "`ambiguous` is 'spliced', but" in str(error.value)
    assert "Leave `ambiguous` out" in error.value.remedy


def test_missing_layer(tmp_path: Path):
    path = velocyto(tmp_path / "a.loom", {"spliced": counted()["spliced"]})
    with pytest.raises(MissingKeyError, match="it has 'spliced'") as error:
        read_splicing(path)
    assert "velocyto run" in error.value.remedy


def test_no_layers_at_all(tmp_path: Path):
    path = velocyto(tmp_path / "a.loom", counted())
    with h5py.File(path, "a") as file:
        del file["layers"]
    with pytest.raises(MissingKeyError, match="it has none"):
        read_splicing(path)


def test_no_names(tmp_path: Path):
    rows = {"Gene": NAMES}
    path = loom(tmp_path / "a.loom", counted(), rows, {"tissue": ["a"] * 6, "age": range(6)})
    with pytest.raises(MissingKeyError) as error:
        read_splicing(path)
    assert "col_attrs: none is called 'CellID'; there are 'age', 'tissue'" in str(error.value)
    assert "['col_attrs/CellID'] = names" in error.value.remedy


def test_layers_of_other_shapes(tmp_path: Path):
    path = velocyto(tmp_path / "a.loom", counted())
    with h5py.File(path, "a") as file:
        del file["layers/unspliced"]
        file["layers/unspliced"] = np.ones((4, 5))
    with pytest.raises(DataError, match=r"/layers/unspliced of .* has 5 cells and 4 genes"):
        read_splicing(path)


@pytest.mark.parametrize("value", [0.25, -1.0, np.nan, np.inf, 2.0**31])
def test_values_that_are_no_counts(value: float, tmp_path: Path):
    counts = {kind: values.astype(float) for kind, values in counted().items()}
    counts["unspliced"][3, 2] = value
    path = velocyto(tmp_path / "a.loom", counts, dtype="float64")
    with pytest.raises(DataError) as error:
        read_splicing(path)
    assert str(error.value).startswith("1 of ")
    assert f"values in /layers/unspliced of {path} are no numbers of molecules" in str(error.value)
    where = "of cell 'sample:ACGTACGTx' and gene 'ENSG3.1'"
    assert f"the first is {value!r}, {where}" in str(error.value)


def test_no_hdf5(tmp_path: Path):
    path = tmp_path / "a.loom"
    path.write_text("CellID\n")
    with pytest.raises(FileError, match=r"a.loom cannot be read"):
        read_splicing(path)

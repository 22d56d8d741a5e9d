"""Only a matrix that can hold all the counts is named, by its values and not by its name."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pytest
from anndata import AnnData
from scipy import sparse

from lucidvi.data import check_counts
from lucidvi.data.checks._sources import first_cells
from lucidvi.errors import DataError

pytestmark = pytest.mark.filterwarnings("ignore:Transforming to str index")


def error_of(adata: AnnData, **arguments: Any) -> DataError:
    with pytest.raises(DataError) as error:
        check_counts(adata, **arguments)
    return error.value


def layers_named(adata: AnnData, **arguments: Any) -> list[str]:
    """Return the layers that the remedy tells to train on, and X as ``X``, raw as ``raw``."""
    code = [code for code in error_of(adata, **arguments).code if "is_count_data" not in code]
    names = [code.split('layer="')[1].split('"')[0] for code in code if 'layer="' in code]
    return ["raw" if any("adata.raw" in line for line in code) else name for name in names]


def molecules() -> dict[str, np.ndarray]:
    """Return spliced, unspliced and ambiguous molecules, with an integer in each cell of each."""
    rng = np.random.default_rng(0)
    rate = rng.gamma(0.5, 4.0, 40) * rng.lognormal(0, 0.3, (80, 1))
    parts = {
        "spliced": rng.poisson(rate),
        "unspliced": rng.poisson(rate * rng.uniform(0.05, 0.6, 40)),
        "ambiguous": rng.poisson(0.05 * rate),
    }
    for part in parts.values():
        part[:, 0] += 1
    return {name: part.astype("float32") for name, part in parts.items()}


def normalised(x: np.ndarray) -> sparse.csr_matrix:
    return sparse.csr_matrix(x / x.sum(axis=1, keepdims=True) * 100)


def scaled(x: np.ndarray) -> np.ndarray:
    x = np.log1p(np.asarray(normalised(x).todense()))
    return (x - x.mean(axis=0)) / (x.std(axis=0) + 1e-3)


VALUES: dict[str, Callable[[np.ndarray], Any]] = {
    "log-normalised": lambda x: normalised(x).log1p(),
    "normalised": normalised,
    "root": lambda x: sparse.csr_matrix(np.sqrt(x)),
    "scaled": scaled,
}
of_all_kinds = pytest.mark.parametrize("kind", VALUES)


@of_all_kinds
def test_after_scvelo_a_part_of_the_molecules_is_not_named(kind: str):
    parts = molecules()
    adata = AnnData(VALUES[kind](parts["spliced"]))
    adata.layers["spliced"] = normalised(parts["spliced"])
    adata.layers["unspliced"] = normalised(parts["unspliced"])
    adata.layers["ambiguous"] = sparse.csr_matrix(parts["ambiguous"])
    assert layers_named(adata) == []
    text = str(error_of(adata))
    assert "no layer of adata, nor adata.raw, holds all counts" in text
    assert '(adata.layers["ambiguous"]: it holds a part of them)' in text


@of_all_kinds
def test_before_it_the_whole_is_named(kind: str):
    parts = molecules()
    adata = AnnData(VALUES[kind](parts["spliced"]), layers=dict(parts))
    assert layers_named(adata) == ["spliced"]
    whole = sum(parts.values())
    adata = AnnData(VALUES[kind](whole), layers={**parts, "matrix": whole})
    assert "matrix" in layers_named(adata)
    assert not {"unspliced", "ambiguous"} & set(layers_named(adata))


@of_all_kinds
@pytest.mark.parametrize("convert", [np.asarray, sparse.csr_matrix, sparse.csc_matrix])
def test_flags_and_constants_are_not_named(kind: str, convert: Callable):
    x = molecules()["spliced"]
    layers = {
        "detected": x > 0,
        "flags": (x > 0).astype("float32"),
        "ones": np.ones_like(x),
        "fives": np.full_like(x, 5),
        "nothing": np.zeros_like(x),
    }
    adata = AnnData(VALUES[kind](x), layers={name: convert(y) for name, y in layers.items()})
    assert layers_named(adata) == []
    adata.layers["counts"] = convert(x)
    assert layers_named(adata) == ["counts"]


@pytest.mark.parametrize("kind", ["log-normalised", "normalised", "root"])
def test_bins_of_the_values_are_not_named(kind: str):
    x = molecules()["spliced"]
    values = np.asarray(VALUES[kind](x).todense())
    bins = np.zeros_like(x)
    for row, cell in zip(bins, values, strict=True):  # ten bins of equal size in each cell
        seen = cell > 0
        row[seen] = 1 + np.argsort(np.argsort(cell[seen])) * 10 // seen.sum()
    adata = AnnData(VALUES[kind](x), layers={"binned": bins})
    assert layers_named(adata) == []
    assert "it is not what the values were made of" in str(error_of(adata))


def test_values_that_were_imputed_or_corrected_do_not_hide_the_counts():
    x = molecules()["spliced"]
    neighbours = np.log1p((x + np.roll(x, 1, axis=0) + np.roll(x, 2, axis=0)) / 3)
    smoothed = AnnData(neighbours + 0.01, layers={"counts": x})  # dense
    assert layers_named(smoothed) == ["counts"]
    corrected = AnnData(scaled(x) @ np.random.default_rng(0).normal(size=(40, 40)))
    corrected.layers["counts"] = x
    corrected.layers["log"] = VALUES["log-normalised"](x)
    assert layers_named(corrected) == ["counts"]


def test_nan_does_not_hide_the_counts():
    x = molecules()["spliced"]
    x[:, 3] = 1
    with np.errstate(invalid="ignore"):
        adata = AnnData((x - x.mean(axis=0)) / x.std(axis=0), layers={"counts": x, "part": x * 0})
    adata.layers["part"][:, 0] = 7
    assert layers_named(adata) == ["counts"]
    log = VALUES["log-normalised"](x)
    log.data[3] = np.nan
    assert layers_named(AnnData(log, layers={"counts": x})) == ["counts"]
    adata.raw = AnnData(x, var=adata.var)
    del adata.layers["counts"]
    assert layers_named(adata) == ["raw"]


def test_raw_is_judged_too():
    x = molecules()["spliced"]
    adata = AnnData(VALUES["log-normalised"](x))
    adata.raw = AnnData((x > 0).astype("float32"), var=adata.var)
    assert layers_named(adata) == []
    adata.raw = AnnData(x, var=adata.var)
    assert layers_named(adata) == ["raw"]
    adata.raw = AnnData(VALUES["log-normalised"](x), var=adata.var)
    assert layers_named(adata) == []


@pytest.mark.parametrize(
    "convert",
    [np.asarray, np.asfortranarray, sparse.csr_matrix, sparse.csc_matrix, sparse.csr_array],
)
def test_first_cells_of_any_format(convert: Callable, tmp_path: Path):
    x = molecules()["spliced"]
    expected = x[:7]
    np.testing.assert_array_equal(first_cells(convert(x), "x", 7).toarray(), expected)
    AnnData(convert(x)).write_h5ad(tmp_path / "x.h5ad")
    backed = anndata.read_h5ad(tmp_path / "x.h5ad", backed="r").X
    np.testing.assert_array_equal(first_cells(backed, "x", 7).toarray(), expected)
    np.testing.assert_array_equal(first_cells(convert(x), "x", 500).toarray(), x)


def test_real_velocity_data(real_data: Callable[[str], AnnData]):
    adata = real_data("pancreas_velocity")[:300].copy()
    one = sparse.csr_matrix(np.eye(1, adata.n_vars, dtype="float32").repeat(300, axis=0))
    spliced, unspliced = (adata.layers[name] + one for name in ("spliced", "unspliced"))
    dense = spliced.toarray()
    for kind, values in VALUES.items():
        both = AnnData(values(dense), layers={"spliced": spliced, "unspliced": unspliced})
        assert layers_named(both) == ["spliced"], kind
        part = AnnData(values(dense), layers={"unspliced": unspliced})
        part.layers["spliced"] = normalised(dense)
        assert layers_named(part) == [], kind

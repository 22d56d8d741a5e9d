"""Every value is checked, whatever the format, and the message says what to do."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pytest
import scanpy as sc
from anndata import AnnData
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import sparse

from lucidvi.data import check_counts
from lucidvi.data.checks._scan import holds_counts, scan
from lucidvi.data.matrices import _blocks, _stored
from lucidvi.errors import DataError, MissingKeyError

FORMATS: dict[str, Callable[[np.ndarray], Any]] = {
    "C order": np.ascontiguousarray,
    "F order": np.asfortranarray,
    "strided": lambda x: np.repeat(np.repeat(x, 2, axis=0), 2, axis=1)[::2, ::2],
    "csr_matrix": sparse.csr_matrix,
    "csc_matrix": sparse.csc_matrix,
    "csr_array": sparse.csr_array,
    "csc_array": sparse.csc_array,
}
DTYPES = ["bool", "uint8", "uint16", "int16", "int32", "int64", "float32", "float64"]
in_all_formats = pytest.mark.parametrize("convert", FORMATS.values(), ids=FORMATS)


def named_data(x: Any) -> AnnData:
    adata = AnnData(x)
    adata.obs_names = [f"cell-{i}" for i in range(adata.n_obs)]
    adata.var_names = [f"GENE{j}" for j in range(adata.n_vars)]
    return adata


def poisson_counts(n_cells: int = 60, n_genes: int = 30) -> np.ndarray:
    counts = np.random.default_rng(0).poisson(1.0, (n_cells, n_genes))
    counts[:, 0] += 1  # so that no cell is empty
    return counts


def message(adata: AnnData, **kwargs: Any) -> str:
    with pytest.raises(DataError) as error:
        check_counts(adata, **kwargs)
    return str(error.value)


@pytest.fixture(autouse=True, params=[7, _blocks.BLOCK], ids=["small blocks", "real blocks"])
def block_size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run every test with blocks smaller than a row, too."""
    monkeypatch.setattr(_blocks, "BLOCK", request.param)
    monkeypatch.setattr(_stored, "CHUNK", max(64, request.param))


@in_all_formats
@pytest.mark.parametrize("dtype", DTYPES)
def test_counts_pass(convert: Callable, dtype: str):
    counts = poisson_counts().astype(dtype)
    adata = named_data(convert(counts))
    check_counts(adata)
    stored = adata.X.toarray() if sparse.issparse(adata.X) else adata.X
    np.testing.assert_array_equal(stored, counts)


@st.composite
def counts_and_place(draw: st.DrawFn) -> tuple[np.ndarray, int, int]:
    shape = draw(array_shapes(min_dims=2, max_dims=2, max_side=6))
    counts = draw(arrays(np.float64, shape, elements=st.integers(0, 60_000).map(float)))
    counts[:, draw(st.integers(0, shape[1] - 1))] += 1
    return counts, draw(st.integers(0, shape[0] - 1)), draw(st.integers(0, shape[1] - 1))


@in_all_formats
def test_one_wrong_value_anywhere_is_found(convert: Callable):
    @given(counts_and_place(), st.sampled_from([np.nan, np.inf, -np.inf, -1.0, -2.5, 0.5, 7.01]))
    @settings(max_examples=40)
    def check(counts_at: tuple[np.ndarray, int, int], value: float) -> None:
        counts, cell, gene = counts_at
        check_counts(named_data(convert(counts)))
        counts[cell, gene] = value
        text = message(named_data(convert(counts)))
        assert f"'cell-{cell}' (row {cell}), gene 'GENE{gene}' (column {gene})" in text
        assert f"the first is {value}" in text
        assert f"in 1 of {len(counts)} cells" in text

    check()


@in_all_formats
def test_first_of_several_wrong_values_is_the_first_cell(convert: Callable):
    counts = poisson_counts().astype("float32")
    counts[41, 3] = counts[17, 29] = counts[17, 5] = -4
    text = message(named_data(convert(counts)))
    assert "adata.X holds 3 values that are negative, in 2 of 60 cells" in text
    assert "cell 'cell-17' (row 17), gene 'GENE5' (column 5)" in text
    assert "something was subtracted" in text


@pytest.mark.parametrize("dtype", ["int16", "int64"])
@in_all_formats
def test_negative_integers_are_found(convert: Callable, dtype: str):
    counts = poisson_counts().astype(dtype)
    counts[30, 7] = -1
    assert "the first is -1 in cell 'cell-30'" in message(named_data(convert(counts)))


@in_all_formats
@pytest.mark.parametrize("dtype", ["uint8", "int32", "float32"])
def test_empty_cells_are_named(convert: Callable, dtype: str):
    counts = poisson_counts().astype(dtype)
    counts[[2, 8]] = 0
    adata = named_data(convert(counts))
    text = message(adata)
    assert "2 of 60 cells without a single count: 'cell-2', 'cell-8'." in text
    assert text.endswith("Remedy: sc.pp.filter_cells(adata, min_counts=1)")
    sc.pp.filter_cells(adata, min_counts=1)
    check_counts(adata)


@pytest.mark.parametrize("convert", [sparse.csr_matrix, sparse.csc_array])
def test_stored_zeros_are_not_counts(convert: Callable):
    x = convert(poisson_counts().astype("float32"))
    cells = x.indices if x.format == "csc" else np.repeat(np.arange(60), np.diff(x.indptr))
    x.data[cells == 59] = 0
    assert "1 of 60 cells without a single count: 'cell-59'" in message(named_data(x))


def test_empty_cells_of_a_layer_are_dropped_by_the_remedy():
    counts = poisson_counts()
    adata = named_data(counts)
    adata.layers["c"] = sparse.csr_matrix(np.where(np.arange(60)[:, None] == 5, 0, counts))
    text = message(adata, layer="c")
    assert "adata.layers['c'] has 1 of 60 cells" in text
    scope = {"adata": adata, "np": np}
    exec(text.split("Remedy: ")[1], scope)
    assert scope["adata"].n_obs == 59
    check_counts(scope["adata"], layer="c")


@pytest.mark.parametrize("shape", [(0, 3), (3, 0)])
def test_no_data(shape: tuple[int, int]):
    assert f"{shape[0]} cells and {shape[1]} genes" in message(AnnData(np.ones(shape)))


def test_missing_layer():
    adata = named_data(poisson_counts())
    adata.layers["counts"] = adata.X
    with pytest.raises(MissingKeyError, match='did you mean layer="counts"'):
        check_counts(adata, layer="Count")


@pytest.mark.parametrize(
    ("matrix", "problem", "remedy"),
    [
        (sparse.coo_matrix(np.eye(3)), "adata.X is scipy.coo_matrix;", "csr_matrix(adata.X)"),
        (np.full((3, 3), "1"), "adata.X has dtype <U1;", "adata.X.astype(np.float32)"),
        (np.ones((3, 3), dtype=complex), "adata.X has dtype complex128;", "astype"),
    ],
)
def test_other_matrices_are_refused(matrix: Any, problem: str, remedy: str):
    with pytest.raises(DataError) as error:
        scan(matrix, "adata.X", is_count_data=True)
    assert problem in error.value.problem
    assert remedy in error.value.remedy
    assert not holds_counts(matrix)


def test_no_matrix():
    adata = named_data(np.ones((3, 3)))
    adata = AnnData(obs=adata.obs, var=adata.var)
    assert "adata.X is None;" in message(adata)
    assert 'layer="counts"' in message(adata)


# -- what the values look like, and where counts are --------------------------------------------


def log_normalized() -> AnnData:
    adata = named_data(sparse.csr_matrix(poisson_counts().astype("float32")))
    adata.layers["raw_counts"] = adata.X.copy()
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    return adata


def test_log_normalized_values_are_recognised_and_the_counts_found():
    adata = log_normalized()
    adata.layers["also log"] = adata.X.copy()
    text = message(adata)
    assert "adata.X does not hold counts: " in text
    assert f"{adata.X.nnz:,} of {adata.X.nnz:,} non-zero values (100 %) are not integers" in text
    assert "log-normalised: expm1 of each cell sums to 10,000." in text
    assert (
        'adata.layers["raw_counts"] holds counts: SCVI.setup_anndata(adata, layer="raw_counts").'
    ) in text
    assert "also log" not in text
    assert "SCVI.setup_anndata(adata, is_count_data=False)" in text
    check_counts(adata, layer="raw_counts")
    check_counts(adata, is_count_data=False)


@in_all_formats
def test_cause_is_found_in_every_format(convert: Callable):
    adata = named_data(convert(log_normalized().X.toarray()))
    assert "expm1 of each cell sums to 10,000" in message(adata)


def test_log_normalized_values_of_some_genes_are_recognised():
    assert "log-normalised: expm1 of each value is a whole multiple" in message(
        log_normalized()[:, 5:].copy()
    )


def test_normalized_values_are_recognised():
    adata = log_normalized()
    adata.X = adata.X.expm1()
    assert "They look normalised: each cell sums to 10,000." in message(adata)
    assert "They look normalised: each value is a whole multiple" in message(adata[:, 5:].copy())


def test_scaled_values_are_recognised():
    adata = log_normalized()
    adata.X = adata.X.toarray()
    sc.pp.scale(adata)
    text = message(adata)
    assert "negative" in text
    assert "scaled or centred" in text
    assert 'SCVI.setup_anndata(adata, layer="raw_counts")' in text


def test_corrected_counts_are_recognised():
    noise = np.random.default_rng(1).uniform(0.6, 1, (60, 30))
    text = message(named_data(poisson_counts() * noise))
    assert "corrected or estimated counts" in text
    assert "no layer of adata, nor adata.raw, holds counts" in text


def test_few_wrong_values_do_not_look_normalized():
    counts = poisson_counts().astype(float)
    counts[3, 4] = 0.5
    assert "The other values are integers" in message(named_data(counts))


def test_counts_in_x_are_found_from_a_layer():
    adata = named_data(poisson_counts())
    adata.layers["log"] = np.log1p(adata.X)
    text = message(adata, layer="log")
    assert "adata.layers['log'] does not hold counts" in text
    assert "adata.X holds counts: SCVI.setup_anndata(adata)." in text
    assert 'SCVI.setup_anndata(adata, layer="log", is_count_data=False)' in text


def test_counts_in_raw_are_found_and_the_line_of_code_works():
    adata = named_data(sparse.csr_matrix(poisson_counts()))
    adata.raw = adata.copy()
    adata = adata[:, 10:].copy()
    adata.X = adata.X.log1p()
    text = message(adata)
    line = 'adata.layers["counts"] = adata.raw[:, adata.var_names].X'
    assert f"adata.raw holds counts: {line}; SCVI.setup_anndata(adata, layer=" in text
    exec(line)
    np.testing.assert_array_equal(adata.layers["counts"].toarray(), poisson_counts()[:, 10:])


@in_all_formats
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_continuous_values_must_be_finite(convert: Callable, value: float):
    x = np.random.default_rng(0).normal(size=(9, 5))
    check_counts(named_data(convert(x)), is_count_data=False)
    x[4, 2] = value
    text = message(named_data(convert(x)), is_count_data=False)
    assert f"1 value that is NaN or infinite, in 1 of 9 cells; the first is {value}" in text
    assert "'cell-4'" in text


@in_all_formats
def test_values_that_float32_does_not_have(convert: Callable):
    """A model reads float32, in which they would be infinite and every answer NaN."""
    x = poisson_counts().astype(np.float64)
    x[4, 2] = 1e300
    text = message(adata := named_data(convert(x)))
    assert "1 value that is too large for float32, in 1 of" in text
    assert "'cell-4'" in text
    with pytest.raises(DataError) as raised:
        check_counts(adata)
    for line in raised.value.code:  # each of them drops the value
        names = {"adata": adata, "np": np}
        exec(line, names)
        check_counts(names["adata"])


# -- streamed formats ---------------------------------------------------------------------------


@pytest.mark.parametrize("compression", [None, "gzip"], ids=["contiguous", "chunked"])
@pytest.mark.parametrize("convert", [np.asarray, sparse.csr_matrix, sparse.csc_matrix])
def test_backed(convert: Callable, compression: str | None, tmp_path: Path):
    counts = poisson_counts().astype("float32")

    def backed(x: np.ndarray) -> AnnData:
        file = tmp_path / f"{x.sum()}.h5ad"
        named_data(convert(x)).write_h5ad(file, compression=compression)
        return ad.read_h5ad(file, backed="r")

    check_counts(backed(counts))
    counts[33] = 0
    assert "1 of 60 cells without a single count: 'cell-33'" in message(backed(counts))
    counts[47, 21] = 1.5
    adata = backed(counts)
    text = message(adata)
    assert "the first is 1.5 in cell 'cell-47' (row 47), gene 'GENE21' (column 21)" in text
    assert adata.isbacked


@pytest.mark.parametrize("convert", [np.asarray, sparse.csr_matrix, sparse.csc_matrix])
def test_dask(convert: Callable):
    dask_array = pytest.importorskip("dask.array")

    def lazy(x: np.ndarray) -> AnnData:
        blocks = dask_array.from_array(x, chunks=(17, 8)).map_blocks(convert)
        return named_data(blocks)

    counts = poisson_counts().astype("float32")
    check_counts(lazy(counts))
    counts[33] = 0
    assert "1 of 60 cells without a single count: 'cell-33'" in message(lazy(counts))
    counts[47, 21] = 1.5
    assert "1.5 in cell 'cell-47' (row 47), gene 'GENE21' (column 21)" in message(lazy(counts))


def test_places_that_are_no_whole_numbers():
    """As a damaged file has them; scipy makes whole numbers of others."""
    adata = AnnData(sparse.csr_matrix(np.eye(3, dtype=np.float32)))
    adata.X.indptr = adata.X.indptr.astype(complex)
    with pytest.raises(DataError, match=r"adata.X.indptr has dtype complex128"):
        check_counts(adata)

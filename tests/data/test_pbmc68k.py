"""Counts recovered from rounded log-normalised values, against what the data set itself says."""

import numpy as np
import pytest
import scanpy as sc
from scipy import sparse

from lucidvi.data import check_counts, pbmc68k, recover_counts
from lucidvi.errors import DataError

ROUNDING = 0.5e-3


@pytest.fixture(scope="module")
def original() -> sc.AnnData:
    return sc.datasets.pbmc68k_reduced()


def test_what_it_holds(original: sc.AnnData):
    adata = pbmc68k()
    assert adata.shape == (700, 765)
    assert isinstance(adata.X, sparse.csr_matrix)
    assert adata.X.dtype == np.int32
    assert list(adata.obs.columns) == ["cell_type", "n_counts"]
    assert adata.obs["cell_type"].dtype == "category"
    assert list(adata.obs["cell_type"]) == list(original.obs["bulk_labels"])
    assert adata.var_names.equals(original.raw.var_names)
    assert not adata.obsm
    assert not adata.uns
    check_counts(adata)


def test_smallest_value_of_every_cell_is_one_count(original: sc.AnnData):
    """The total over all genes, kept apart by the data set, times the unit is 10,000."""
    values = original.raw.X.toarray().astype(float)
    unit = np.expm1(np.where(values > 0, values, np.inf).min(axis=1))
    np.testing.assert_allclose(unit * original.obs["n_counts"], 1e4, rtol=1e-3)


def test_counts_give_back_every_value(original: sc.AnnData):
    adata = pbmc68k()
    scale = 1e4 / adata.obs["n_counts"].to_numpy(dtype=float)
    forward = np.log1p(adata.X.toarray() * scale[:, None])
    difference = abs(forward - original.raw.X.toarray())
    assert difference.max() <= ROUNDING * 1.001


def test_no_value_is_far_from_an_integer(original: sc.AnnData):
    values = np.expm1(original.raw.X.toarray().astype(float))
    unit = np.where(values > 0, values, np.inf).min(axis=1, keepdims=True)
    assert abs(values / unit - pbmc68k().X.toarray()).max() <= 0.12


@pytest.mark.parametrize("convert", [np.asarray, sparse.csr_matrix, sparse.csc_array])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_inverse_of_log_normalisation(convert: type, dtype: str):
    counts = np.random.default_rng(0).poisson(2.0, (50, 40))
    counts[:, 0] = 1
    total = counts.sum(axis=1, keepdims=True)
    values = convert(np.log1p(counts / total * 1e4).astype(dtype))
    recovered = recover_counts(values)
    assert recovered.dtype == np.int32
    np.testing.assert_array_equal(recovered.toarray(), counts)


def test_other_values_are_not_made_into_counts():
    values = np.log([[2.0, 3.0, 1.0], [2.0, 1.0, 3.5]])
    with pytest.raises(DataError) as error:
        recover_counts(values)
    assert "1 of 4 values" in str(error.value)
    assert "1.25276 in row 1, column 2, 2.5 times the smallest" in str(error.value)


@pytest.mark.parametrize("value", [np.nan, -1.0])
def test_values_that_log1p_never_gives(value: float):
    with pytest.raises(DataError, match="row 1"):
        recover_counts(np.array([[1.0, 1.0], [value, value]]))


def test_empty_cell():
    with pytest.raises(DataError, match="no value above zero in row 1,"):
        recover_counts(np.array([[1.0, 0.0], [0.0, 0.0]]))

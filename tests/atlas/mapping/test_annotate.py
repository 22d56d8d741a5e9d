"""What is mapped is written into the query: all of it, or nothing."""

import logging

import anndata
import numpy as np
import pytest
from anndata import AnnData

from lucidvi.errors import DataError, ModelTypeError

COLUMNS = [f"lucidvi_{name}" for name in ("label", "confidence", "novelty", "call")]


@pytest.fixture(scope="module")
def mapped(reference, query):
    return reference.map(query)


def same(cells, mapped):
    """Whether cells hold what was mapped."""
    for key in ("X_lucidvi", "X_lucidvi_scale"):
        np.testing.assert_array_equal(cells.obsm[key], mapped.obsm[key])
    assert cells.obs[COLUMNS].astype(str).equals(mapped.obs[COLUMNS].astype(str))
    assert cells.uns["lucidvi"]["n_genes"] == mapped.uns["lucidvi"]["n_genes"]


def snapshot(cells):
    return cells.obs.copy(), sorted(cells.obsm), dict(cells.uns)


def test_written_into_the_query(reference, query, mapped, caplog):
    cells = query.copy()
    cells.obs["mine"], cells.obsm["X_mine"] = 1, np.ones((query.n_obs, 2))
    with caplog.at_level(logging.INFO, logger="lucidvi"):
        written = reference.annotate(cells)
    assert written == {
        "obs": COLUMNS,
        "obsm": ["X_lucidvi", "X_lucidvi_scale"],
        "uns": ["lucidvi"],
    }
    assert "obs['lucidvi_label']" in caplog.text
    same(cells, mapped)
    assert (cells.obs["mine"] == 1).all()
    assert (cells.X != query.X).nnz == 0
    assert list(cells.obs)[:2] == list(query.obs)
    reference.annotate(cells)  # again, with the same result
    same(cells, mapped)


def test_as_asked(reference, query):
    options = {"novelty_rate": 0.5, "posterior": "encoder"}
    cells = query.copy()
    reference.annotate(cells, "batch", **options)
    expected = reference.map(query, "batch", **options)
    np.testing.assert_array_equal(cells.obs["lucidvi_call"], expected.obs["lucidvi_call"])
    assert cells.uns["lucidvi"]["posterior"] == "encoder"


def test_a_view_becomes_its_own(reference, query, mapped):
    parent = query.copy()
    view = parent[:]
    reference.annotate(view)
    assert not view.is_view
    same(view, mapped)
    assert not set(COLUMNS) & set(parent.obs)
    assert not parent.obsm


def test_cells_in_a_file(reference, query, mapped, tmp_path):
    path = tmp_path / "query.h5ad"
    query.write_h5ad(path)
    before = path.read_bytes()
    backed = anndata.read_h5ad(path, backed="r")
    reference.annotate(backed)
    same(backed, mapped)
    assert backed.isbacked
    with pytest.raises(DataError, match="view of cells in a file"):
        reference.annotate(backed[:20])
    backed.file.close()
    assert path.read_bytes() == before


def test_lazy_cells(reference, query, mapped, tmp_path):
    query.write_h5ad(tmp_path / "query.h5ad")
    lazy = anndata.experimental.read_lazy(tmp_path / "query.h5ad")
    reference.annotate(lazy)
    same(lazy, mapped)


def test_nothing_is_written_if_mapping_fails(reference, query):
    cells = query.copy()
    cells.X = cells.X.toarray()
    cells.X[3, 4] = np.nan
    obs, obsm, uns = snapshot(cells)
    with pytest.raises(DataError, match="NaN"):
        reference.annotate(cells)
    assert cells.obs.equals(obs)
    assert (sorted(cells.obsm), dict(cells.uns)) == (obsm, uns)


def test_nothing_is_half_written(reference, query, monkeypatch):
    """Where the last of the assignments fails, the others are taken back."""
    cells = query.copy()
    cells.obsm["X_lucidvi"] = np.zeros((query.n_obs, 2))
    obs, obsm, uns = snapshot(cells)
    real, failed = AnnData.obs, []

    def fail_once(self, value):
        if self is cells and not failed:
            failed.append(value)
            raise OSError("disk full")
        real.fset(self, value)

    monkeypatch.setattr(AnnData, "obs", property(real.fget, fail_once))
    with pytest.raises(OSError, match="disk full"):
        reference.annotate(cells)
    assert failed
    assert cells.obs.equals(obs)
    assert (sorted(cells.obsm), dict(cells.uns)) == (obsm, uns)
    assert cells.obsm["X_lucidvi"].shape == (query.n_obs, 2)


def test_what_is_no_anndata(reference, query):
    with pytest.raises(ModelTypeError, match="query is a numpy"):
        reference.annotate(query.X.toarray())
    both = anndata.experimental.AnnCollection([query, query], index_unique="-")
    with pytest.raises(DataError, match="collection"):
        reference.annotate(both)

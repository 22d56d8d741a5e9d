"""Files of cells: what is in them, with everything large left there."""

import warnings

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData, read_h5ad
from mudata import MuData
from scipy import sparse

from lucidvi.data import are_paths, close_cells, open_cells, opened
from lucidvi.errors import FileError, ModelTypeError

zarr = pytest.importorskip("zarr")

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*zarr v:UserWarning"),
    pytest.mark.filterwarnings("ignore:Consolidated metadata is currently not part:UserWarning"),
    pytest.mark.filterwarnings("ignore:From 0.4 .update:FutureWarning"),
    pytest.mark.filterwarnings("ignore:This setting will be removed in 0.14:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:zarr v3 will become the only option:DeprecationWarning"),
]


@pytest.fixture
def cells():
    rng = np.random.default_rng(0)
    x = sparse.csr_matrix(rng.poisson(1.0, (40, 6)).astype(np.float32))
    cells = AnnData(x, layers={"counts": 2 * x, "dense": x.toarray()})
    cells.obs["batch"] = pd.Categorical(rng.choice(["a", "b"], 40), categories=["a", "b", "c"])
    cells.obsm["pca"] = rng.normal(size=(40, 3))
    cells.obsm["table"] = pd.DataFrame({"p": np.arange(40)}, index=cells.obs_names)
    cells.obsp["near"] = sparse.csr_matrix(x[:, :1] @ x[:, :1].T)
    cells.varm["loadings"] = rng.normal(size=(6, 3))
    cells.uns["params"] = {"n": 3}
    cells.raw = cells[:, :4]
    return cells


def written(cells, folder, kind):
    path = folder / f"cells.{kind.partition(' ')[0]}"
    if kind.startswith("h5ad"):
        cells.write_h5ad(path, compression="gzip" if "gzip" in kind else None)
        return path
    before = anndata.settings.zarr_write_format
    anndata.settings.zarr_write_format = 2 if kind == "zarr v2" else 3
    try:
        cells.write_zarr(path)
    finally:
        anndata.settings.zarr_write_format = before
    if kind == "zarr sharded":
        store = zarr.open_group(path, mode="a", use_consolidated=False)
        for name in ("data", "indices"):
            values = store["X"][name][:]
            attrs = dict(store["X"][name].attrs)
            del store["X"][name]
            made = store["X"].create_array(
                name, shape=values.shape, dtype=values.dtype, chunks=(16,), shards=(64,)
            )
            made[:] = values
            made.attrs.update(attrs)
    return path


KINDS = ["h5ad", "h5ad gzip", "zarr v2", "zarr v3", "zarr sharded"]


@pytest.mark.parametrize("kind", KINDS)
def test_all_that_is_in_a_file(cells, tmp_path, kind):
    path = written(cells, tmp_path, kind)
    for place in (path, str(path)):
        got = open_cells(place)
        assert got.shape == cells.shape
        pd.testing.assert_frame_equal(got.obs, cells.obs)
        pd.testing.assert_index_equal(got.var_names, cells.var_names)
        assert got.uns["params"]["n"] == 3
        np.testing.assert_array_equal(got.varm["loadings"], cells.varm["loadings"])
        whole = got.to_memory()
        for slot in ("layers", "obsm", "obsp"):
            assert set(getattr(whole, slot)) - {None} == set(getattr(cells, slot)) - {None}
        for name in ("counts", "dense"):
            assert (whole.layers[name] != cells.layers[name]).sum() == 0
        assert (whole.X != cells.X).nnz == 0
        np.testing.assert_array_equal(whole.obsm["pca"], cells.obsm["pca"])
        assert (whole.obsm["table"].to_numpy() == cells.obsm["table"].to_numpy()).all()
        assert (whole.obsp["near"] != cells.obsp["near"]).nnz == 0
        assert list(got.raw.var_names) == list(cells.raw.var_names)
        assert (whole.raw.X != cells.raw.X).nnz == 0
        close_cells(got)


@pytest.mark.parametrize("kind", ["h5ad", "zarr v3"])
def test_matrices_are_left_in_the_file(cells, tmp_path, kind):
    got = open_cells(written(cells, tmp_path, kind))
    for matrix in (got.X, got.layers["counts"], got.layers["dense"], got.obsm["pca"], got.raw.X):
        assert not isinstance(matrix, np.ndarray)
        assert not sparse.issparse(matrix)


def test_closing_lets_the_file_be_written_again(cells, tmp_path):
    path = written(cells, tmp_path, "h5ad")
    got = open_cells(path)
    close_cells(got)
    cells.write_h5ad(path)
    with pytest.raises((ValueError, RuntimeError, KeyError)):
        got.X[:]


def test_what_another_handle_added_is_seen(cells, tmp_path):
    """In spite of metadata that were consolidated before."""
    path = written(cells, tmp_path, "zarr v3")
    zarr.consolidate_metadata(str(path))
    store = zarr.open_group(path, mode="a", use_consolidated=False)
    anndata.io.write_elem(store["layers"], "later", cells.X)
    assert "later" in open_cells(path).layers


def test_cells_of_old_are_read(cells, tmp_path):
    """As anndata wrote tables before 0.7."""
    path = tmp_path / "old.h5ad"
    with h5py.File(path, "w") as file:
        file["X"] = cells.X.toarray()
        for name, names in (("obs", cells.obs_names), ("var", cells.var_names)):
            table = np.array([(n.encode(),) for n in names], dtype=[("index", "S8")])
            file[name] = table
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        want = read_h5ad(path)
        got = open_cells(path)
    assert list(got.obs_names) == list(want.obs_names) == list(cells.obs_names)


def test_several_modalities_are_read(cells, tmp_path):
    mdata = MuData({"rna": cells[:, :3].copy(), "prot": cells[:, 3:].copy()})
    mdata.write_h5mu(tmp_path / "cells.h5mu")
    got = open_cells(tmp_path / "cells.h5mu")
    assert list(got.mod) == ["rna", "prot"]
    with pytest.raises(ModelTypeError, match="modalities 'rna', 'prot'"):
        opened(tmp_path / "cells.h5mu")


def test_what_is_no_file_of_cells(tmp_path):
    with pytest.raises(FileError, match=r"There is no file .*nothing.h5ad"):
        open_cells(tmp_path / "nothing.h5ad")
    (tmp_path / "text.h5ad").write_text("no cells")
    with pytest.raises(FileError, match=r"text.h5ad is no .h5ad file"):
        open_cells(tmp_path / "text.h5ad")
    with h5py.File(tmp_path / "other.h5ad", "w") as file:
        file["x"] = np.arange(3)
    with pytest.raises(FileError, match=r"other.h5ad holds no AnnData"):
        open_cells(tmp_path / "other.h5ad")
    (tmp_path / "folder").mkdir()
    with pytest.raises(FileError, match="folder cannot be read as cells"):
        open_cells(tmp_path / "folder")
    zarr.open_group(tmp_path / "group.zarr", mode="w")
    with pytest.raises(FileError, match=r"it has no obs or no var"):
        open_cells(tmp_path / "group.zarr")


def test_damaged_files_are_one_error(cells, tmp_path):
    path = written(cells, tmp_path, "h5ad")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FileError, match="cannot be read as cells"):
        open_cells(path)


def test_what_a_path_is(tmp_path):
    assert are_paths("a.h5ad")
    assert are_paths(tmp_path)
    assert are_paths(["a.h5ad", tmp_path])
    assert are_paths({"a": "a.h5ad"})
    assert not any(map(are_paths, (None, [], {}, 3, [3], AnnData(np.ones((2, 2))))))


def test_what_is_neither_cells_nor_a_path():
    for other in (AnnData(np.ones((2, 2))), 3, None, [3]):
        with pytest.raises(ModelTypeError, match="and not the path of a file"):
            open_cells(other)
    with pytest.raises(ModelTypeError, match=r"numpy.ndarray, not an AnnData"):
        opened(np.ones((3, 3)))

"""Several files as one AnnData: genes by their names, and what was not measured is not zero."""

import anndata
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse

from lucidvi.data import StoredCounts, open_cells, read_modalities
from lucidvi.data.opening import of_genes
from lucidvi.errors import DataError, FileError
from lucidvi.model import SCVI

pytest.importorskip("dask.array")
pytest.importorskip("zarr")

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*zarr v:UserWarning"),
    pytest.mark.filterwarnings("ignore:Consolidated metadata is currently not part:UserWarning"),
]

LUNG, GUT = ["a", "b", "c", "d", "e"], ["e", "x", "c", "a"]


def part(genes, n_cells, seed, dtype, make=sparse.csr_matrix):
    counts = 1 + np.random.default_rng(seed).poisson(2.0, (n_cells, len(genes)))
    cells = AnnData(make(counts.astype(dtype)), var=pd.DataFrame(index=genes))
    cells.obs_names = [f"{seed}-{i}" for i in range(n_cells)]
    cells.layers["counts"] = cells.X.copy()
    return cells


@pytest.fixture
def parts():
    lung, gut = part(LUNG, 30, 0, np.uint8), part(GUT, 20, 1, np.int64, np.asarray)
    gut.X[3, 1] = 70_000
    gut.layers["counts"] = gut.X.copy()
    gut.layers["other"] = gut.X.copy()
    lung.obs["batch"] = pd.Categorical(["p"] * 10 + ["q"] * 20)
    gut.obs["batch"] = pd.Categorical(["q"] * 5 + ["r"] * 15)
    gut.obs["age"] = np.arange(20)
    return {"lung": lung, "gut": gut}


@pytest.fixture
def paths(parts, tmp_path):
    parts["lung"].write_h5ad(tmp_path / "lung.h5ad")
    parts["gut"].write_zarr(tmp_path / "gut.zarr")
    return [tmp_path / "lung.h5ad", tmp_path / "gut.zarr"]


@pytest.mark.parametrize("join", ["outer", "inner"])
def test_counts_are_those_that_anndata_joins_in_memory(parts, paths, join):
    got = open_cells(paths, join=join)
    want = anndata.concat(parts, join=join, fill_value=0)
    pd.testing.assert_index_equal(got.obs_names, want.obs_names)
    assert set(got.var_names) == set(want.var_names)
    want = want[:, got.var_names].copy()
    for mine, theirs in ((got.X, want.X), (got.layers["counts"], want.layers["counts"])):
        theirs = theirs.toarray() if sparse.issparse(theirs) else np.asarray(theirs)
        np.testing.assert_array_equal(mine.compute().toarray(), theirs)
        for rows in (slice(None), [3, 1, 49, 49, 30, 29], slice(28, 33), []):
            some = StoredCounts(mine)[rows]
            some = some.toarray() if sparse.issparse(some) else some
            np.testing.assert_array_equal(some, theirs[rows if len(str(rows)) > 2 else []])
        assert join == "inner" or theirs.max() == 70_000  # after a file of uint8
    assert set(got.layers) - {None} == {"counts"}
    assert not isinstance(got.X, np.ndarray)


def test_order_of_genes_is_that_in_which_they_occur(paths):
    assert list(open_cells(paths).var_names) == [*LUNG, "x"]
    assert list(open_cells(paths, join="inner").var_names) == ["a", "c", "e"]


def test_tables_are_below_each_other(paths):
    obs = open_cells(paths, label="tissue").obs
    assert list(obs["batch"]) == ["p"] * 10 + ["q"] * 25 + ["r"] * 15
    assert list(obs["batch"].cat.categories) == ["p", "q", "r"]
    assert list(obs["tissue"]) == ["lung.h5ad"] * 30 + ["gut.zarr"] * 20
    assert obs["age"].isna().sum() == 30
    named = dict(zip(("lung", "gut"), paths, strict=True))
    assert set(open_cells(named, label="tissue").obs["tissue"]) == {"lung", "gut"}
    assert open_cells(named, index_unique="-").obs_names[0] == "0-0-lung"


def test_what_a_file_lacks_was_not_measured(paths):
    (genes,) = read_modalities(open_cells(paths)).values()
    assert list(genes.features) == [*LUNG, "x"]
    of_lung, of_gut = genes.panels.of(np.array([0, 40]))
    np.testing.assert_array_equal(of_lung, [1, 1, 1, 1, 1, 0])
    np.testing.assert_array_equal(of_gut, [1, 0, 1, 0, 1, 1])
    inner = open_cells(paths, join="inner")
    assert not inner.uns
    assert list(inner.obs.columns) == ["batch", "age"]


def test_genes_are_taken_without_reading(paths):
    for cells in (open_cells(paths), open_cells(paths[0])):
        got = of_genes(cells, pd.Index(["e", "a"]))
        columns = cells.var_names.get_indexer(["e", "a"])
        taken = got.X.compute().toarray()
        np.testing.assert_array_equal(taken, cells.to_memory().X[:, columns].toarray())
    (genes,) = read_modalities(of_genes(open_cells(paths), pd.Index(["x", "a"]))).values()
    np.testing.assert_array_equal(genes.panels.of(np.array([0, 40])), [[0, 1], [1, 1]])


def test_what_cannot_be_joined(parts, paths, tmp_path):
    with pytest.raises(FileError, match="no file in the list"):
        open_cells([])
    with pytest.raises(FileError, match="Several of the files have one name"):
        open_cells([paths[0], paths[0]])
    with pytest.raises(DataError, match=r"30 names of cells occur in several files: .*0-0"):
        open_cells({"one": paths[0], "two": paths[0]})
    assert open_cells({"one": paths[0], "two": paths[0]}, index_unique="-").n_obs == 60
    with pytest.raises(DataError, match="`join` is 'left'"):
        open_cells(paths, join="left")
    other = part(["u", "v"], 5, 2, np.int32)
    other.write_h5ad(tmp_path / "other.h5ad")
    with pytest.raises(DataError, match="no gene in common"):
        open_cells([*paths, tmp_path / "other.h5ad"], join="inner")
    other.var_names = ["u", "u"]
    other.write_h5ad(tmp_path / "twice.h5ad")
    with pytest.raises(DataError, match=r"twice.h5ad has genes whose names are not unique: 'u'"):
        open_cells([*paths, tmp_path / "twice.h5ad"])


def test_likelihood_is_of_what_was_measured(paths):
    """Of the cells of one file it does not change with what a model says of another's genes."""
    import torch

    from lucidvi.model import Cells

    cells = SCVI.setup_anndata(paths)
    model = SCVI(cells, n_hidden=4, n_latent=2)
    model.module.eval()
    state = torch.zeros(50, 2)

    def log_joint():
        parts = [t.log_joint(state[rows]) for rows, t in Cells.of(model).targets()]
        return torch.cat(parts).detach()

    before = log_joint()
    with torch.no_grad():
        model.module.px_r[5] += 2  # the dispersion of "x", which the lung lacks
    after = log_joint()
    torch.testing.assert_close(after[:30], before[:30])
    assert (after[30:] != before[30:]).all()


def test_models_of_several_files(paths, tmp_path):
    """Trained, saved, loaded with the files, asked about other cells."""
    cells = SCVI.setup_anndata(paths, layer="counts", batch_key="batch")
    model = SCVI(cells, n_hidden=4, n_latent=2)
    model.train(max_epochs=2, accelerator="cpu")
    states = model.get_latent_representation()
    np.testing.assert_array_equal(model.get_latent_representation(paths), states)
    model.save(tmp_path / "model")
    again = SCVI.load(tmp_path / "model", adata=paths)
    np.testing.assert_array_equal(again.get_latent_representation(), states)
    plain = part([*LUNG, "x"], 12, 5, np.float32)
    plain.obs["batch"] = "p"
    assert model.get_latent_representation(plain).shape == (12, 2)
    inner = open_cells(paths, join="inner")
    SCVI.setup_anndata(inner, batch_key="batch")
    of_shared = SCVI(inner, n_hidden=4, n_latent=2)
    of_shared.train(max_epochs=1, accelerator="cpu")
    # The lung has more genes, in another order: they are taken where they lie.
    assert of_shared.get_latent_representation(paths[0]).shape == (30, 2)


def test_processes_that_retrain_know_what_was_measured(paths):
    """Without it they would train on zeros in place of genes that a file lacks."""
    import pickle

    from lucidvi.audit.retraining._retraining import PortableCells

    cells = SCVI.setup_anndata(paths, layer="counts")
    sent = PortableCells.of(cells, SCVI(cells).registry["setup_args"])
    again = pickle.loads(pickle.dumps(sent)).open()
    (want,), (got,) = (read_modalities(one).values() for one in (cells, again))
    np.testing.assert_array_equal(got.panels.codes, want.panels.codes)
    np.testing.assert_array_equal(got.panels.table, want.panels.table)

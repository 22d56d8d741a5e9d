"""Queries in files, in parts, and wrong ones: read as if they were in memory, or refused."""

import warnings

import anndata
import numpy as np
import pytest
from scipy import sparse

from lucidvi.atlas.mapping import _place, _query
from lucidvi.atlas.mapping._counts import ModelCounts
from lucidvi.atlas.mapping._read_query import read_query
from lucidvi.errors import DataError, FileError, MissingKeyError
from lucidvi.model import SCVI


@pytest.fixture
def small_parts(monkeypatch):
    """Hold 32 cells at a time, and read 17."""
    monkeypatch.setattr(_query, "PART", 32 * 60)
    monkeypatch.setattr(_query, "MULTIPLE", 32)
    monkeypatch.setattr("lucidvi.data.matrices._stored.CHUNK", 17 * 60)


def stored(query, path, form):
    matrix = query.X.toarray() if form == "dense" else query.X.asformat(form)
    anndata.AnnData(matrix, obs=query.obs, var=query.var).write_h5ad(path)
    return path


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("form", ["csr", "csc", "dense"])
@pytest.mark.parametrize("kind", ["backed", "lazy"])
def test_in_a_file(reference, query, tmp_path, form, kind, monkeypatch):
    """In parts of as many cells as a minibatch has, so that the result is the same to the bit."""
    path = stored(query, tmp_path / "query.h5ad", form)
    monkeypatch.setattr("scvi.settings.batch_size", 32)
    expected = reference.map(query)
    if kind == "lazy":
        cells = anndata.experimental.read_lazy(path)
    else:
        cells = anndata.read_h5ad(path, backed="r")
    out = reference.map(cells)
    for key in ("X_lucidvi", "X_lucidvi_scale"):
        np.testing.assert_array_equal(out.obsm[key], expected.obsm[key])
    assert out.obs.astype(str).equals(expected.obs.astype(str))
    assert type(out.obs) is type(expected.obs)
    cells.file.close()


@pytest.mark.usefixtures("small_parts")
def test_new_batches_in_parts(reference, simulate, monkeypatch):
    """What is learned of them is learned from cells of each, in whatever part these are."""
    cells = simulate(200, seed=3, n_batches=4)
    cells = cells[cells.obs["batch"].sort_values(kind="stable").index].copy()
    monkeypatch.setattr(_query, "N_SAMPLED", 2)  # parts of 32 cells
    given = read_query(cells, reference.model)
    learned = given.read(given.sample)
    assert learned.obs["batch"].value_counts().to_dict() == {"lane2": 32, "lane3": 32}
    out = reference.map(cells)
    assert (out.obs["lucidvi_label"].astype(str) == out.obs["cell_type"].astype(str)).mean() > 0.9


@pytest.mark.usefixtures("small_parts")
def test_cells_without_counts_are_found_before_any_is_mapped(reference, query, monkeypatch):
    cells = query.copy()
    cells.var_names = [*cells.var_names[:30], *(f"strange{i}" for i in range(30))]
    counts = cells.X.toarray()
    counts[100, :30] = 0
    cells.X = sparse.csr_matrix(counts)
    monkeypatch.setattr(
        "lucidvi.atlas.mapping._map.model_of_query", lambda *_: pytest.fail("it went on")
    )
    with pytest.raises(DataError, match=r"1 of 120 cells have no count.*'s7_cell100'"):
        reference.map(cells)


def test_counts_of_some_cells(monkeypatch):
    """Against the product of the whole matrices, for every way that counts are stored."""
    rng = np.random.default_rng(0)
    counts = rng.poisson(0.5, (41, 13)).astype(np.float32)
    selection = sparse.csr_matrix(
        (np.ones(5, np.float32), ([0, 3, 4, 9, 12], [2, 0, 1, 1, 3])), (13, 6)
    )
    monkeypatch.setattr("lucidvi.data.matrices._stored.CHUNK", 5 * 13)
    expected = counts @ selection.toarray()
    cells = np.array([0, 3, 4, 5, 22, 40])
    for form in (np.array, sparse.csr_matrix, sparse.csc_matrix, sparse.csr_array):
        read = ModelCounts(form(counts), selection)
        np.testing.assert_array_equal(read.of(cells).toarray(), expected[cells])
        np.testing.assert_array_equal(read.totals, expected.sum(axis=1))
        assert read.of(cells).has_sorted_indices


@pytest.mark.usefixtures("small_parts")
def test_one_progress_bar_for_all_parts(reference, simulate, monkeypatch):
    """Of cells of known and new batches, in parts; it counts every block."""
    shown = []

    def track(sequence, description, total):
        items = list(sequence)
        shown.append((description, total == len(items)))
        return items

    monkeypatch.setattr(_place, "BLOCK", 16)
    monkeypatch.setattr("lucidvi.atlas.mapping._map.track", track)
    reference.map(simulate(150, seed=3, n_batches=3))
    reference.map(simulate(30, seed=3, n_batches=1))
    assert shown == [("Placing cells", True)] * 2


def test_nothing_holds_the_cells_afterwards(reference, query):
    def held():
        by_instance = SCVI._per_instance_manager_store.values()
        return len(SCVI._setup_adata_manager_store), sum(len(store) for store in by_instance)

    before = held()
    reference.map(query)
    assert held() == before


def test_names_of_cells_need_not_be_unique(reference, query):
    cells = query.copy()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Observation names are not unique")
        cells.obs_names = ["cell"] * cells.n_obs
        out = reference.map(cells)
    np.testing.assert_array_equal(out.obsm["X_lucidvi"], reference.map(query).obsm["X_lucidvi"])


def dense(value):
    def wrong(query):
        query.X = query.X.toarray()
        query.X[3, 4] = value
        return query

    return wrong


def batch(value):
    def wrong(query):
        query.obs["batch"] = query.obs["batch"].astype(object)
        query.obs.iloc[3, query.obs.columns.get_loc("batch")] = value
        return query

    return wrong


def without_batch(query):
    del query.obs["batch"]
    return query


def hidden_counts(query):
    query.layers["raw"], query.X = query.X, query.X.log1p()
    return query


WRONG = {
    "infinite": (dense(np.inf), DataError, "query.X holds 1 value that is NaN or infinite"),
    "negative": (dense(-1), DataError, "query.X holds 1 value that is negative"),
    "no genes": (lambda query: query[:, :0].copy(), DataError, "120 cells and 0 genes"),
    "no X": (lambda q: anndata.AnnData(obs=q.obs, var=q.var), DataError, "query.X is None"),
    "no batch": (without_batch, MissingKeyError, "no column 'batch', where the reference's model"),
    "NaN batch": (batch(np.nan), DataError, r"query.obs\[\"batch\"\] is missing .* 1 of 120"),
    "no file": (lambda q: "nowhere.h5ad", FileError, r"There is no file nowhere\.h5ad"),
}


@pytest.mark.parametrize(("change", "error", "message"), WRONG.values(), ids=WRONG)
def test_wrong_queries_are_one_clear_error(reference, query, change, error, message):
    with pytest.raises(error, match=message) as raised:
        reference.map(change(query.copy()))
    assert raised.value.remedy
    assert "setup_anndata" not in raised.value.remedy  # which helps with data to train on


def test_where_the_counts_are(reference, query):
    with pytest.raises(DataError, match=r"query.X does not hold counts") as raised:
        reference.map(hidden_counts(query.copy()))
    assert 'reference.map(query, layer="raw")' in raised.value.remedy
    assert reference.map(hidden_counts(query.copy()), layer="raw").n_obs == 120


def test_raw_of_lazy_cells_is_read(reference, query, tmp_path):
    mapped = reference.map(query.copy())
    logs = query.copy()
    logs.raw = query.copy()
    logs.X = np.log1p(logs.X)
    logs[:, :5].copy().write_h5ad(tmp_path / "query.h5ad")

    lazy = reference.map(anndata.experimental.read_lazy(tmp_path / "query.h5ad"), layer="raw")

    for key, states in mapped.obsm.items():
        np.testing.assert_allclose(lazy.obsm[key], states, atol=1e-5)

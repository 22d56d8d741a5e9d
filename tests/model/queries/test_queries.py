"""Every method that is asked about cells answers for the cells asked for, in their order.

The tables below name all of them: a method that is added with such an argument fails here until it
has a line of its own.
"""

import inspect
import logging

import numpy as np
import pandas as pd
import pytest
import torch
from tests.model.answers import QUERIES

from lucidvi.errors import (
    DataError,
    FileError,
    LucidVIError,
    ModelTypeError,
    TrainingError,
    UnknownGeneError,
)
from lucidvi.model import SCVI

#: Public methods with an argument `indices`.
INDICES = QUERIES | {"get_batch_representation": {}}
#: Asked about draws that go with the cells, which another method hands to it.
WITH_DRAWS = {"get_importance_weights"}
#: Public methods with an argument, and what they are called with beside it.
GENE_LISTS = {
    "get_normalized_expression": [
        {},
        {"return_numpy": True},
        {"n_samples": 3},
        {"n_samples": 3, "return_mean": False},
        {"n_samples": 3, "return_numpy": True},
        {"library_size": "latent", "transform_batch": "1"},
        {"n_samples_overall": 40},
        {"n_samples_overall": 400, "return_mean": False, "return_numpy": True},
        {"transform_batch": ["2", "0"], "library_size": 1e4, "return_numpy": True},
    ],
    "posterior_predictive_sample": [{}, {"n_samples": 3}, {"transform_batch": "1"}],
}
TRANSFORM_BATCH = {
    "get_feature_correlation_matrix": {"n_samples": 1},
    "get_normalized_expression": {},
    "posterior_predictive_sample": {},
}
ASKED = ["gene11", "gene2", "gene17", "gene2"]
GENE_AXIS = {"get_normalized_expression": -1, "posterior_predictive_sample": 1}


def methods_with(argument):
    """Name the public methods of the model that have an argument."""
    return {
        name
        for name, member in inspect.getmembers(SCVI, callable)
        if not name.startswith(("_", "setup_"))
        and argument in inspect.signature(member).parameters
    }


def seeded(method, *args, **kwargs):
    np.random.seed(0)  # noqa: NPY002 (scvi-tools draws from the global generator)
    torch.manual_seed(0)
    return method(*args, **kwargs)


@pytest.fixture(scope="module")
def embedding(make_adata):
    """Return a model whose batches have an embedding, and a latent library."""
    adata = make_adata(150, seed=5)
    SCVI.setup_anndata(adata, batch_key="batch")
    model = SCVI(adata, n_hidden=8, n_latent=3, batch_representation="embedding")
    model.train(max_epochs=1)
    return model


@pytest.fixture
def model_of(ours, embedding):
    """Return the model that can answer a method."""
    return lambda name: embedding if name == "get_batch_representation" else ours


# -- all methods have a line ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argument", "table"),
    [
        ("indices", INDICES.keys() | WITH_DRAWS),
        ("gene_list", GENE_LISTS),
        ("transform_batch", TRANSFORM_BATCH),
        ("groupby", {"differential_expression", "get_inference_gap"}),
        ("idx1", {"differential_expression"}),
        ("genes", {"refine_posterior"}),
        ("sample_key", {"differential_abundance"}),
    ],
)
def test_tables_name_all_methods(argument, table):
    assert methods_with(argument) == set(table)


@pytest.mark.parametrize("name", sorted(methods_with("adata") - {"load", "load_query_data"}))
def test_every_question_about_cells_is_a_query(name):
    not_about_values = {
        "deregister_manager",
        "get_anndata_manager",
        "get_from_registry",
        "prepare_query_anndata",
        "transfer_fields",
        "view_anndata_setup",
    }
    assert name in not_about_values or getattr(SCVI, name).is_query


# -- cells ------------------------------------------------------------------------------------

CHOSEN = [7, 3, 31, -2, 3, 12]
POSITIONS = np.array([7, 3, 31, 148, 3, 12])
SORTED = np.array([3, 7, 12, 31, 148])
WAYS = {
    "names": (lambda adata: adata.obs_names[POSITIONS], POSITIONS),
    "list of names": (lambda adata: list(adata.obs_names[POSITIONS]), POSITIONS),
    "negative and repeated": (lambda adata: CHOSEN, POSITIONS),
    "tuple": (lambda adata: tuple(CHOSEN), POSITIONS),
    "Series": (lambda adata: pd.Series(POSITIONS), POSITIONS),
    "uint8": (lambda adata: POSITIONS.astype(np.uint8), POSITIONS),
    "tensor": (lambda adata: torch.tensor(POSITIONS), POSITIONS),
    "mask": (lambda adata: np.isin(np.arange(adata.n_obs), SORTED), SORTED),
    "list mask": (lambda adata: list(np.isin(np.arange(adata.n_obs), SORTED)), SORTED),
    "Series mask": (
        lambda adata: pd.Series(np.isin(np.arange(adata.n_obs), SORTED), index=adata.obs_names),
        SORTED,
    ),
    "nullable mask": (
        lambda adata: pd.array(np.isin(np.arange(adata.n_obs), SORTED), dtype="boolean"),
        SORTED,
    ),
    "slice": (lambda adata: slice(30, 20, -2), np.arange(30, 20, -2)),
    "range": (lambda adata: range(3), np.arange(3)),
    "one": (lambda adata: 4, np.array([4])),
    "one name": (lambda adata: adata.obs_names[4], np.array([4])),
}


@pytest.mark.parametrize("name", INDICES)
def test_cells_are_chosen_in_every_way(assert_same, model_of, name):
    """Each answer is that for a list of positions; whose order is checked below."""
    model = model_of(name)
    quick = dict(list(WAYS.items())[:: 7 if name == "get_inference_gap" else 1])
    for way, (indices, positions) in quick.items():
        if name == "get_feature_correlation_matrix" and len(positions) == 1:
            continue  # of one cell there are none
        got = seeded(getattr(model, name), indices=indices(model.adata), **INDICES[name])
        want = seeded(getattr(model, name), indices=positions.tolist(), **INDICES[name])
        assert_same(got, want), way


@pytest.mark.parametrize(
    ("name", "per_cell"),
    [
        ("get_latent_representation", lambda answer: answer),
        ("get_latent_library_size", lambda answer: answer),
        ("get_batch_representation", lambda answer: answer),
        ("refine_posterior", lambda answer: answer.loc),
        ("get_inference_gap", lambda answer: answer["elbo_refined"].to_numpy()),
        ("get_marginal_ll", lambda answer: answer.numpy()),
        ("get_normalized_expression", lambda answer: answer.to_numpy()),
        ("get_likelihood_parameters", lambda answer: answer["mean"]),
    ],
)
def test_answers_come_in_the_order_of_the_cells(model_of, name, per_cell):
    model = model_of(name)
    kwargs = {
        "get_normalized_expression": {"n_samples": 300},
        "get_likelihood_parameters": {"n_samples": 300, "give_mean": True},
        "get_marginal_ll": {"return_mean": False, "n_mc_samples": 300},
    }.get(name, INDICES[name])
    chosen = [31, 3, 12, 7]
    every = per_cell(getattr(model, name)(**kwargs))
    got = per_cell(getattr(model, name)(indices=chosen, **kwargs))
    scatter = 1e-4 if "n_samples" not in kwargs else 0.3
    for i, cell in enumerate(chosen):
        distance = np.abs(np.atleast_2d(every[chosen]) - got[i]).reshape(4, -1).mean(axis=1)
        assert distance[i] == distance.min() or distance[i] < scatter, cell


def test_rows_of_tables_are_named_in_the_order_of_the_cells(ours):
    names = [f"cell{i}" for i in (9, 2, 2, 40)]
    for got in (
        ours.get_normalized_expression(indices=names),
        ours.get_inference_gap(indices=names),
    ):
        assert list(got.index) == names
    assert list(ours.refine_posterior(indices=names).names) == names


NOT_CELLS = {
    "empty": ([], "empty"),
    "empty array": (np.array([], dtype=int), "empty"),
    "empty mask": (np.zeros(150, dtype=bool), "none of the"),
    "empty slice": (slice(0, 0), "none of the"),
    "short mask": ([True, False], "mask of 2 values"),
    "too far": ([0, 1_000], "position 1000"),
    "too far back": ([-1_000], "position -1000"),
    "unknown name": (["cell1", "cel7"], "'cel7'"),
    "fractions": ([0.5], "float64"),
    "two axes": ([[0, 1]], "shape"),
}


@pytest.mark.parametrize("name", [*INDICES, *sorted(WITH_DRAWS)])
@pytest.mark.parametrize("way", NOT_CELLS)
def test_cells_that_do_not_exist_are_refused(model_of, name, way):
    indices, message = NOT_CELLS[way]
    draws = dict.fromkeys(("qz", "px", "zs")) if name in WITH_DRAWS else {}
    adata = {"adata": None} if name in WITH_DRAWS else {}
    with pytest.raises(LucidVIError, match=rf"`indices`[\s\S]*{message}"):
        getattr(model_of(name), name)(indices=indices, **adata, **draws)


def test_names_that_several_cells_have_are_refused(make_adata):
    adata = make_adata(12)
    adata.obs_names = [f"barcode{i // 2}" for i in range(12)]
    SCVI.setup_anndata(adata)
    model = SCVI(adata, n_hidden=8, n_latent=2)
    model.train(max_epochs=1)
    with pytest.raises(DataError, match="which several cells are called"):
        model.get_latent_representation(indices=["barcode1"])
    every = model.get_latent_representation()
    np.testing.assert_allclose(model.get_latent_representation(indices=[3, 0]), every[[3, 0]])


def test_minibatches_are_taken_as_they_are(ours, loader):
    for method, kwargs in {
        ours.get_elbo: {"indices": [1]},
        ours.get_latent_representation: {"indices": ["cell1"]},
        ours.get_normalized_expression: {"transform_batch": "1"},
        ours.posterior_predictive_sample: {"transform_batch": "1"},
    }.items():
        with pytest.raises(DataError, match="minibatches it takes as they are"):
            method(dataloader=loader(), **kwargs)


# -- genes ------------------------------------------------------------------------------------


def genes_of(answer, axis):
    answer = answer.todense() if hasattr(answer, "todense") else np.asarray(answer)
    return np.moveaxis(answer, axis, 0)


CASES = [(name, kwargs) for name, several in GENE_LISTS.items() for kwargs in several]


@pytest.mark.parametrize(("name", "kwargs"), CASES)
@pytest.mark.filterwarnings("ignore:`return_numpy` must be:UserWarning")
def test_genes_come_in_the_order_asked_for(ours, name, kwargs):
    every = seeded(getattr(ours, name), **kwargs)
    got = seeded(getattr(ours, name), gene_list=ASKED, **kwargs)
    assert type(got) is type(every)
    want = genes_of(every, GENE_AXIS[name])[[11, 2, 17, 2]]
    np.testing.assert_allclose(genes_of(got, GENE_AXIS[name]), want, rtol=1e-6)
    if isinstance(got, pd.DataFrame):
        assert list(got.columns) == ASKED
    mask = np.isin(ours.adata.var_names, ASKED)
    by_mask = seeded(getattr(ours, name), gene_list=mask, **kwargs)
    in_order = genes_of(every, GENE_AXIS[name])[[2, 11, 17]]
    np.testing.assert_allclose(genes_of(by_mask, GENE_AXIS[name]), in_order, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "kwargs"), [case for case in CASES if "n_samples_overall" not in case[1]]
)
def test_genes_are_those_of_scvi_tools(both, name, kwargs):
    """What scvi-tools gives of the same weights and seed, in its own order, reordered."""
    ours, theirs = both(name, gene_list=["gene2", "gene11"], **(kwargs | {"indices": range(30)}))
    if name == "posterior_predictive_sample" or "n_samples" in kwargs:
        assert ours.shape == theirs.shape  # other draws
        return
    tolerance = {"rtol": 1e-4, "atol": 1e-6}
    np.testing.assert_allclose(np.asarray(ours), np.asarray(theirs), **tolerance)


@pytest.mark.filterwarnings("ignore:Using .* after custom Dataloader:UserWarning")
def test_genes_of_a_loader(both, ours, loader):
    """scvi-tools leaves a gene list out where it is given a loader."""
    for name in GENE_LISTS:
        every = seeded(getattr(ours, name), dataloader=loader())
        got = seeded(getattr(ours, name), dataloader=loader(), gene_list=ASKED)
        np.testing.assert_allclose(
            genes_of(got, GENE_AXIS[name]), genes_of(every, GENE_AXIS[name])[[11, 2, 17, 2]]
        )


@pytest.mark.parametrize("name", GENE_LISTS)
def test_unknown_genes_are_refused(ours, name):
    ask = getattr(ours, name)
    with pytest.raises(UnknownGeneError, match="'GENE3'") as error:
        ask(gene_list=["gene1", "GENE3"])
    assert "'gene3'" in error.value.remedy
    for kind in (KeyError, ValueError):
        with pytest.raises(kind):
            ask(gene_list=["gene1", "XIST"])
    for nothing in ([], np.zeros(20, dtype=bool), [True]):
        with pytest.raises(DataError, match="`gene_list`"):
            ask(gene_list=nothing)
    assert genes_of(ask(gene_list="gene4"), GENE_AXIS[name]).shape[0] == 1


def test_measured_genes_are_refused_alike(ours):
    for genes in ([], np.zeros(20, dtype=bool), [True, False], ["gene0", "gene99"]):
        with pytest.raises(LucidVIError, match="`genes`"):
            ours.refine_posterior(genes=genes, indices=[0])


# -- batches ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def numbered(make_adata):
    """Return a model whose batches are whole numbers."""
    adata = make_adata(40, seed=5)
    adata.obs["batch"] = np.arange(40) % 3 * 10
    SCVI.setup_anndata(adata, batch_key="batch")
    model = SCVI(adata, n_hidden=8, n_latent=3)
    model.train(max_epochs=1)
    return model


@pytest.mark.parametrize("name", TRANSFORM_BATCH)
def test_batches_are_named_in_every_way(assert_same, ours, numbered, name):
    ask, kwargs = getattr(ours, name), TRANSFORM_BATCH[name]
    want = seeded(ask, transform_batch=["1"], **kwargs)
    for batch in ("1", np.array(["1"]), pd.Series(["1"]), ("1",), np.str_("1")):
        assert_same(seeded(ask, transform_batch=batch, **kwargs), want)
    ask = getattr(numbered, name)
    want = seeded(ask, transform_batch=[20], **kwargs)
    for batch in (20, np.int8(20), 20.0, np.array([20])):
        assert_same(seeded(ask, transform_batch=batch, **kwargs), want)


@pytest.mark.parametrize("name", TRANSFORM_BATCH)
@pytest.mark.parametrize(
    ("batch", "remedy"),
    [("20", "did you mean transform_batch=20?"), ([0, 100], "transform_batch=10"), ([], "None")],
)
def test_unknown_batches_are_refused(numbered, name, batch, remedy):
    with pytest.raises(DataError, match="`transform_batch` is") as error:
        getattr(numbered, name)(transform_batch=batch)
    assert remedy in error.value.remedy


def test_unknown_batches_of_differential_expression(numbered, ours):
    kwargs = {"groupby": "label", "batch_correction": True, "silent": True}
    for argument in ("batchid1", "batchid2"):
        with pytest.raises(DataError, match=f"`{argument}` is 5"):
            numbered.differential_expression(**{argument: [5]}, **kwargs)
    few = {"n_samples_overall": 50, "all_stats": False}
    of_one, of_list = (
        seeded(
            ours.differential_expression, batchid1=batch, batchid2=["2"], **kwargs, **few
        ).sort_index()
        for batch in ("1", ["1"])
    )
    pd.testing.assert_frame_equal(of_one, of_list)


# -- types are those of scvi-tools ------------------------------------------------------------

TYPES = {
    "differential_abundance": {"sample_key": "label"},
    "differential_expression": {"groupby": "label", "n_samples_overall": 20, "silent": True},
    "get_aggregated_posterior": {},
    "get_elbo": {},
    "get_feature_correlation_matrix": {"n_samples": 2},
    "get_latent_library_size": {"give_mean": False},
    "get_latent_representation": {},
    "get_likelihood_parameters": {},
    "get_marginal_ll": {"n_mc_samples": 2},
    "get_normalized_expression": {},
    "get_reconstruction_error": {},
    "posterior_predictive_sample": {},
}


@pytest.mark.parametrize("name", TYPES)
@pytest.mark.filterwarnings("ignore:Using .* after custom Dataloader:UserWarning")
def test_answers_have_the_types_of_scvi_tools(both, name):
    def types(answer):
        if isinstance(answer, dict):
            return {key: types(value) for key, value in answer.items()}
        shape = getattr(answer, "shape", None)
        return type(answer), getattr(answer, "dtype", None), shape, getattr(answer, "ndim", None)

    got, want = both(name, **TYPES[name])
    assert types(got) == types(want)


@pytest.mark.parametrize("name", ["get_elbo", "get_marginal_ll", "get_reconstruction_error"])
def test_answers_of_each_cell_have_the_types_of_scvi_tools(both, name):
    got, want = both(name, return_mean=False, indices=np.array([3, 1]))
    got, want = (r["reconstruction_loss"] if isinstance(r, dict) else r for r in (got, want))
    assert (type(got), got.dtype, got.shape) == (type(want), want.dtype, want.shape)


# -- models that cannot answer ----------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(INDICES.keys() - {"get_batch_representation"}))
def test_untrained_models_say_so_once(make_adata, caplog, name):
    adata = make_adata(12)
    SCVI.setup_anndata(adata, batch_key="batch")
    model = SCVI(adata, n_hidden=8, n_latent=3)
    with caplog.at_level(logging.WARNING):
        try:
            getattr(model, name)(**INDICES[name])
        except TrainingError as error:
            said = [str(error)]
        else:
            said = [record.getMessage() for record in caplog.records]
    assert len(said) == 1
    assert "trained" in said[0]
    assert "model.train()" in said[0]
    assert name in said[0]


def test_trained_models_say_nothing(ours, caplog):
    with caplog.at_level(logging.WARNING):
        ours.get_elbo()
    assert not caplog.records


@pytest.mark.parametrize("name", sorted(INDICES.keys() - {"get_batch_representation"}))
def test_models_without_cells_say_so(ours, tmp_path, name):
    ours.save(str(tmp_path / "model"))
    model = SCVI.load(str(tmp_path / "model"), adata=False)
    with pytest.raises(DataError, match="has no AnnData") as error:
        getattr(model, name)(**INDICES[name])
    places = {"model": model, "adata": ours.adata.copy(), "options": INDICES[name]}
    eval(error.value.remedy.replace(")", ", **options)"), places)


@pytest.mark.parametrize("name", [*INDICES, "differential_expression", "differential_abundance"])
def test_what_is_no_cells(ours, model_of, name, tmp_path):
    with pytest.raises(FileError, match=r"There is no file .*nine\.h5ad"):
        getattr(model_of(name), name)(tmp_path / "nine.h5ad")
    for other in (ours.adata.X, pd.DataFrame(), 3):
        with pytest.raises(ModelTypeError, match="not an AnnData"):
            getattr(model_of(name), name)(other)

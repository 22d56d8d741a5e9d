"""The same categories in other dtypes: the answer is that of identical dtypes, for all ways in.

Every pair of forms of batches, covariates and labels 0 and 1, in a model's data and in a query.
"""

import ast
import re
from itertools import product

import numpy as np
import pandas as pd
import pytest
import scvi
import torch

from lucidvi import simulate
from lucidvi.atlas import Reference
from lucidvi.errors import DataError, LucidVIError, MissingKeyError
from lucidvi.model import SCVI

KEYS = ["batch", "site", "label"]
SETUP = {"batch_key": "batch", "categorical_covariate_keys": ["site"], "labels_key": "label"}
TEXT = np.array(["0", "1", "2"], dtype=object)


def objects(values, kind):
    column = np.empty(len(values), dtype=object)
    column[:] = [kind(value) for value in values]
    return column


FORMS = {
    "int64": lambda v: v,
    "int8": lambda v: v.astype(np.int8),
    "uint16": lambda v: v.astype(np.uint16),
    "big-endian": lambda v: v.astype(">i4"),
    "float64": lambda v: v.astype(float),
    "float32": lambda v: v.astype(np.float32),
    "float16": lambda v: v.astype(np.float16),
    "bool": lambda v: v.astype(bool),
    "Python's int": lambda v: objects(v, int),
    "NumPy's floats": lambda v: objects(v, np.float32),
    "mixed numbers": lambda v: np.where(v == 1, objects(v, float), objects(v, bool)),
    "text": lambda v: TEXT[v],
    "text of floats": lambda v: TEXT[v] + ".0",
    "text of booleans": lambda v: v.astype(bool).astype(str).astype(object),
    "bytes": lambda v: objects(v, lambda value: str(value).encode()),
    "Int64": lambda v: pd.array(v, dtype="Int64"),
    "Float32": lambda v: pd.array(v, dtype="Float32"),
    "boolean": lambda v: pd.array(v.astype(bool), dtype="boolean"),
    "string": lambda v: pd.array(TEXT[v], dtype="string"),
    "categorical": lambda v: pd.Categorical(v),
    "categorical of floats": lambda v: pd.Categorical(v.astype(np.float32)),
    "categorical of booleans": lambda v: pd.Categorical(v.astype(bool)),
    "categorical of text": lambda v: pd.Categorical(TEXT[v]),
    "categorical of strings": lambda v: pd.Categorical(pd.array(TEXT[v], dtype="string")),
}
#: Texts are equal only if they are the same text.
TEXTS = {
    "text": "0",
    "bytes": "0",
    "string": "0",
    "categorical of text": "0",
    "categorical of strings": "0",
    "text of floats": "0.0",
    "text of booleans": "False",
}
#: Those of which every pair is tried; of the others, each with integers.
MAIN = [
    "int64",
    "float64",
    "float32",
    "bool",
    "text",
    "text of floats",
    "text of booleans",
    "bytes",
    "Int64",
    "boolean",
    "string",
    "categorical",
    "categorical of booleans",
    "categorical of text",
]
WITH_INTEGERS = [("int64", form) for form in FORMS] + [(form, "int64") for form in FORMS]
PAIRS = sorted({*product(MAIN, MAIN), *WITH_INTEGERS})


def other_texts(first, second):
    return first in TEXTS and second in TEXTS and TEXTS[first] != TEXTS[second]


@pytest.fixture(scope="module")
def cells(make_adata):
    """Return a function that simulates cells with the columns in a form."""

    def make(form, n_cells=40, seed=0, highest=1):
        adata = make_adata(n_cells, seed=seed)
        rng = np.random.default_rng(seed)
        values = {key: rng.integers(highest + 1, size=n_cells) for key in KEYS}
        del adata.obs["batch"], adata.obs["label"], adata.obs["site"]
        for key, column in values.items():
            column[: 4 * (highest + 1)] = np.repeat(np.arange(highest + 1), 4)
            adata.obs[key] = FORMS[form](column)
        adata.obs["cell_type"] = pd.Categorical(np.resize(["u", "v"], n_cells))
        return adata

    return make


@pytest.fixture(scope="module")
def models(cells):
    """Return a function that makes the same model of data in a form."""
    weights, made = None, {}

    def make(form):
        nonlocal weights
        if form not in made:
            adata = cells(form)
            SCVI.setup_anndata(adata, **SETUP)
            scvi.settings.seed = 0
            arguments = {"n_hidden": 8, "n_latent": 2, "dispersion": "gene-label"}
            model = SCVI(adata, **arguments, encode_covariates=True, gene_likelihood="nb")
            if weights is None:
                model.train(max_epochs=2, accelerator="cpu", enable_progress_bar=False)
                weights = model.module.state_dict()
            model.module.load_state_dict(weights)
            model.module.eval()
            model.is_trained_ = True
            made[form] = model
        return made[form]

    return make


def elbo(model, query):
    torch.manual_seed(0)
    return np.asarray(model.get_elbo(query, return_mean=False))


@pytest.fixture(scope="module")
def expected(models, cells):
    return elbo(models("int64"), cells("int64", seed=1))


@pytest.mark.parametrize(("known", "asked"), PAIRS)
def test_a_query_is_answered_as_with_identical_dtypes(models, cells, expected, known, asked):
    """The ELBO depends on batch (encoder, decoder), covariate and, by its dispersions, label."""
    query = cells(asked, seed=1)
    before = {key: (query.obs[key].dtype, list(query.obs[key])) for key in KEYS}
    if other_texts(known, asked):
        with pytest.raises(DataError, match="seems that the same is meant") as raised:
            elbo(models(known), query)
        assert raised.value.remedy.count("replace({") == 2
    else:
        np.testing.assert_allclose(elbo(models(known), query), expected, rtol=1e-6)
    for key in KEYS:  # nothing of the user's has changed
        assert (query.obs[key].dtype, list(query.obs[key])) == before[key]


@pytest.mark.parametrize(("known", "asked"), WITH_INTEGERS)
def test_no_batch_is_new_for_its_dtype(models, cells, known, asked):
    """In `load_query_data`, with the batches that the reference has and with one more."""
    same = SCVI.load_query_data(cells(asked, seed=1), models(known))
    for key in ("n_batch", "n_labels"):
        assert same.summary_stats[key] == 2
    assert same.registry["field_registries"]["extra_categorical_covs"]["state_registry"][
        "n_cats_per_key"
    ] == [2]
    if "bool" in known or "bool" in asked or "mixed" in known or "mixed" in asked:
        return
    query = cells(asked, seed=1, highest=2)
    more = SCVI.load_query_data(query, models(known))
    assert more.summary_stats.n_batch == more.summary_stats.n_labels == 3
    codes = np.ravel(more.adata_manager.get_from_registry("batch"))
    np.testing.assert_array_equal(codes, cells("int64", seed=1, highest=2).obs["batch"])
    more.train(max_epochs=1, accelerator="cpu", enable_progress_bar=False)
    elbo(more, cells("int64", seed=1, highest=2))
    elbo(more, query.copy())


@pytest.mark.parametrize(("known", "asked"), WITH_INTEGERS)
def test_saved_and_loaded_with_other_dtypes(models, cells, expected, tmp_path, known, asked):
    models(known).save(str(tmp_path / "model"))
    query = cells(asked, seed=1)
    loaded = SCVI.load(str(tmp_path / "model"), adata=query, accelerator="cpu")
    np.testing.assert_allclose(elbo(loaded, None), expected, rtol=1e-6)
    if known == asked:  # and data set up by themselves before
        SCVI.setup_anndata(query, **SETUP)
        np.testing.assert_allclose(elbo(loaded, query), expected, rtol=1e-6)


@pytest.mark.parametrize("asked", ["text", "float32", "boolean", "bytes", "categorical"])
def test_converted_to_scvi_tools(models, cells, tmp_path, asked):
    """Which compares by dtype: it gets a copy of the data where that is needed."""
    models("int64").save(str(tmp_path / "model"))
    query = cells(asked, seed=1)
    loaded = SCVI.load(str(tmp_path / "model"), adata=query, accelerator="cpu")
    theirs = loaded.to_scvi_model()
    right = models("int64").get_latent_representation(cells("int64", seed=1))
    np.testing.assert_allclose(theirs.get_latent_representation(), right, rtol=1e-4, atol=1e-5)
    back = SCVI.from_scvi_model(theirs)
    np.testing.assert_allclose(back.get_latent_representation(query), right, rtol=1e-5)


@pytest.mark.parametrize(("known", "asked"), [*WITH_INTEGERS[::3], ("text", "float64")])
def test_mapped(models, cells, known, asked):
    reference = Reference.from_model(models(known))
    plain = Reference.from_model(models("int64"))
    assert list(reference.batches.cat.categories) in (
        ["0", "1"],
        ["False", "True"],
        ["0.0", "1.0"],
    )
    out, right = reference.map(cells(asked, seed=1)), plain.map(cells("int64", seed=1))
    assert len(out.uns["lucidvi"]["new_batches"]) == 0
    np.testing.assert_allclose(
        out.obsm["X_lucidvi"], right.obsm["X_lucidvi"], rtol=1e-5, atol=1e-6
    )
    assert (out.obs["lucidvi_label"] == right.obs["lucidvi_label"]).all()


@pytest.mark.filterwarnings("ignore:Confidences and p-values of new batches:UserWarning")
def test_mapped_with_a_new_batch_of_another_dtype(models, cells):
    """It has one name in all of them, and the cells of known batches are where they were."""
    reference = Reference.from_model(models("int64"))
    outs = [reference.map(batch_only(cells, form)) for form in ("int64", "float32", "text")]
    for out in outs:
        assert list(out.uns["lucidvi"]["new_batches"]) == ["2"]
        np.testing.assert_allclose(
            out.obsm["X_lucidvi"], outs[0].obsm["X_lucidvi"], rtol=1e-5, atol=1e-6
        )


def batch_only(cells, form):
    query = cells("int64", seed=1)
    query.obs["batch"] = cells(form, seed=1, highest=2).obs["batch"].to_numpy()
    return query


@pytest.mark.parametrize("value", [1, 1.0, True, "1", "1.0", "True", np.int8(1), np.float32(1)])
@pytest.mark.parametrize("known", ["int64", "float32", "bool", "text", "categorical"])
def test_experiments_in_silico(models, known, value):
    """A batch and a covariate by any equal value; two texts have to be the same."""
    if known == "text" and value in ("1.0", "True"):
        with pytest.raises(DataError, match="It knows '0', '1'"):
            simulate.switch_covariates(models(known), batch=value)
        return
    out = simulate.switch_covariates(
        models(known), batch=value, covariates={"site": value}, indices=[0, 1], posterior="encoder"
    )
    right = simulate.switch_covariates(
        models("int64"), batch=1, covariates={"site": 1}, indices=[0, 1], posterior="encoder"
    )
    assert (out.X != right.X).nnz == 0
    shares = simulate.sample_cells(models(known), 8, batch={value: 1}, posterior="encoder")
    assert set(shares.obs["batch"].map(float)) == {1.0}


def pasted(remedy, adata):
    """Run the first line of code of a remedy on an AnnData, and return what is then called so."""
    start = re.search(r"adata(\.obs\[[^]]*\])? = ", remedy).start()
    for end in range(len(remedy), start, -1):
        try:
            if len(ast.parse(remedy[start:end]).body) > 1:
                continue
        except SyntaxError:
            continue
        names = {"adata": adata}
        exec(remedy[start:end], names)
        return names["adata"]
    raise AssertionError(remedy)


@pytest.mark.parametrize("asked", ["int64", "float64", "text", "categorical", "string"])
def test_an_unknown_batch_is_one_clear_error(models, cells, expected, asked, tmp_path):
    """For every way in that cannot learn it; what the remedy leaves is answered as before."""
    model = models("int64")
    query = cells("int64", seed=1)
    query.obs["batch"] = cells(asked, seed=1, highest=2).obs["batch"].to_numpy()
    known = cells("int64", seed=1, highest=2).obs["batch"] < 2
    model.save(str(tmp_path / "model"))
    for ask in (
        model.get_latent_representation,
        model.get_normalized_expression,
        model.get_elbo,
        model.refine_posterior,
        lambda adata: SCVI.load(str(tmp_path / "model"), adata=adata, accelerator="cpu"),
        lambda adata: simulate.switch_covariates(model, adata),
    ):
        with pytest.raises(DataError, match="not found in source registry") as raised:
            ask(query.copy())
        text = str(raised.value)
        assert 'adata.obs["batch"] (batch_key)' in text
        assert "0, 1 (integers)" in text
        assert "load_query_data" in text
    left = pasted(raised.value.remedy, query.copy())
    same = cells("int64", seed=1)[known.to_numpy()].copy()
    same.obs["batch"] = cells("int64", seed=1, highest=2).obs["batch"][known]
    np.testing.assert_allclose(elbo(model, left), elbo(model, same), rtol=1e-6)


def test_what_is_meant_is_pasted(models, cells):
    """A text that spells a number otherwise is asked about, not taken for a new batch."""
    reference = Reference.from_model(models("int64"))
    query = cells("int64", seed=1)
    query.obs["batch"] = "0" + query.obs["batch"].astype(str)
    with pytest.raises(DataError, match=r"'00', '01'|'01', '00'") as raised:
        reference.map(query)
    mended = pasted(raised.value.remedy.replace("query.obs", "adata.obs"), query)
    right = reference.map(cells("int64", seed=1))
    np.testing.assert_array_equal(reference.map(mended).obsm["X_lucidvi"], right.obsm["X_lucidvi"])


@pytest.mark.parametrize("key", KEYS)
def test_a_missing_column(models, cells, key):
    model, query = models("text"), cells("text", seed=1)
    del query.obs[key]
    with pytest.raises(MissingKeyError, match=f"no column '{key}', which the model was") as raised:
        model.get_elbo(query)
    with_it = pasted(raised.value.remedy, query)
    right = cells("int64", seed=1)
    right.obs[key] = 0
    np.testing.assert_allclose(elbo(model, with_it), elbo(models("int64"), right), rtol=1e-6)


def test_one_batch_only(make_adata):
    """The column of a query may be missing if the model was set up without one."""
    adata, query = make_adata(20), make_adata(10, seed=1)
    SCVI.setup_anndata(adata)
    model = SCVI(adata, n_hidden=8, n_latent=2)
    del query.obs["batch"]
    model.is_trained_ = True
    assert model.get_latent_representation(query).shape == (10, 2)


@pytest.mark.parametrize("mixed", [[1, "1"], [True, "True"], [1, "a"]])
def test_a_column_of_text_and_numbers(make_adata, mixed):
    adata = make_adata(20)
    adata.obs["batch"] = objects(np.resize([0, 1], 20), lambda i: mixed[i])
    with pytest.raises(DataError, match=r"mixes .* and text") as raised:
        SCVI.setup_anndata(adata, batch_key="batch")
    exec(raised.value.remedy, {"adata": adata})
    SCVI.setup_anndata(adata, batch_key="batch")
    assert SCVI(adata).summary_stats.n_batch == len({str(value) for value in mixed})


@pytest.mark.parametrize(
    "values",
    [
        pd.cut(np.arange(40), 2),
        pd.to_datetime(["2024-01-01", "2024-02-01"] * 20),
        pd.PeriodIndex(["2024-01", "2024-02"] * 20, freq="M"),
        pd.to_timedelta([1, 2] * 20, unit="h"),
    ],
    ids=["intervals", "dates", "periods", "timedeltas"],
)
def test_dates_and_intervals(make_adata, tmp_path, values):
    """Saved and found again by their values, or refused before the training."""
    adata = make_adata(40)
    adata.obs["batch"] = values
    try:
        SCVI.setup_anndata(adata, batch_key="batch")
    except LucidVIError:
        return
    model = SCVI(adata, n_hidden=8, n_latent=2)
    model.is_trained_ = True
    model.module.eval()
    before = model.get_latent_representation()
    model.save(str(tmp_path / "model"))
    loaded = SCVI.load(str(tmp_path / "model"), adata=adata.copy(), accelerator="cpu")
    np.testing.assert_allclose(loaded.get_latent_representation(), before, rtol=1e-6)
    assert loaded.summary_stats.n_batch == 2

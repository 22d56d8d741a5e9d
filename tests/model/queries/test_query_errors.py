"""What is wrong with cells that a model is asked about is said in terms of these cells."""

import re

import numpy as np
import pandas as pd
import pytest
from mudata import MuData

import lucidvi
from lucidvi.errors import (
    DataError,
    FileError,
    GeneMismatchError,
    MissingKeyError,
    ModelTypeError,
)
from lucidvi.model import SCVI

COLUMNS = {
    "batch_key": "batch",
    "labels_key": "label",
    "size_factor_key": "size_factor",
    "categorical_covariate_keys": ["donor", "site"],
    "continuous_covariate_keys": ["age"],
}
ASKS = {
    "get_latent_representation": lambda model, adata: model.get_latent_representation(adata),
    "get_elbo": lambda model, adata: model.get_elbo(adata),
    "get_normalized_expression": lambda model, adata: model.get_normalized_expression(adata),
    "refine_posterior": lambda model, adata: model.refine_posterior(adata),
    "load": lambda model, adata: SCVI.load(model.folder, adata),
    "load_query_data": lambda model, adata: SCVI.load_query_data(adata, model),
    "load_query_data of a folder": lambda model, adata: SCVI.load_query_data(adata, model.folder),
    "model.adata": lambda model, adata: setattr(model, "adata", adata),
}
pytestmark = [
    pytest.mark.filterwarnings("ignore:Training this model on the query:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*less than 80%:UserWarning"),
]


def trained(adata, folder, **setup):
    SCVI.setup_anndata(adata, **setup)
    model = SCVI(adata, n_hidden=8, n_latent=2)
    model.train(max_epochs=1)
    model.folder = str(folder / "model")
    model.save(model.folder)
    return model


@pytest.fixture(scope="module")
def full(make_adata, tmp_path_factory):
    """Return a model whose counts are in a layer, with every kind of column."""
    adata = make_adata(60)
    adata.layers["counts"], adata.X = adata.X, adata.X.log1p()
    return trained(adata, tmp_path_factory.mktemp("full"), layer="counts", **COLUMNS)


@pytest.fixture(scope="module")
def plain(make_adata, tmp_path_factory):
    return trained(make_adata(60), tmp_path_factory.mktemp("plain"), batch_key="batch")


@pytest.fixture
def cells(make_adata):
    adata = make_adata(45, seed=3)
    adata.layers["counts"] = adata.X.copy()
    return adata


def paste(code, **places):
    """Run the code of a remedy, up to what is said about it, and return the cells."""
    exec(code.split("  #")[0].rstrip("."), places)
    return places["adata"]


@pytest.mark.parametrize("ask", ASKS)
def test_a_layer_that_is_missing(full, cells, ask):
    del cells.layers["counts"]
    with pytest.raises(MissingKeyError, match="takes its counts from adata") as error:
        ASKS[ask](full, cells)
    assert "layer=" not in str(error.value)
    ASKS[ask](full, paste(error.value.remedy, adata=cells))


@pytest.mark.parametrize("ask", ["get_elbo", "load", "load_query_data"])
@pytest.mark.parametrize(
    ("argument", "column"),
    [
        (a, c)
        for a, names in COLUMNS.items()
        for c in ([names] if isinstance(names, str) else names)
    ],
)
def test_a_column_that_is_missing(full, cells, ask, argument, column):
    without = cells.copy()
    del without.obs[column]
    with pytest.raises(MissingKeyError, match=f"no column '{column}'.* It has:"):
        ASKS[ask](full, without)
    cells.obs[column.title()] = cells.obs.pop(column)
    with pytest.raises(MissingKeyError, match=f"'{column}'.*set up with .{argument}") as error:
        ASKS[ask](full, cells)
    assert f"{argument}=" not in error.value.remedy
    ASKS[ask](full, paste(error.value.remedy, adata=cells))


@pytest.mark.parametrize("ask", [ask for ask in ASKS if "folder" not in ask])
@pytest.mark.parametrize("where", ["layer", "X", "raw"])
def test_logarithms(full, plain, cells, ask, where):
    """The remedy says where the counts are, and puts them where the model reads them."""
    counts = cells.X.copy()
    cells.layers["counts"] = counts.log1p()
    model = full
    if where == "layer":
        cells.X = counts.log1p()
        cells.layers["umis"] = counts
    elif where == "raw":
        model = plain
        del cells.layers["counts"]
        cells.raw = cells
        cells.X = counts.log1p()
    with pytest.raises(DataError, match=r"does not hold counts.*log") as error:
        ASKS[ask](model, cells)
    assert "setup_anndata" not in str(error.value)
    assert "is_count_data" not in str(error.value)
    code = error.value.remedy.partition(" holds counts: ")[2]
    ASKS[ask](model, paste(code, adata=cells))


@pytest.mark.filterwarnings("ignore:Constructing a Categorical")  # scvi-tools', of pandas 3.1
@pytest.mark.parametrize("ask", [ask for ask in ASKS if "load_query" not in ask])
@pytest.mark.parametrize(
    ("argument", "column", "value"),
    [
        ("batch_key", "batch", "new"),
        ("labels_key", "label", "NK"),
        ("categorical_covariate_keys", "site", "c"),
    ],
)
def test_categories_that_are_new(full, cells, ask, argument, column, value):
    cells.obs[column] = [value] * 5 + list(cells.obs[column])[5:]
    with pytest.raises(DataError, match=rf"{argument}\) holds '{value}'") as error:
        ASKS[ask](full, cells)
    code = re.search(r"adata = adata\[.*\]\.copy\(\)", error.value.remedy)[0]
    ASKS[ask](full, paste(code, adata=cells))
    assert ("load_query_data" in error.value.remedy) == (argument == "batch_key")


# -- genes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", [None, "counts"])
def test_missing_genes_are_left_out(full, plain, cells, layer):
    model = full if layer else plain
    adata = cells[:, [f"gene{i}" for i in range(18, 3, -1)]].copy()
    with pytest.raises(GeneMismatchError, match="lacks 5 of the model's 20 genes") as error:
        model.get_latent_representation(adata)
    remedy = error.value.remedy
    places = {"SCVI": SCVI, "model": model, "adata": adata, "lucidvi": lucidvi}
    first, second, *_ = re.findall(r"`([^`]+\))`", remedy)
    exec(first, places)
    refined = eval(second, places)
    assert remedy.index("refine_posterior") < remedy.index("would take them for zeros")
    assert "lucidvi.atlas.Reference" in remedy
    measured = np.isin(model.adata.var_names, adata.var_names)
    want = model.refine_posterior(places["filled"], genes=measured)
    np.testing.assert_allclose(refined.loc, want.loc, rtol=1e-5)
    assert np.abs(refined.loc - model.refine_posterior(places["filled"]).loc).max() > 1e-3


OTHER_NAMES = {
    "a column": lambda adata: adata.var.assign(symbol=adata.var_names).set_axis(
        [f"ENSG{i:011}" for i in range(20)]
    ),
    "one of several columns": lambda adata: adata.var.assign(
        kind="gene", name=adata.var_names.astype("category"), half=["gene0"] * 10 + ["x"] * 10
    ).set_axis([f"ENSG{i:011}" for i in range(20)]),
    "a version": lambda adata: adata.var.set_axis(adata.var_names + ".12"),
}


@pytest.mark.parametrize("ask", ["get_elbo", "load", "load_query_data", "model.adata"])
@pytest.mark.parametrize("names", OTHER_NAMES)
def test_genes_of_other_names(plain, cells, ask, names):
    cells.var = OTHER_NAMES[names](cells)
    with pytest.raises(GeneMismatchError, match="lacks 20 of the model's 20 genes") as error:
        ASKS[ask](plain, cells)
    got = paste(error.value.remedy, adata=cells)
    assert list(got.var_names) == list(plain.adata.var_names)
    ASKS[ask](plain, got)


def test_genes_without_any_name_of_the_model(plain, cells):
    cells.var_names = [f"ENSG{i}" for i in range(20)]
    with pytest.raises(GeneMismatchError, match="adata has 'ENSG0'") as error:
        plain.get_elbo(cells)
    assert "prepare_query" not in str(error.value)


# -- what is no AnnData -----------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:From 0.4 .update:FutureWarning")  # MuData's
@pytest.mark.filterwarnings("ignore:The inplace keyword")  # MuData's, of pandas 3.1
@pytest.mark.parametrize("ask", ASKS)
def test_paths_are_opened(plain, cells, ask, tmp_path):
    cells.write_h5ad(tmp_path / "cells.h5ad")
    ASKS[ask](plain, tmp_path / "cells.h5ad")
    with pytest.raises(FileError, match="There is no file"):
        ASKS[ask](plain, str(tmp_path / "nothing.h5ad"))
    with pytest.raises(ModelTypeError, match=r"MuData.* has the modalities 'rna'") as error:
        ASKS[ask](plain, MuData({"rna": cells}))
    assert 'adata.mod["rna"]' in error.value.remedy
    if "load" not in ask or ask == "load":
        with pytest.raises(ModelTypeError, match="not an AnnData"):
            ASKS[ask](plain, pd.DataFrame(cells.X.toarray()))

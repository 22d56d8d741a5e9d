"""Data that change after they were set up: every way in notices, or answers for what there is."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import torch
from anndata import AnnData, read_h5ad
from scipy import sparse

from lucidvi import audit, simulate
from lucidvi.atlas import Reference
from lucidvi.errors import DataError
from lucidvi.model import SCVI

N_CELLS, N_GENES = 90, 12
QUIET: dict[str, Any] = {"accelerator": "cpu", "enable_progress_bar": False}
COLUMNS: dict[str, Any] = {
    "batch_key": "batch",
    "categorical_covariate_keys": ["site"],
    "continuous_covariate_keys": ["age"],
}


def cells(form: str = "csr") -> AnnData:
    rng = np.random.default_rng(0)
    x = (rng.poisson(rng.gamma(1, 3, (N_CELLS, N_GENES))) + 1).astype(np.float32)
    obs = pd.DataFrame(
        {
            "batch": np.resize(["a", "b"], N_CELLS),
            "site": pd.Categorical(np.resize([1, 2, 3], N_CELLS)),
            "age": rng.normal(size=N_CELLS),
            "cell_type": np.resize(["u", "v", "w"], N_CELLS),
        },
        index=[f"c{i}" for i in range(N_CELLS)],
    )
    make = {"csr": sparse.csr_matrix, "csc": sparse.csc_matrix, "dense": np.array}[form]
    adata = AnnData(make(x), obs=obs)
    adata.var_names = [f"g{i}" for i in range(N_GENES)]
    return adata


def trained(adata: AnnData, **setup: Any) -> SCVI:
    SCVI.setup_anndata(adata, **(setup or COLUMNS))
    model = SCVI(adata, n_latent=2, n_hidden=8)
    model.train(2, **QUIET)
    return model


def log(adata: AnnData) -> None:
    sc.pp.normalize_total(adata)
    sc.pp.log1p(adata)


def other_counts(adata: AnnData) -> None:
    adata.X = adata.X * 2


def one_count(adata: AnnData) -> None:
    x = adata.X.toarray() if sparse.issparse(adata.X) else adata.X.copy()
    x[7, 3] += 1
    adata.X = type(adata.X)(x) if sparse.issparse(adata.X) else x


def reordered(adata: AnnData) -> None:
    adata._inplace_subset_obs(np.arange(N_CELLS)[::-1])


def genes_reordered(adata: AnnData) -> None:
    adata._inplace_subset_var(np.arange(N_GENES)[::-1])


def fewer_genes(adata: AnnData) -> None:
    sc.pp.filter_genes(adata, min_counts=int(np.median(np.asarray(adata.X.sum(axis=0)))))


def fewer_cells(adata: AnnData) -> None:
    adata._inplace_subset_obs(np.arange(N_CELLS) % 9 > 0)


def another_batch(adata: AnnData) -> None:
    adata.obs["batch"] = np.resize(["b", "a"], N_CELLS)


def one_batch_value(adata: AnnData) -> None:
    batch = adata.obs["batch"].astype(str).to_numpy().copy()
    batch[3] = "a" if batch[3] == "b" else "b"
    adata.obs["batch"] = pd.Categorical(batch)


def another_site(adata: AnnData) -> None:
    adata.obs["site"] = adata.obs["site"].cat.rename_categories([2, 1, 3])


def another_age(adata: AnnData) -> None:
    adata.obs["age"] *= 2


def elbo(model: SCVI, adata: AnnData) -> np.ndarray:
    torch.manual_seed(0)
    return model.get_elbo(adata, return_mean=False).numpy()


#: What happened, and what the error has to say.
CHANGES: dict[str, tuple[Callable[[AnnData], None], str]] = {
    "logarithms": (log, r"adata.X has changed.* 90 of 90 cells.*c0.*[Ll]og-?normalised"),
    "other counts": (other_counts, r"adata.X has changed since it was set up: 90 of 90"),
    "one count": (one_count, r"adata.X has changed since it was set up: 1 of 90 .* c7 \(row 7\)"),
    "cells in another order": (reordered, r"cells of adata are in another order"),
    "genes in another order": (genes_reordered, r"adata.X has changed"),
    "genes filtered": (fewer_genes, r"adata has \d+ genes, but had 12"),
    "cells filtered": (fewer_cells, r"adata has 80 cells, but had 90"),
    "batches": (another_batch, r'adata.obs\["batch"\] has changed.* 90 of 90 .*was a and is b'),
    "a batch": (one_batch_value, r'obs\["batch"\] has changed.*: 1 of 90 .* c3, which was b'),
    "a covariate": (another_site, r'adata.obs\["site"\] has changed since it was set up: 60 of'),
    "a number": (another_age, r'adata.obs\["age"\] has changed since it was set up: 90 of 90'),
}


def minified(model: SCVI) -> None:
    adata = model.adata
    adata.obsm["X_qzm"] = adata.obsm["X_qzv"] = np.ones((adata.n_obs, 2))
    model.minify_adata(use_latent_qzm_key="X_qzm", use_latent_qzv_key="X_qzv")


#: Ways in that read every cell of the model's own data.
WAYS: dict[str, Callable[[SCVI], Any]] = {
    "train": lambda model: model.train(1, **QUIET),
    "latent": lambda model: model.get_latent_representation(),
    "elbo": lambda model: model.get_elbo(),
    "reconstruction": lambda model: model.get_reconstruction_error(),
    "marginal": lambda model: model.get_marginal_ll(n_mc_samples=2),
    "expression": lambda model: model.get_normalized_expression(),
    "predictive": lambda model: model.posterior_predictive_sample(),
    "library": lambda model: model.get_latent_library_size(),
    "parameters": lambda model: model.get_likelihood_parameters(),
    "differential": lambda model: model.differential_expression(groupby="cell_type", silent=True),
    "aggregated": lambda model: model.get_aggregated_posterior(),
    "refine": lambda model: model.refine_posterior(),
    "gap": lambda model: model.get_inference_gap(),
    "canonicalize": lambda model: model.canonicalize(),
    "audit": audit.run,
    "reference": lambda model: Reference.from_model(model, "cell_type"),
    "sample": lambda model: simulate.sample_cells(model, 10),
    "resequence": lambda model: simulate.resequence(model, depth_factor=2),
    "correlation": lambda model: model.get_feature_correlation_matrix(),
    "abundance": lambda model: model.differential_abundance(sample_key="site"),
    "minify": minified,
}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = str(tmp_path_factory.mktemp("model") / "saved")
    trained(cells()).save(folder)
    return folder


@pytest.mark.parametrize("form", ["csr", "dense"])
@pytest.mark.parametrize("change", CHANGES)
def test_what_changed_after_the_training_is_named(change: str, form: str):
    adata = cells(form)
    model = trained(adata)
    alter, message = CHANGES[change]
    alter(adata)
    with pytest.raises(DataError, match=f"(?s){message}"):
        model.get_latent_representation()


@pytest.mark.parametrize("change", CHANGES)
def test_what_changed_before_the_training_is_named(change: str):
    adata = cells()
    SCVI.setup_anndata(adata, **COLUMNS)
    alter, message = CHANGES[change]
    alter(adata)
    with pytest.raises(DataError, match=f"(?s){message}"):
        SCVI(adata, n_latent=2).train(1, **QUIET)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("change", ["logarithms", "a batch"])
def test_every_way_in_notices(way: str, change: str):
    adata = cells()
    model = trained(adata)
    before = {name: weight.clone() for name, weight in model.module.state_dict().items()}
    alter, message = CHANGES[change]
    alter(adata)
    with pytest.raises(DataError, match=f"(?s){message}"):
        WAYS[way](model)
    after = model.module.state_dict()
    assert all((after[name] == weight).all() for name, weight in before.items())


def test_cells_that_are_not_asked_for_are_not_looked_at():
    """The cost is that of the cells asked for, also of few among many."""
    adata = cells()
    model = trained(adata)
    expected = model.get_latent_representation(indices=[5, 7])
    assert 6 not in model.adata_manager.sample  # 64 of the 90
    adata.X.data[adata.X.indptr[6]] += 1
    np.testing.assert_allclose(model.get_latent_representation(indices=[5, 7]), expected)
    with pytest.raises(DataError, match="c6"):
        model.get_latent_representation(indices=[6, 7])


def set_column(name: str, make: Callable[[pd.Series], Any]) -> Callable[[AnnData], None]:
    def change(adata: AnnData) -> None:
        adata.obs[name] = make(adata.obs.get(name))

    return change


def remove_age(adata: AnnData) -> None:
    del adata.obs["age"]


SAME: dict[str, Callable[[AnnData], None]] = {
    "csr": lambda adata: setattr(adata, "X", sparse.csr_matrix(adata.X)),
    "csc": lambda adata: setattr(adata, "X", sparse.csc_matrix(adata.X)),
    "dense": lambda adata: setattr(adata, "X", np.asarray(sparse.csr_matrix(adata.X).todense())),
    "int64": lambda adata: setattr(adata, "X", adata.X.astype(np.int64)),
    "float64": lambda adata: setattr(adata, "X", adata.X.astype(np.float64)),
    "names of genes": lambda adata: setattr(adata, "var_names", adata.var_names.str.upper()),
    "names of cells": lambda adata: setattr(adata, "obs_names", adata.obs_names + "-1"),
    "categories": lambda adata: adata.strings_to_categoricals(),
    "batches as a string dtype": set_column("batch", lambda batch: batch.astype("string")),
    "numbers as text": set_column("site", lambda site: site.astype(str)),
    "unused categories": set_column("batch", lambda b: pd.Categorical(b, categories=list("zba"))),
    "labels": set_column("cell_type", lambda _: "other"),
    "a new column": set_column("leiden", lambda _: "0"),
    "a column removed": remove_age,
    "an embedding": lambda adata: adata.obsm.__setitem__("X_pca", np.zeros((N_CELLS, 2))),
}


@pytest.mark.parametrize("what", SAME)
def test_what_does_not_matter_to_the_model_may_change(what: str):
    adata = cells()
    model = trained(adata, **COLUMNS, labels_key="cell_type")
    expected = model.get_latent_representation()
    SAME[what](adata)
    np.testing.assert_allclose(model.get_latent_representation(), expected, atol=1e-6)
    model.train(1, **QUIET)


def test_labels_matter_where_the_decoder_uses_them():
    adata = cells()
    SCVI.setup_anndata(adata, labels_key="cell_type")
    model = SCVI(adata, n_latent=2, n_hidden=8, dispersion="gene-label")
    model.train(1, **QUIET)
    adata.obs["cell_type"] = np.resize(["w", "v", "u"], N_CELLS)
    with pytest.raises(DataError, match=r'obs\["cell_type"\] has changed'):
        model.get_elbo()


def test_counts_in_a_layer_and_x_normalised():
    adata = cells()
    adata.layers["counts"] = adata.X.copy()
    model = trained(adata, layer="counts", batch_key="batch")
    expected = model.get_latent_representation()
    log(adata)
    np.testing.assert_allclose(model.get_latent_representation(), expected)
    adata.layers["counts"] = adata.layers["counts"] * 3
    with pytest.raises(DataError, match=r'adata.layers\["counts"\] has changed'):
        model.get_elbo()


@pytest.mark.parametrize("keep", ["layer", "raw"])
def test_the_remedy_brings_kept_counts_back(keep: str):
    adata = cells()
    model = trained(adata)
    expected = model.get_latent_representation()
    if keep == "layer":
        adata.layers["kept"] = adata.X.copy()
    else:
        adata.raw = adata.copy()
    log(adata)
    with pytest.raises(DataError, match="has changed") as caught:
        model.get_latent_representation()
    exec(caught.value.remedy, {"adata": adata})
    np.testing.assert_allclose(model.get_latent_representation(), expected)


@pytest.mark.parametrize("change", ["other counts", "batches", "genes filtered", "cells filtered"])
def test_the_remedy_sets_up_again(change: str):
    adata = cells()
    SCVI.setup_anndata(adata, **COLUMNS)
    alter, _ = CHANGES[change]
    alter(adata)
    with pytest.raises(DataError) as caught:
        SCVI(adata)
    code = caught.value.remedy.partition("model: ")[2].partition("; or,")[0]
    names: dict[str, Any] = {"adata": adata, "SCVI": SCVI}
    exec(code, names)
    names["model"].train(1, **QUIET)
    assert names["model"].adata_manager.registry["setup_args"]["batch_key"] == "batch"


def test_set_up_twice_after_a_change():
    """The second setup is that of other counts, with which the first model is not to go on."""
    adata = cells()
    first = trained(adata)
    one_count(adata)
    second = trained(adata)
    second.get_latent_representation()
    with pytest.raises(DataError, match="has changed"):
        first.get_latent_representation()


@pytest.mark.parametrize("change", ["batches", "a batch", "a covariate", "a number"])
def test_a_query_whose_columns_changed_is_read_anew(change: str, weights: str):
    model = SCVI.load(weights, adata=cells(), accelerator="cpu")
    query = cells()
    elbo(model, query)
    CHANGES[change][0](query)
    expected = elbo(model, query.copy())
    np.testing.assert_allclose(elbo(model, query), expected, rtol=1e-5)
    assert not np.allclose(elbo(model, cells()), expected)


@pytest.mark.parametrize("change", ["other counts", "one count", "cells in another order"])
def test_a_query_whose_counts_changed_is_read_anew(change: str, weights: str):
    model = SCVI.load(weights, adata=cells(), accelerator="cpu")
    query = cells()
    before = model.get_latent_representation(query)
    CHANGES[change][0](query)
    now = model.get_latent_representation(query)
    np.testing.assert_allclose(now, model.get_latent_representation(query.copy()), atol=1e-6)
    assert np.abs(now - before).max() > 1e-4


def test_a_query_of_which_cells_were_filtered(weights: str):
    model = SCVI.load(weights, adata=cells(), accelerator="cpu")
    query = cells()
    before = model.get_latent_representation(query)
    kept = np.arange(N_CELLS) % 9 > 0
    fewer_cells(query)
    np.testing.assert_allclose(model.get_latent_representation(query), before[kept], atol=1e-6)


def test_a_query_that_became_logarithms_is_refused_and_can_be_put_right(weights: str):
    model = SCVI.load(weights, adata=cells(), accelerator="cpu")
    query = cells()
    before = model.get_latent_representation(query)
    counts = query.X.copy()
    log(query)
    for _ in range(2):
        with pytest.raises(DataError, match="does not hold counts"):
            model.get_latent_representation(query)
    query.X = counts
    np.testing.assert_allclose(model.get_latent_representation(query), before, atol=1e-6)


@pytest.mark.parametrize("form", ["csr", "dense"])
def test_a_file_that_changes_is_noticed_as_it_is_read(form: str, tmp_path: Path):
    path = tmp_path / "cells.h5ad"
    cells(form).write_h5ad(path)
    adata = read_h5ad(path, backed="r+")
    model = trained(adata)
    expected = model.get_latent_representation()
    np.testing.assert_allclose(model.get_latent_representation(), expected)
    stored = adata.file["X/data" if form == "csr" else "X"]
    stored[...] = stored[...] * 2
    with pytest.raises(DataError, match=r"adata.X has changed since it was set up"):
        model.get_latent_representation()
    with pytest.raises(DataError, match=r"adata.X has changed since it was set up"):
        model.train(1, **QUIET)


def test_the_check_can_fail_at_every_row():
    """Each row is compared with its own digest, whatever the selection and its order."""
    adata = cells()
    model = trained(adata)
    x = adata.X
    for row in range(0, N_CELLS, 7):
        position = x.indptr[row]
        x.data[position] += 1
        with pytest.raises(DataError, match=f"c{row} "):
            model.get_latent_representation(indices=[(row + 1) % N_CELLS, row, 0])
        x.data[position] -= 1
    model.get_latent_representation()

"""Registration: everything checked, nothing changed on failure, every format loads its rows."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scvi
from anndata import AnnData
from scipy import sparse
from scvi import REGISTRY_KEYS
from scvi.data.fields import (
    CategoricalJointObsField,
    CategoricalObsField,
    LayerField,
    NumericalJointObsField,
)
from scvi.dataloaders import AnnDataLoader

from lucidvi.data import CheckedAnnDataManager, align_genes, unchanged_on_error
from lucidvi.errors import DataError, GeneMismatchError, MissingKeyError

N_CELLS, N_GENES = 24, 6


class Model(scvi.model.SCVI):
    """scvi's model over the checked manager."""

    @classmethod
    def setup_anndata(
        cls,
        adata: AnnData,
        layer: str | None = None,
        batch_key: str | None = None,
        labels_key: str | None = None,
        size_factor_key: str | None = None,
        categorical_covariate_keys: list[str] | None = None,
        continuous_covariate_keys: list[str] | None = None,
        is_count_data: bool = True,
        **kwargs: Any,
    ) -> None:
        setup_args = cls._get_setup_method_args(**locals())
        x = LayerField(REGISTRY_KEYS.X_KEY, layer, is_count_data=False, correct_data_format=False)
        fields = [
            x,
            CategoricalObsField(REGISTRY_KEYS.BATCH_KEY, batch_key),
            CategoricalObsField(REGISTRY_KEYS.LABELS_KEY, labels_key),
            CategoricalJointObsField(REGISTRY_KEYS.CAT_COVS_KEY, categorical_covariate_keys),
            NumericalJointObsField(REGISTRY_KEYS.CONT_COVS_KEY, continuous_covariate_keys),
        ]
        manager = CheckedAnnDataManager(fields, setup_args, is_count_data=is_count_data)
        manager.register_fields(adata, **kwargs)
        cls.register_manager(manager)


def counts() -> np.ndarray:
    """Every row differs from every other."""
    x = np.random.default_rng(0).poisson(2.0, (N_CELLS, N_GENES)).astype("float32")
    x[:, 0] = np.arange(1, N_CELLS + 1)
    return x


def make_adata(x: Any = None) -> AnnData:
    adata = AnnData(counts() if x is None else x)
    adata.obs_names = [f"cell-{i}" for i in range(N_CELLS)]
    adata.var_names = [f"GENE{j}" for j in range(N_GENES)]
    adata.obs["batch"] = pd.Categorical(["a", "b"] * (N_CELLS // 2))
    adata.obs["lab"] = ["x"] * 8 + ["y"] * 8 + ["z"] * 8
    adata.obs["age"] = np.arange(N_CELLS, dtype=float)
    return adata


def make_manager(adata: AnnData, **setup_args: Any) -> CheckedAnnDataManager:
    Model.setup_anndata(adata, **setup_args)
    return Model._get_most_recent_anndata_manager(adata)


def contents(adata: AnnData) -> dict[str, Any]:
    """Everything that registering could change, with the identity of the matrices."""
    return {
        "obs": adata.obs.copy(),
        "obsm": {key: np.asarray(value).copy() for key, value in adata.obsm.items()},
        "uns": dict(adata.uns),
        "X": adata.X,
        "layers": {key: value for key, value in adata.layers.items() if key is not None},
    }


def assert_unchanged(adata: AnnData, before: dict[str, Any]) -> None:
    after = contents(adata)
    pd.testing.assert_frame_equal(after["obs"], before["obs"])
    assert after["uns"] == before["uns"]
    assert after["obsm"].keys() == before["obsm"].keys()
    for key, value in before["obsm"].items():
        np.testing.assert_array_equal(after["obsm"][key], value)
    assert after["X"] is before["X"]
    assert after["layers"].keys() == before["layers"].keys()
    assert all(after["layers"][key] is value for key, value in before["layers"].items())


FORMATS: dict[str, Callable[[np.ndarray], Any]] = {
    "dense": np.ascontiguousarray,
    "F order": np.asfortranarray,
    "csr_matrix": sparse.csr_matrix,
    "csr_array": sparse.csr_array,
    "csc_matrix": sparse.csc_matrix,
    "csc_array": sparse.csc_array,
    "int32": lambda x: sparse.csr_array(x.astype("int32")),
}
in_all_formats = pytest.mark.parametrize("convert", FORMATS.values(), ids=FORMATS)


@in_all_formats
@pytest.mark.parametrize("layer", [None, "counts"])
def test_loader_yields_the_right_rows(convert: Callable, layer: str | None):
    adata = make_adata(convert(counts()))
    if layer is not None:
        adata.layers[layer] = adata.X
        adata.X = np.full(adata.shape, 0.5)
    stored = adata.X if layer is None else adata.layers[layer]
    manager = make_manager(adata, layer=layer, batch_key="batch")
    order = np.random.default_rng(1).permutation(N_CELLS)
    loader = AnnDataLoader(manager, indices=order, batch_size=7)
    batches = list(loader)
    rows = np.concatenate([batch["X"].numpy() for batch in batches])
    np.testing.assert_array_equal(rows, counts()[order])
    batch = np.concatenate([batch["batch"].numpy().ravel() for batch in batches])
    np.testing.assert_array_equal(batch, order % 2)
    assert (adata.X if layer is None else adata.layers[layer]) is stored


@pytest.mark.filterwarnings("ignore:Sparse:UserWarning")  # torch calls sparse tensors new
@pytest.mark.parametrize("convert", [FORMATS[name] for name in ("csr_array", "csc_matrix")])
def test_sparse_loader_yields_the_right_rows(convert: Callable):
    manager = make_manager(make_adata(convert(counts())))
    loader = AnnDataLoader(manager, batch_size=7, load_sparse_tensor=True)
    rows = np.concatenate([batch["X"].to_dense().numpy() for batch in loader])
    np.testing.assert_array_equal(rows, counts())


@pytest.mark.parametrize("convert", [np.asarray, sparse.csr_matrix, sparse.csc_matrix])
def test_backed_loader_yields_the_right_rows(convert: Callable, tmp_path: Path):
    make_adata(convert(counts())).write_h5ad(tmp_path / "x.h5ad")
    adata = ad.read_h5ad(tmp_path / "x.h5ad", backed="r")
    manager = make_manager(adata, batch_key="batch")
    rows = np.concatenate([b["X"].numpy() for b in AnnDataLoader(manager, batch_size=7)])
    np.testing.assert_array_equal(rows, counts())
    assert adata.isbacked


def assert_scvi_trains(adata: AnnData) -> None:
    Model.setup_anndata(adata, batch_key="batch", continuous_covariate_keys=["age"])
    model = Model(adata, n_hidden=4, n_latent=2)
    model.train(
        max_epochs=1,
        batch_size=8,
        train_size=1.0,
        accelerator="cpu",
        enable_progress_bar=False,
        logger=False,
        enable_checkpointing=False,
    )
    assert model.get_latent_representation().shape == (N_CELLS, 2)
    assert np.isfinite(float(model.get_elbo()))


@in_all_formats
def test_scvi_trains(convert: Callable):
    assert_scvi_trains(make_adata(convert(counts())))


@pytest.mark.parametrize("convert", [np.asarray, sparse.csr_matrix, sparse.csc_matrix])
def test_scvi_trains_on_backed_data(convert: Callable, tmp_path: Path):
    make_adata(convert(counts())).write_h5ad(tmp_path / "x.h5ad")
    assert_scvi_trains(ad.read_h5ad(tmp_path / "x.h5ad", backed="r"))


def test_csr_array_is_wrapped_without_a_copy():
    adata = make_adata(sparse.csr_array(counts()))
    manager = make_manager(adata)
    x = manager.get_from_registry(REGISTRY_KEYS.X_KEY)
    assert isinstance(x, sparse.csr_matrix)
    for name in ("data", "indices", "indptr"):
        assert np.shares_memory(getattr(x, name), getattr(adata.X, name))
    np.testing.assert_array_equal(x.toarray(), counts())


@pytest.mark.parametrize("convert", [np.asarray, sparse.csr_matrix])
def test_other_formats_are_returned_as_they_are(convert: Callable):
    adata = make_adata(convert(counts()))
    manager = make_manager(adata)
    assert manager.get_from_registry(REGISTRY_KEYS.X_KEY) is adata.X


@pytest.mark.parametrize("convert", [sparse.csc_matrix, sparse.csc_array])
def test_csc_is_converted_with_one_hint(convert: Callable, caplog: pytest.LogCaptureFixture):
    manager = make_manager(make_adata(convert(counts())))
    with caplog.at_level(logging.INFO, logger="lucidvi"):
        for _ in range(2):
            x = manager.get_from_registry(REGISTRY_KEYS.X_KEY)
            assert isinstance(x, sparse.csr_matrix)
            np.testing.assert_array_equal(x.toarray(), counts())
    hints = [record for record in caplog.records if "CSC" in record.getMessage()]
    assert len(hints) == 1
    assert "adata.X = adata.X.tocsr()" in hints[0].getMessage()


# -- a failure changes nothing ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setup_args", "error", "message"),
    [
        ({"batch_key": "Batch"}, MissingKeyError, 'did you mean batch_key="batch"'),
        ({"layer": "count"}, MissingKeyError, 'layer="counts"'),
        ({"categorical_covariate_keys": "lab"}, DataError, r'=\["lab"\]'),
        ({"continuous_covariate_keys": ["lab"]}, DataError, "numbers are needed"),
        ({"layer": "log"}, DataError, r"adata.layers\['log'\] does not hold counts"),
    ],
)
def test_failed_setup_changes_nothing(setup_args: dict[str, Any], error: type, message: str):
    adata = make_adata()
    adata.layers["counts"], adata.layers["log"] = adata.X, np.log1p(adata.X)
    before = contents(adata)
    with pytest.raises(error, match=message):
        Model.setup_anndata(adata, **setup_args)
    assert_unchanged(adata, before)


@pytest.mark.filterwarnings("ignore:Constructing a Categorical")  # pandas 3, then scvi raises
@pytest.mark.parametrize("registered_before", [False, True])
def test_failed_transfer_changes_nothing(registered_before: bool):
    """The unknown category is met late: after batch, labels and half of the covariates."""
    setup = {"batch_key": "batch", "categorical_covariate_keys": ["batch", "lab"]}
    manager = make_manager(make_adata(), **setup)
    query = make_adata(np.asfortranarray(counts()))
    query.obsm["X_pca"] = np.ones((N_CELLS, 2))
    query.uns["colors"] = ["red"]
    query.obs["lab"] = ["x"] * 12 + ["new"] * 12
    if registered_before:
        Model.setup_anndata(query, **setup)
    before = contents(query)
    with pytest.raises(ValueError, match="new"):
        manager.transfer_fields(query)
    assert_unchanged(query, before)
    assert ("_scvi_batch" in query.obs) == registered_before
    assert query.uns["colors"] == ["red"]


def test_unchanged_on_error_restores_all_that_it_says():
    adata = make_adata()
    adata.layers["counts"] = sparse.csr_matrix(counts())
    adata.obsm["X_pca"] = np.ones((N_CELLS, 2))
    adata.uns["colors"] = ["red"]
    before = contents(adata)

    def change_all(*, then_stop: bool) -> None:
        with unchanged_on_error(adata):
            adata.obs["batch"] = "c"
            adata.obs["new"] = 1
            adata.obs.loc["cell-0", "age"] = -1.0
            del adata.obs["lab"]
            adata.obsm["X_pca"] = np.zeros((N_CELLS, 2))
            adata.obsm["X_new"] = np.zeros((N_CELLS, 2))
            adata.uns["new"] = 1
            del adata.uns["colors"]
            adata.X = sparse.csr_matrix(adata.shape)
            adata.layers["counts"] = np.zeros(adata.shape)
            if then_stop:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        change_all(then_stop=True)
    assert_unchanged(adata, before)
    change_all(then_stop=False)
    assert adata.uns["new"] == 1
    assert "lab" not in adata.obs


def test_views_are_refused():
    with pytest.raises(DataError, match=r"Remedy: adata = adata.copy\(\)"):
        Model.setup_anndata(make_adata()[:10])


# -- transfer, continuous and minified data -----------------------------------------------------


@pytest.mark.parametrize("is_count_data", [True, False])
def test_transfer_checks_in_the_same_way(is_count_data: bool):
    manager = make_manager(make_adata(), batch_key="batch", is_count_data=is_count_data)
    query = make_adata(counts() / 2)
    if is_count_data:
        with pytest.raises(DataError, match="are not integers"):
            manager.transfer_fields(query)
        return
    transferred = manager.transfer_fields(query)
    assert type(transferred) is CheckedAnnDataManager
    assert transferred.is_count_data is False
    assert transferred.registry["setup_args"] == manager.registry["setup_args"]
    query.X[0, 0] = np.nan
    with pytest.raises(DataError, match="NaN"):
        manager.transfer_fields(query)


def test_transfer_with_new_categories():
    manager = make_manager(make_adata(), batch_key="batch")
    query = make_adata()
    query.obs["batch"] = "c"
    transferred = manager.transfer_fields(query, extend_categories=True)
    assert transferred.summary_stats.n_batch == 3


@pytest.mark.parametrize(
    ("minify_type", "passes"),
    [
        ("latent_posterior_parameters", True),
        ("latent_posterior_parameters_with_counts", False),
        (None, False),
    ],
)
def test_counts_of_minified_data_are_not_looked_for(minify_type: str | None, passes: bool):
    adata = make_adata(sparse.csr_matrix((N_CELLS, N_GENES), dtype="float32"))
    if minify_type is not None:
        adata.uns["_scvi_adata_minify_type"] = minify_type
    if passes:
        Model.setup_anndata(adata)
        return
    with pytest.raises(DataError, match="24 of 24 cells without a single count"):
        Model.setup_anndata(adata)


def test_validate_registers_again_after_another_setup():
    adata = make_adata()
    manager = make_manager(adata, batch_key="batch")
    make_manager(adata, batch_key="lab")
    assert adata.obs["_scvi_batch"].max() == 2
    manager.validate()
    assert adata.obs["_scvi_batch"].max() == 1


# -- genes --------------------------------------------------------------------------------------


def test_same_genes_are_left_alone():
    adata = make_adata()
    assert align_genes(adata, list(adata.var_names)) is adata


@in_all_formats
@pytest.mark.parametrize("genes", [["GENE3", "GENE0"], [f"GENE{j}" for j in (5, 4, 3, 2, 1, 0)]])
def test_genes_are_reordered(convert: Callable, genes: list[str]):
    adata = make_adata(convert(counts()))
    aligned = align_genes(adata, pd.Index(genes))
    assert list(aligned.var_names) == genes
    assert not aligned.is_view
    x = aligned.X.toarray() if sparse.issparse(aligned.X) else aligned.X
    np.testing.assert_array_equal(x, counts()[:, [int(gene[-1]) for gene in genes]])
    assert adata.n_vars == N_GENES


def test_genes_of_backed_data_are_reordered(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    make_adata(sparse.csr_matrix(counts())).write_h5ad(tmp_path / "x.h5ad")
    adata = ad.read_h5ad(tmp_path / "x.h5ad", backed="r")
    assert align_genes(adata, adata.var_names) is adata
    with caplog.at_level(logging.INFO, logger="lucidvi"):
        aligned = align_genes(adata, ["GENE4", "GENE1"])
    assert "the 2 genes of the model, in its order, from the 6 of adata." in caplog.text
    assert not aligned.isbacked
    assert not sparse.issparse(aligned.X)  # it is left in the file
    np.testing.assert_array_equal(aligned.X.compute().toarray(), counts()[:, [4, 1]])


def test_genes_of_backed_data_are_read_without_dask(tmp_path, caplog, monkeypatch):
    make_adata(sparse.csr_matrix(counts())).write_h5ad(tmp_path / "x.h5ad")
    adata = ad.read_h5ad(tmp_path / "x.h5ad", backed="r")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with caplog.at_level(logging.INFO, logger="lucidvi"):
        aligned = align_genes(adata, ["GENE4", "GENE1"])
    assert "the 2 genes of the model, in its order, from the 6 of adata, which is read into" in (
        caplog.text
    )
    assert not aligned.isbacked
    np.testing.assert_array_equal(aligned.X.toarray(), counts()[:, [4, 1]])


def test_missing_genes():
    with pytest.raises(GeneMismatchError) as error:
        align_genes(make_adata(), ["GENE0", "ACTB", "GENE1", "MALAT1"])
    assert "adata lacks 2 of the model's 4 genes: 'ACTB', 'MALAT1'." in error.value.problem
    assert "case" not in error.value.problem
    assert "SCVI.prepare_query_anndata(adata, model, inplace=False)" in error.value.remedy


def test_genes_that_differ_in_case_only():
    adata = make_adata()
    genes = list(adata.var_names)
    adata.var_names = adata.var_names.str.capitalize()
    with pytest.raises(GeneMismatchError) as error:
        align_genes(adata, genes)
    assert "6 of them differ in upper and lower case only: 'Gene0' in adata is 'GENE0'" in (
        error.value.problem
    )
    exec(error.value.remedy.split(". ")[0])
    assert align_genes(adata, genes) is adata
    with pytest.raises(GeneMismatchError, match="rename the genes of adata as in the model"):
        align_genes(adata, [gene.capitalize() for gene in genes])


def test_repeated_genes_cannot_be_aligned():
    adata = make_adata()
    adata.var_names = ["A", "A", "B", "C", "D", "E"]
    with pytest.raises(DataError, match=r"adata.var_names_make_unique\(\)"):
        align_genes(adata, ["B", "C"])

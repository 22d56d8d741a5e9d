"""Each remedy of an error at setup, pasted as it stands, leads to a setup that works."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata
import mudata
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from anndata import AnnData
from scipy import sparse

from lucidvi.data import Reader, check_counts
from lucidvi.data._remedies import quoted
from lucidvi.errors import LucidVIError
from lucidvi.model import SCVI

pytestmark = [
    pytest.mark.filterwarnings("ignore:Category .* fewer than 3 cells"),
    pytest.mark.filterwarnings("ignore:Transforming to str index"),
    pytest.mark.filterwarnings("ignore:Variable names are not unique"),
]
QUOTED = 'a "quoted" name'
BATCH = {"batch_key": "batch"}
Case = tuple[AnnData, dict[str, Any]]


def counts(n_cells: int = 60, n_genes: int = 20) -> np.ndarray:
    rng = np.random.default_rng(0)
    x = rng.poisson(rng.gamma(1.0, 2.0, n_genes) * rng.lognormal(0, 0.3, (n_cells, 1)))
    x[:, 0] += 1
    return x.astype("float32")


def cells(x: Any = None) -> AnnData:
    x = counts() if x is None else x
    n_cells, n_genes = x.shape
    obs = pd.DataFrame(
        {
            "batch": pd.Categorical(["a", "b", "c"] * (n_cells // 3)),
            "size": np.linspace(0.5, 2, n_cells),
            QUOTED: ["u", "v"] * (n_cells // 2),
            "age": pd.array(np.arange(n_cells) % 5 * 1.0, dtype="Float64"),
        },
        index=[f"cell{i}" for i in range(n_cells)],
    )
    var = pd.DataFrame(index=[f"gene{i}" for i in range(n_genes)])
    return AnnData(x, obs=obs, var=var)


def normalised(x: np.ndarray) -> np.ndarray:
    return np.log1p(1e4 * x / x.sum(axis=1, keepdims=True))


def with_counts_in_layer() -> Case:
    adata = cells(normalised(counts()))
    adata.layers['the "raw" counts'] = sparse.csr_matrix(counts())
    return adata, BATCH


def with_counts_in_x() -> Case:
    adata = cells()
    adata.layers["log"] = normalised(counts())
    return adata, BATCH | {"layer": "log"}


def with_raw(names: list[str] | None = None, keep: int = 10) -> AnnData:
    adata = cells()
    if names is not None:
        adata.var_names = names
    adata.raw = adata.copy()
    adata = adata[:, :keep].copy()
    adata.X = normalised(adata.X)
    return adata


def with_more_genes_in_raw() -> Case:
    return with_raw(), BATCH


def with_repeated_genes_in_raw() -> Case:
    return with_raw([*(f"g{i}" for i in range(18)), "TBCE", "TBCE"]), BATCH


def with_a_gene_that_raw_repeats() -> Case:
    adata = with_raw(["TBCE", *(f"g{i}" for i in range(18)), "TBCE"])
    adata.layers["counts"] = normalised(counts()[:, :10])
    return adata, BATCH


def with_genes_that_were_made_unique() -> Case:
    adata = with_raw([*(f"g{i}" for i in range(18)), "TBCE", "TBCE"], keep=20)
    adata.var_names_make_unique()
    return adata, BATCH


def with_raw_as_layer() -> Case:
    return with_raw(), BATCH | {"layer": "raw"}


def with_repeated_raw_as_layer() -> Case:
    return with_raw(["TBCE", *(f"g{i}" for i in range(18)), "TBCE"]), BATCH | {"layer": "raw"}


def without_x() -> Case:
    adata = cells()
    bare = AnnData(obs=adata.obs, var=adata.var, layers={"counts": adata.X})
    return bare, BATCH


def scaled() -> Case:
    x = counts()
    x[:, 0] = 1  # a gene without variance: NaN
    adata = cells(x)
    adata.layers["counts"] = x
    with np.errstate(invalid="ignore"):
        adata.X = (x - x.mean(0)) / x.std(0)
    return adata, BATCH


def with_nan_in_a_gene() -> Case:
    x = counts()
    x[3, 4] = x[7, 4] = np.nan
    return cells(x), BATCH


def with_nan_in_every_gene() -> Case:
    x = counts()
    x[3] = np.inf
    return cells(sparse.csr_matrix(x)), BATCH


def with_nan_in_a_layer() -> Case:
    adata = cells()
    x = counts()
    x[3, 4] = np.nan
    adata.layers["x"] = sparse.csc_matrix(x)
    return adata, {"layer": "x"}


def estimated() -> np.ndarray:
    rng = np.random.default_rng(1)
    x = counts().astype(float)
    x[:, 1:] -= np.where(rng.random((60, 19)) < 0.3, x[:, 1:] * rng.random((60, 19)) * 0.4, 0)
    return x.round(2)


def estimates() -> Case:
    return cells(estimated()), BATCH


def sparse_estimates() -> Case:
    return cells(sparse.csr_matrix(estimated())), BATCH


def estimates_in_a_layer() -> Case:
    adata = cells(normalised(counts()))
    adata.layers["salmon"] = sparse.csc_array(estimated())
    return adata, BATCH | {"layer": "salmon"}


def pseudocounts() -> Case:
    return cells(counts() + 0.5), BATCH


def with_an_empty_cell() -> Case:
    x = counts()
    x[5] = 0
    return cells(sparse.csr_matrix(x)), BATCH


def with_an_empty_cell_in_a_layer() -> Case:
    adata = with_an_empty_cell()[0]
    adata.layers["counts"] = adata.X.copy()
    return adata, BATCH | {"layer": "counts"}


def with_repeated_genes() -> Case:
    adata = cells()
    adata.var_names = ["g"] * 2 + [f"g{i}" for i in range(2, 20)]
    return adata, BATCH


def with_missing(column: str, value: Any, **setup_args: Any) -> Case:
    adata = cells()
    values = adata.obs[column]
    adata.obs[column] = values if column in ("size", "age") else values.astype(object)
    adata.obs.loc["cell5", column] = value
    return adata, setup_args


def with_column(values: Any, **setup_args: Any) -> Case:
    adata = cells()
    adata.obs["column"] = values
    return adata, setup_args


def with_antibodies() -> Case:
    adata = cells()
    adata.var["feature_types"] = ["Gene Expression"] * 15 + ["Antibody Capture"] * 5
    return adata, BATCH


def a_view() -> Case:
    return cells()[:30], BATCH


CASES: dict[str, Callable[[], Case]] = {
    function.__name__: function
    for function in (
        with_counts_in_layer,
        with_counts_in_x,
        with_more_genes_in_raw,
        with_repeated_genes_in_raw,
        with_a_gene_that_raw_repeats,
        with_genes_that_were_made_unique,
        with_raw_as_layer,
        with_repeated_raw_as_layer,
        without_x,
        scaled,
        with_nan_in_a_gene,
        with_nan_in_every_gene,
        with_nan_in_a_layer,
        estimates,
        sparse_estimates,
        estimates_in_a_layer,
        pseudocounts,
        with_an_empty_cell,
        with_an_empty_cell_in_a_layer,
        with_repeated_genes,
        with_antibodies,
        a_view,
    )
} | {
    "batch is missing": lambda: with_missing("batch", None, batch_key="batch"),
    "label is missing": lambda: with_missing(
        'a "quoted" name', np.nan, labels_key='a "quoted" name'
    ),
    "size factor is negative": lambda: with_missing("size", -1.0, size_factor_key="size"),
    "size factor is missing": lambda: with_missing("age", pd.NA, size_factor_key="age"),
    "covariate is missing": lambda: with_missing("age", pd.NA, continuous_covariate_keys=["age"]),
    "covariate is infinite": lambda: with_missing(
        "age", np.inf, continuous_covariate_keys=["age"]
    ),
    "covariate is text": lambda: with_column(
        ["1.5", "2"] * 30, continuous_covariate_keys=["column"]
    ),
    "one string": lambda: (cells(), {"continuous_covariate_keys": "age"}),
    "named twice": lambda: (cells(), {"continuous_covariate_keys": ["age", "size", "age"]}),
    "intervals": lambda: with_column(pd.cut(np.arange(60), 3), batch_key="column"),
    "dates": lambda: with_column(
        pd.to_datetime(["2024-01-01", "2024-02-01"] * 30), batch_key="column"
    ),
    "dates with a zone": lambda: with_column(
        pd.to_datetime(["2024-01-01", "2024-02-01"] * 30).tz_localize("Europe/Berlin"),
        categorical_covariate_keys=["column"],
    ),
    "periods": lambda: with_column(
        pd.PeriodIndex(["2024-01", "2024-02"] * 30, freq="M"), labels_key="column"
    ),
    "durations": lambda: with_column(pd.to_timedelta([1, 2] * 30, unit="D"), batch_key="column"),
    "tuples": lambda: with_column([("a", 1), ("b", 2)] * 30, batch_key="column"),
    "categories of tuples": lambda: with_column(
        pd.Categorical([("a", 1), ("b", 2)] * 30), batch_key="column"
    ),
}
ON_DISK = [
    "with_counts_in_layer",
    "with_counts_in_x",
    "with_more_genes_in_raw",
    "with_repeated_genes_in_raw",
    "with_a_gene_that_raw_repeats",
    "with_raw_as_layer",
    "with_repeated_raw_as_layer",
    "with_nan_in_a_gene",
    "with_nan_in_every_gene",
    "estimates",
    "sparse_estimates",
    "estimates_in_a_layer",
    "with_an_empty_cell",
    "with_an_empty_cell_in_a_layer",
    "with_antibodies",
    "batch is missing",
    "size factor is negative",
]


def raised(adata: Any, setup_args: dict[str, Any]) -> LucidVIError:
    with pytest.raises(LucidVIError) as error:
        SCVI.setup_anndata(adata, **setup_args)
    return error.value


def paste(code: str, adata: Any, setup_args: dict[str, Any]) -> AnnData:
    """Run a line of code, and the setup again unless the line did that."""
    scope = {"adata": adata, "np": np, "sc": sc, "SCVI": SCVI, "anndata": anndata}
    argument, _, value = code.partition("=")
    if argument in setup_args and not code.startswith("adata"):
        setup_args = setup_args | {argument: eval(value, scope)}
        code = ""
    exec(code, scope)
    if "setup_anndata" not in code:
        SCVI.setup_anndata(scope["adata"], **setup_args)
    return scope["adata"]


def check_all_pasted(make: Callable[[], Case]) -> None:
    adata, setup_args = make()
    error = raised(adata, setup_args)
    assert error.code
    for code in error.code:
        assert code in error.remedy
        assert "np.str_" not in str(error)
        if not code.endswith("is_count_data=False)"):
            adata, setup_args = make()
            model = SCVI(paste(code, adata, setup_args), n_latent=2)
            asked = {key: value for key, value in setup_args.items() if key != "layer"}
            stored = model.registry["setup_args"]
            assert all(stored[key] for key in asked), "an argument was lost"
        else:
            adata, setup_args = make()
            assert paste(code, adata, setup_args).n_obs


@pytest.mark.parametrize("case", CASES)
def test_every_remedy_works_when_it_is_pasted(case: str):
    check_all_pasted(CASES[case])


@pytest.mark.parametrize("case", ON_DISK)
def test_every_remedy_works_on_backed_data(case: str, tmp_path: Path):
    def on_disk() -> Case:
        adata, setup_args = CASES[case]()
        adata.obs["age"] = adata.obs["age"].astype(float)  # HDF5 files hold no nullable ones
        number = len(list(tmp_path.iterdir()))
        adata.write_h5ad(tmp_path / f"{number}.h5ad")
        return anndata.read_h5ad(tmp_path / f"{number}.h5ad", backed="r"), setup_args

    check_all_pasted(on_disk)


@pytest.mark.parametrize(
    "case", ["with_counts_in_layer", "with_more_genes_in_raw", "with_a_gene_that_raw_repeats"]
)
def test_the_pasted_remedy_reads_the_counts(case: str):
    adata, setup_args = CASES[case]()
    adata = paste(raised(adata, setup_args).code[0], adata, setup_args)
    x = SCVI(adata, n_latent=2).adata_manager.get_from_registry("X")
    x = x.toarray() if sparse.issparse(x) else x
    np.testing.assert_array_equal(x, counts()[:, : x.shape[1]])


def test_rounding_changes_nothing_else():
    adata, setup_args = estimates()
    code = next(code for code in raised(adata, setup_args).code if "rint" in code)
    rounded = paste(code, adata, setup_args)
    np.testing.assert_array_equal(rounded.X, np.rint(estimated()))
    adata, setup_args = pseudocounts()
    code = next(code for code in raised(adata, setup_args).code if "rint" in code)
    np.testing.assert_array_equal(paste(code, adata, setup_args).X, counts())


def test_other_data_of_a_model_get_counts_where_the_model_reads_them():
    adata = cells()
    SCVI.setup_anndata(adata, batch_key="batch")
    model = SCVI(adata, n_latent=2)
    model.is_trained_ = True
    for make in (with_counts_in_layer, with_more_genes_in_raw, estimates, with_nan_in_every_gene):
        for i in range(9):
            other, _ = make()
            if other.n_vars < 20:  # the model's genes
                other = cells(normalised(counts()))
                other.raw = cells()
            with pytest.raises(LucidVIError) as error:
                model.get_latent_representation(other)
            assert "setup_anndata" not in error.value.remedy
            if i == len(error.value.code):
                break
            scope = {"adata": other, "np": np}
            exec(error.value.code[i], scope)
            assert len(model.get_latent_representation(scope["adata"])) == scope["adata"].n_obs
        assert i


def test_a_mudata_is_taken_apart():
    genes, proteins = cells(), cells(counts(60, 5))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mdata = mudata.MuData({"prot": proteins, "rna": genes})
    error = raised(mdata, {})
    assert "adata is a mudata.MuData, not an AnnData. It has the modalities 'prot', 'rna'" in (
        error.problem
    )
    assert "layer" not in error.remedy
    assert paste(error.code[0], mdata, BATCH).n_vars == 20


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_matrix, pd.DataFrame])
def test_a_matrix_is_made_an_anndata(kind: Callable):
    matrix = kind(counts())
    assert paste(raised(matrix, {}).code[0], matrix, {}).n_obs == 60


def test_the_split_by_kind_makes_a_mudata():
    adata, setup_args = with_antibodies()
    remedy = raised(adata, setup_args).remedy
    code = "mdata = " + remedy.split("mdata = ")[1].split("). If")[0] + ")"
    scope = {"adata": adata, "mudata": mudata}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(code, scope)
    assert {name: part.n_vars for name, part in scope["mdata"].mod.items()} == {
        "rna": 15,
        "prot": 5,
    }


def test_arguments_are_repeated_in_order():
    setup_args = {"labels_key": 'my "type"', "continuous_covariate_keys": ("age",), "other": 3}
    assert Reader(setup_args).reads("counts") == (
        'SCVI.setup_anndata(adata, layer="counts", labels_key="my \\"type\\"", '
        'continuous_covariate_keys=["age"])'
    )
    assert quoted(True) == "True"


def test_values_meant_to_be_continuous_have_no_counts_to_look_for():
    x = counts()
    x[0, 0] = np.nan
    adata = cells(x)
    adata.layers["counts"] = counts()
    with pytest.raises(LucidVIError) as error:
        check_counts(adata, is_count_data=False)
    assert "counts" not in error.value.remedy
    for code in error.value.code:
        scope = {"adata": adata, "np": np}
        exec(code, scope)
        check_counts(scope["adata"], is_count_data=False)

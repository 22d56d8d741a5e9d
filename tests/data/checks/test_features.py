"""Features of several kinds are no genes of one model; features of one kind are."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from lucidvi.data.checks._features import check_one_kind
from lucidvi.errors import DataError
from lucidvi.model import SCVI


def cells(kinds: list[Any], column: str = "feature_types") -> AnnData:
    x = 1 + np.random.default_rng(0).poisson(2.0, (30, len(kinds))).astype("float32")
    var = pd.DataFrame({column: kinds}, index=[f"f{i}" for i in range(len(kinds))])
    return AnnData(x, obs=pd.DataFrame(index=[f"c{i}" for i in range(30)]), var=var)


MIXTURES = [
    ("feature_types", "Gene Expression", "Antibody Capture"),
    ("feature_types", "Gene Expression", "Peaks"),
    ("feature_types", "Gene Expression", "CRISPR Guide Capture"),
    ("feature_types", "Gene Expression", "Multiplexing Capture"),
    ("feature_types", "Gene Expression", "Custom"),
    ("feature_types", "Gene Expression", "Antigen Capture"),
    ("feature_types", "Gene Expression", "Negative Control Probe"),
    ("feature_types", "Gene Expression", "Something New"),
    ("feature_types", "Antibody Capture", "Multiplexing Capture"),
    ("feature_type", "gene", "protein"),
    ("modality", "rna", "prot"),
    ("modality", "Gene_Expression", "Peaks"),
    ("modality", "RNA", "ATAC"),
]


@pytest.mark.parametrize(("column", "first", "other"), MIXTURES)
@pytest.mark.parametrize("dtype", [object, "category", "string"])
def test_a_mixture_is_refused_and_split(column: str, first: str, other: str, dtype: Any):
    adata = cells([first] * 6 + [other] * 4, column)
    adata.var[column] = adata.var[column].astype(dtype)
    with pytest.raises(DataError) as error:
        SCVI.setup_anndata(adata)
    assert f'adata.var["{column}"]' in error.value.problem
    assert f"6 '{first}', 4 '{other}'" in error.value.problem
    assert "_scvi_batch" not in adata.obs
    scope = {"adata": adata}
    exec(error.value.code[0], scope)
    assert list(scope["adata"].var_names) == [f"f{i}" for i in range(6)]
    SCVI.setup_anndata(scope["adata"])
    exec(error.value.code[1])
    SCVI.setup_anndata(adata)


@pytest.mark.parametrize(
    ("column", "kinds"),
    [
        ("feature_types", ["Gene Expression"] * 4),
        ("feature_types", ["Antibody Capture"] * 4),  # on purpose
        ("feature_types", ["Peaks"] * 4),
        ("feature_types", ["Gene Expression", "Gene Expression", np.nan, None]),
        ("feature_type", ["protein_coding", "lncRNA", "IG_C_gene", "TEC"]),  # of CELLxGENE
        ("feature_biotype", ["gene", "gene", "spike-in", "gene"]),
        ("modality", ["rna", "RNA", "Gene Expression", "rna"]),
        ("gene_symbols", ["Protein", "Peaks", "rna", "ADT"]),
        ("feature_types", pd.Categorical(["Peaks"] * 4, categories=["Peaks", "Gene Expression"])),
        ("feature_types", [1, 2, 3, 4]),
    ],
)
def test_one_kind_passes(column: str, kinds: Any):
    check_one_kind(cells(kinds, column))


def test_minority_of_genes_is_kept_all_the_same():
    adata = cells(["Antibody Capture"] * 7 + ["Gene Expression"] * 3)
    with pytest.raises(DataError) as error:
        check_one_kind(adata)
    scope = {"adata": adata}
    exec(error.value.code[0], scope)
    assert scope["adata"].n_vars == 3


@pytest.mark.parametrize("minified", [False, True])
def test_a_model_that_was_trained_on_a_mixture_is_loaded(minified: bool, tmp_path):
    adata = cells(["Gene Expression"] * 10)
    SCVI.setup_anndata(adata)
    model = SCVI(adata, n_latent=2)
    model.train(max_epochs=1, accelerator="cpu", enable_progress_bar=False)
    before = model.get_latent_representation()
    adata.var["feature_types"] = ["Gene Expression"] * 6 + ["Antibody Capture"] * 4
    if minified:
        adata.obsm["X_latent_qzm"], adata.obsm["X_latent_qzv"] = model.get_latent_representation(
            return_dist=True
        )
        model.minify_adata()
    model.save(str(tmp_path / "model"), save_anndata=True)
    again = SCVI.load(str(tmp_path / "model"))
    np.testing.assert_allclose(again.get_latent_representation(), before, atol=1e-5)
    if not minified:
        again = SCVI.load(str(tmp_path / "model"), adata=adata.copy())
        np.testing.assert_allclose(again.get_latent_representation(), before, atol=1e-5)
        other = model.get_latent_representation(adata.copy())
        np.testing.assert_allclose(other, before, atol=1e-5)

"""Genes are found by whatever names the query has for them, and nothing is guessed in silence."""

from dataclasses import replace

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from lucidvi.atlas import Reference
from lucidvi.atlas.mapping._gene_names import best_match, id_columns, without_versions
from lucidvi.errors import DataError, GeneMismatchError, MissingKeyError
from lucidvi.model import SCVI

IDS = [f"ENSG{i:011d}" for i in range(60)]


@pytest.fixture(scope="module")
def mapped(reference, query):
    return reference.map(query)


@pytest.fixture(scope="module")
def with_ids(reference):
    """Return the reference, of which the model's genes have ids besides their names."""
    cells = reference.cells.copy()
    cells.var["gene_ids"] = IDS
    return replace(reference, data=replace(reference.data, cells=cells))


def named_by_ids(query, version="", **columns):
    """Return the query with Ensembl ids for names."""
    query = query.copy()
    query.var = pd.DataFrame(columns, index=[name + version for name in IDS])
    return query


def same(out, mapped):
    np.testing.assert_array_equal(out.obsm["X_lucidvi"], mapped.obsm["X_lucidvi"])
    assert out.uns["lucidvi"]["n_genes_measured"] == 60
    return True


def test_symbols_in_a_column(reference, query, mapped):
    cells = named_by_ids(query, chromosome="1", symbol=query.var_names)
    with pytest.warns(
        UserWarning, match=r'60 of .* by query.var\["symbol"\].*gene_key=\'symbol\''
    ):
        out = reference.map(cells)
    assert same(out, mapped)
    assert out.uns["lucidvi"]["genes_matched_by"] == 'var["symbol"]'
    assert same(reference.map(cells, gene_key="symbol"), mapped)  # asked for: no warning


def test_categories_and_missing_symbols(reference, query):
    symbols = pd.Series(query.var_names, index=IDS).where(np.arange(60) > 4)
    out = reference.map(named_by_ids(query, symbol=symbols.astype("category")), gene_key="symbol")
    assert out.uns["lucidvi"]["n_genes_measured"] == 55


@pytest.mark.parametrize("version", ["", ".15"])
def test_ids_that_the_reference_keeps(with_ids, query, mapped, version):
    out = with_ids.map(named_by_ids(query, version))
    assert same(out, mapped)
    assert out.uns["lucidvi"]["genes_matched_by"] == 'var_names as the model\'s var["gene_ids"]'


def test_counts_of_one_symbol_are_added_up(reference, query, mapped):
    """Split at random over two ids, as an aligner may, they are what they were."""
    counts = query.X.toarray().astype(int)
    half = np.random.default_rng(0).binomial(counts[:, :7], 0.5)
    counts[:, :7] -= half
    var = pd.DataFrame(
        {"symbol": [*query.var_names, *query.var_names[:7]]},
        index=[*IDS, *(f"ENSG1{i:010d}" for i in range(7))],
    )
    split = anndata.AnnData(sparse.csr_matrix(np.hstack([counts, half])), obs=query.obs, var=var)
    out = reference.map(split, gene_key="symbol")
    assert same(out, mapped)
    assert out.uns["lucidvi"]["n_genes_summed"] == 7


@pytest.mark.filterwarnings("ignore:Variable names are not unique")
def test_the_remedy_for_repeated_names_adds_them_up(reference, query):
    cells = query.copy()
    cells.var_names = ["Gene1" if name == "Gene2" else name for name in cells.var_names]
    with pytest.raises(DataError, match="more than once: 'Gene1'") as raised:
        reference.map(cells)
    assert 'query.var["name"] = query.var_names, and gene_key="name"' in raised.value.remedy
    cells.var["name"] = cells.var_names
    said = reference.map(cells, gene_key="name").uns["lucidvi"]
    assert (said["n_genes_measured"], said["n_genes_summed"]) == (59, 1)


def test_a_symbol_of_two_genes_of_the_model_is_not_guessed(reference, query):
    cells = reference.cells.copy()
    cells.var["symbol"] = ["shared" if i < 2 else f"symbol{i}" for i in range(60)]
    reference = replace(reference, data=replace(reference.data, cells=cells))
    query = query.copy()
    query.var_names = ["shared", "elsewhere", *(f"symbol{i}" for i in range(2, 60))]
    said = reference.map(query).uns["lucidvi"]
    assert (said["n_genes_measured"], said["n_genes_ambiguous"]) == (58, 2)


def test_other_species_are_not_taken(reference, query):
    cells = named_by_ids(query, symbol=query.var_names.str.upper())
    with pytest.raises(GeneMismatchError, match=r"none of .* 60 genes, nor has any column"):
        reference.map(cells)
    with pytest.raises(GeneMismatchError, match="'GENE0' in the query is 'Gene0'"):
        reference.map(cells, gene_key="symbol")


def test_a_column_that_is_not_there(reference, query):
    cells = named_by_ids(query, symbol=query.var_names)
    with pytest.raises(MissingKeyError, match=r"gene_key='symbols': .* There are: 'symbol'"):
        reference.map(cells, gene_key="symbols")


@pytest.mark.parametrize(
    ("given", "short"),
    [
        (["ENSG00000000003.15", "TP53.1"], ["ENSG00000000003", "TP53.1"]),
        (["ENSMUSG00000000001.4"], ["ENSMUSG00000000001"]),
        (["ENSG00000000003.15"] * 2, ["ENSG00000000003"] * 2),  # one gene, twice
        (["ENSG00000000003.1", "ENSG00000000003.2"], ["ENSG00000000003.1", "ENSG00000000003.2"]),
        (["ENSG00000182378.15_PAR_Y"], ["ENSG00000182378.15_PAR_Y"]),
    ],
)
def test_versions(given, short):
    assert list(without_versions(pd.Index(given))) == short


def test_names_come_first_among_equals():
    query = pd.DataFrame({"copy": ["a", "b", "c"], "more": ["a", "b", "d"]}, index=["a", "b", "c"])
    model = pd.DataFrame({"id": ["a", "b", "d"]}, index=["a", "b", "e"])
    match = best_match(query[["copy"]], model)
    assert (match.query, match.model, match.n_found) == (None, None, 2)
    match = best_match(query, model)
    assert (match.query, match.model, list(match.places)) == ("more", "id", [0, 1, 2])


def test_the_reference_keeps_columns_that_name_genes(simulate, query, tmp_path):
    adata = simulate(80)
    adata.var["gene_ids"] = IDS
    adata.var["symbol"] = ["twice", "twice", *(f"symbol{i}" for i in range(2, 60))]
    adata.var["chromosome"] = "1"
    adata.var["mean"] = 1.0
    SCVI.setup_anndata(adata, batch_key="batch")
    model = SCVI(adata, n_hidden=16, n_latent=3)
    model.train(max_epochs=2, plan_kwargs={"warn_collapse": False})
    reference = Reference.from_model(model)
    assert list(id_columns(adata.var)) == ["gene_ids", "symbol"]
    assert list(reference.cells.var["gene_ids"]) == IDS
    assert {"chromosome", "mean"}.isdisjoint(reference.cells.var)
    before = reference.cells.var.copy()
    reference.save(tmp_path / "atlas")
    loaded = Reference.load(tmp_path / "atlas")
    for var in (reference.cells.var, loaded.cells.var):  # texts' type is that of pandas' version
        pd.testing.assert_frame_equal(var, before, check_dtype=False)
    out = loaded.map(named_by_ids(query, ".3"))
    assert out.uns["lucidvi"]["n_genes_measured"] == 60

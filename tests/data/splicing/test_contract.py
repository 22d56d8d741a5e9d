"""Every form in which molecules may come gives the counts and names that were written."""

from pathlib import Path

import numpy as np
import pytest
from scipy import sparse
from tests.data.splicing.written import FORMS, IDS, KINDS, Form, counted

from lucidvi.data import check_counts, layer_names, read_splicing

forms = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)


def expected(form: Form, counts: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return what the layers have to be."""
    if form.ambiguous is None:
        return {kind: counts[kind] for kind in ("spliced", "unspliced")}
    layers = dict(counts)
    if form.ambiguous != "apart":
        layers[form.ambiguous] = counts[form.ambiguous] + counts["ambiguous"]
    return layers


@forms
def test_counts(form: Form, tmp_path: Path):
    counts = counted()
    adata = read_splicing(form.write(tmp_path, counts))
    layers = expected(form, counts)
    assert layer_names(adata) == [kind for kind in KINDS if kind in layers]
    for kind, layer in layers.items():
        np.testing.assert_array_equal(adata.layers[kind].toarray(), layer, err_msg=kind)
    np.testing.assert_array_equal(adata.X.toarray(), layers["spliced"])


@forms
def test_names(form: Form, tmp_path: Path):
    adata = read_splicing(form.write(tmp_path, counted()))
    assert list(adata.obs_names) == list(form.cells)
    assert list(adata.var_names) == list(form.names)
    assert adata.obs.columns.empty
    assert ("gene_ids" in adata.var) is form.has_ids
    if form.has_ids:
        assert list(adata.var["gene_ids"]) == IDS


@forms
def test_format_is_found(form: Form, tmp_path: Path):
    path = form.write(tmp_path, counted())
    found, given = read_splicing(str(path)), read_splicing(path, format=form.format)
    assert (found.X != given.X).nnz == 0


@forms
def test_stored_as_counts(form: Form, tmp_path: Path):
    adata = read_splicing(form.write(tmp_path, counted()))
    for matrix in (adata.X, *(adata.layers[name] for name in layer_names(adata))):
        assert isinstance(matrix, sparse.csr_matrix)
        assert matrix.dtype == np.int32
        assert matrix.data.all()
        assert matrix.has_sorted_indices
    check_counts(adata)
    check_counts(adata, layer="unspliced")
    adata.X.data[:] = 7
    assert (adata.layers["spliced"] != adata.X).nnz > 0


@pytest.mark.parametrize("ambiguous", ["spliced", "unspliced", "apart"])
@pytest.mark.parametrize("name", [name for name, form in FORMS.items() if form.ambiguous])
def test_where_ambiguous_molecules_are_counted(name: str, ambiguous: str, tmp_path: Path):
    counts = counted()
    adata = read_splicing(FORMS[name].write(tmp_path, counts), ambiguous=ambiguous)
    for kind in KINDS:
        more = counts["ambiguous"] if kind == ambiguous else 0
        np.testing.assert_array_equal(adata.layers[kind].toarray(), counts[kind] + more)
    np.testing.assert_array_equal(adata.X.toarray(), adata.layers["spliced"].toarray())

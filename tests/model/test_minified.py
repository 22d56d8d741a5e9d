"""Data whose counts are gone: posteriors, and library sizes where they are known."""

import numpy as np
import pytest
import scvi
from scipy import sparse

from lucidvi.errors import DataError, MissingKeyError
from lucidvi.model import SCVI

KEYS = {"use_latent_qzm_key": "_scvi_latent_qzm", "use_latent_qzv_key": "_scvi_latent_qzv"}
WITH_COUNTS = "latent_posterior_parameters_with_counts"


@pytest.fixture(params=[None, "counts"])
def layer(request):
    return request.param


@pytest.fixture
def saved(make_adata, tmp_path, layer):
    """Return a model, and its data with posteriors in place of counts, loaded into it again."""
    adata = make_adata(60)
    adata.layers["counts"] = adata.X.copy()
    scvi.settings.seed = 0
    SCVI.setup_anndata(adata, layer=layer, batch_key="batch")
    model = SCVI(adata, n_hidden=8, n_latent=2, gene_likelihood="nb")
    model.train(max_epochs=2)
    model.save(str(tmp_path / "model"))
    mean, variance = model.get_latent_representation(return_dist=True)

    def load(library=None):
        shared = adata.copy()
        shared.X = sparse.csr_matrix(shared.shape, dtype=np.float32)
        shared.layers["counts"] = shared.X.copy()
        for key, values in zip(KEYS.values(), (mean, variance), strict=True):
            shared.obsm[key] = values
        if library is not None:
            shared.obs["observed_lib_size"] = library
        return SCVI.load(str(tmp_path / "model"), adata=shared)

    return model, load


def test_library_sizes_are_kept(saved):
    model, load = saved
    matrix = model.adata_manager.get_from_registry("X")
    loaded = load(np.asarray(matrix.sum(axis=1)).ravel())
    loaded.minify_adata(**KEYS)
    assert loaded.minified_data_type == "latent_posterior_parameters"
    np.testing.assert_allclose(
        loaded.get_latent_representation(), model.get_latent_representation(), atol=1e-6
    )
    means = []
    for each in (loaded, model):
        scvi.settings.seed = 1
        means.append(each.get_likelihood_parameters(n_samples=200)["mean"])
    np.testing.assert_allclose(*means, rtol=0.1)
    assert loaded.posterior_predictive_sample().todense().sum() > 0


def test_library_sizes_that_are_not_known(saved):
    _, load = saved
    loaded = load()
    with pytest.warns(UserWarning, match="how many each cell had is not known") as caught:
        loaded.minify_adata(**KEYS)
    assert 'model.adata.obs["observed_lib_size"] = totals' in str(caught[0].message)
    assert np.isnan(loaded.adata.obs["observed_lib_size"]).all()
    shares = loaded.get_normalized_expression()
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-4)


def test_nothing_is_read_from_counts_that_are_not_there(saved):
    _, load = saved
    loaded = load()
    for query in (loaded.get_latent_representation, loaded.get_elbo):
        with pytest.raises(DataError, match="no counts, only posteriors") as error:
            query()
        assert "minify_adata" in error.value.remedy
    with pytest.raises(DataError, match="keeps the counts") as error:
        loaded.minify_adata(WITH_COUNTS, **KEYS)
    assert "leave `minified_data_type` out" in error.value.remedy


def test_empty_counts_alone_are_refused(make_adata):
    adata = make_adata(60)
    adata.X = sparse.csr_matrix(adata.shape, dtype=np.float32)
    adata.obsm["_scvi_latent_qzm"] = np.zeros((60, 2))
    with pytest.raises(DataError, match="without a single count"):
        SCVI.setup_anndata(adata)


def test_posteriors_that_are_not_stored_are_named_and_the_remedy_works(make_adata):
    adata = make_adata()
    SCVI.setup_anndata(adata)
    model = SCVI(adata, n_hidden=8, n_latent=2)
    model.train(max_epochs=1)
    latent = model.get_latent_representation()

    with pytest.raises(MissingKeyError, match="no entry 'X_latent_qzm'") as error:
        model.minify_adata()
    exec(error.value.remedy, {"model": model})
    model.minify_adata()

    np.testing.assert_allclose(model.get_latent_representation(), latent, atol=1e-6)


def test_minified_cells_are_not_trained_on_until_their_counts_are_back(make_adata):
    adata = make_adata()
    SCVI.setup_anndata(adata)
    model = SCVI(adata, n_hidden=8, n_latent=2)
    model.train(max_epochs=1)
    keys = "X_latent_qzm", "X_latent_qzv"
    for key, values in zip(keys, model.get_latent_representation(return_dist=True), strict=True):
        adata.obsm[key] = values
    model.minify_adata()

    with pytest.raises(DataError, match="`train` needs counts") as error:
        model.train(max_epochs=1)
    assert error.value.remedy.startswith("model.adata = adata")
    model.adata = adata
    model.train(max_epochs=1)

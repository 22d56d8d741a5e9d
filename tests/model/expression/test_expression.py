"""Draws of all cells together, and correlations of every likelihood that has counts."""

import numpy as np
import pandas as pd
import pytest
import torch

from lucidvi.errors import DataError, ModelTypeError
from lucidvi.model import SCVI


def seeded(method, *args, **kwargs):
    np.random.seed(0)  # noqa: NPY002 (scvi-tools draws from the global generator)
    torch.manual_seed(0)
    return method(*args, **kwargs)


@pytest.fixture(scope="module")
def model_of(make_adata):
    """Return a function that makes a trained model of a likelihood."""
    models = {}

    def make(gene_likelihood):
        if gene_likelihood not in models:
            adata = make_adata(60, seed=5)
            SCVI.setup_anndata(adata, batch_key="batch")
            model = SCVI(adata, n_hidden=8, n_latent=2, gene_likelihood=gene_likelihood)
            model.train(max_epochs=5)
            models[gene_likelihood] = model
        return models[gene_likelihood]

    return make


@pytest.mark.parametrize("n_samples_overall", [1, 5, 60, 500])
@pytest.mark.parametrize("indices", [None, ["cell3", "cell1"]])
@pytest.mark.parametrize("weights", [None, "uniform"])
def test_draws_of_all_cells_are_numbered(model_of, n_samples_overall, indices, weights):
    """scvi-tools names them as cells, and fails where they are not as many."""
    ask = model_of("nb").get_normalized_expression
    kwargs = {"n_samples_overall": n_samples_overall, "indices": indices, "weights": weights}
    got = seeded(ask, **kwargs)
    assert got.index.equals(pd.RangeIndex(n_samples_overall))
    assert list(got.columns) == [f"gene{i}" for i in range(20)]
    np.testing.assert_array_equal(got, seeded(ask, return_numpy=True, **kwargs))
    some = seeded(ask, gene_list=["gene7", "gene0"], **kwargs)
    pd.testing.assert_frame_equal(some, got[["gene7", "gene0"]])


@pytest.mark.parametrize(
    ("kwargs", "problem"),
    [
        ({"n_samples_overall": 5, "n_samples": 2}, "`n_samples_overall` is 5 and `n_samples`"),
        ({"n_samples_overall": 0}, "`n_samples_overall` is 0"),
        ({"n_samples": 0}, "`n_samples` is 0"),
        ({"n_samples": -1}, "`n_samples` is -1"),
        ({"weights": "importanse"}, "`weights` is 'importanse'"),
        ({"library_size": "Latent"}, "`library_size` is 'Latent'"),
    ],
)
def test_what_means_nothing_is_refused(model_of, kwargs, problem):
    with pytest.raises(DataError, match=problem):
        model_of("nb").get_normalized_expression(**kwargs)


@pytest.mark.parametrize("correlation_type", ["spearman", "pearson"])
@pytest.mark.parametrize("kwargs", [{}, {"transform_batch": ["0", "2"]}, {"indices": range(30)}])
def test_correlations_of_poisson_are_those_of_its_rates(model_of, correlation_type, kwargs):
    """The limit of a negative binomial whose dispersion is none: the same weights, its code."""
    model = model_of("poisson")
    got = seeded(
        model.get_feature_correlation_matrix,
        n_samples=60,
        correlation_type=correlation_type,
        **kwargs,
    )
    limit = SCVI(model.adata, n_hidden=8, n_latent=2, gene_likelihood="nb")
    limit.module.load_state_dict(
        model.module.state_dict() | {"px_r": torch.full((20,), 19.0)}, strict=False
    )
    limit.module.eval()
    limit.is_trained = True
    want = seeded(
        limit.get_feature_correlation_matrix,
        n_samples=60,
        correlation_type=correlation_type,
        **kwargs,
    )
    pd.testing.assert_frame_equal(got, want, atol=0.06)
    one = model.get_feature_correlation_matrix(n_samples=1, correlation_type=correlation_type)
    np.testing.assert_allclose(np.diag(one), 1)
    assert np.abs(one.to_numpy()[~np.eye(20, dtype=bool)]).max() < 1


def test_a_normal_likelihood_has_no_denoised_counts(model_of):
    model = model_of("normal")
    with pytest.raises(ModelTypeError, match="has no counts") as error:
        model.get_feature_correlation_matrix()
    table = eval(error.value.remedy, {"model": model})
    assert table.shape == (20, 20)


@pytest.mark.parametrize("gene_likelihood", ["nb", "zinb", "poisson"])
def test_correlation_types(model_of, gene_likelihood):
    with pytest.raises(DataError, match="Unknown correlation type: `correlation_type` is 'kendal"):
        model_of(gene_likelihood).get_feature_correlation_matrix(correlation_type="kendall")

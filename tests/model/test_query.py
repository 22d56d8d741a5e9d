"""A query that training cannot move is announced, with what to set."""

import warnings

import numpy as np
import pytest

from lucidvi.model import SCVI

FROZEN = "cannot move the query's latent representation"


def reference(make_adata, **kwargs):
    adata = make_adata(80)
    SCVI.setup_anndata(adata, batch_key="batch")
    model = SCVI(adata, n_hidden=16, n_latent=4, **kwargs)
    model.train(max_epochs=3)
    return model


@pytest.mark.parametrize(
    ("reference_kwargs", "query_kwargs", "moves"),
    [
        ({}, {}, False),
        ({"use_layer_norm": "both", "use_batch_norm": "none"}, {}, False),
        ({"batch_representation": "embedding"}, {}, False),
        ({}, {"freeze_decoder_first_layer": False}, False),
        ({"encode_covariates": True}, {}, True),
        ({"encode_covariates": True, "n_layers": 2}, {}, True),
        ({}, {"unfrozen": True}, True),
        ({}, {"freeze_expression": False}, True),
        ({}, {"freeze_batchnorm_encoder": False}, True),
    ],
)
def test_the_warning_tells_whether_the_latent_moves(
    make_adata, reference_kwargs, query_kwargs, moves
):
    model = reference(make_adata, **reference_kwargs)
    query = make_adata(40, n_batches=5, seed=3)
    query.obs["batch"] = query.obs["batch"].cat.rename_categories(lambda name: f"new{name}")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        surgery = SCVI.load_query_data(query, model, **query_kwargs)
    said = [str(w.message) for w in caught if FROZEN in str(w.message)]
    assert len(said) == (not moves)
    if not moves:
        for remedy in ("encode_covariates=True", "unfrozen=True", "freeze_expression=False"):
            assert remedy in said[0]
    surgery.is_trained = True
    before = surgery.get_latent_representation()
    surgery.train(max_epochs=20, plan_kwargs={"weight_decay": 0.0, "lr": 0.05})
    after = surgery.get_latent_representation()
    assert np.allclose(before, after, atol=1e-6) != moves


def test_asking_leaves_no_trace(make_adata):
    model = reference(make_adata, encode_covariates=True)
    query = make_adata(40, n_batches=5, seed=3)
    surgery = SCVI.load_query_data(query, model)
    assert all(weight.grad is None for weight in surgery.module.parameters())
    assert not surgery.module.training

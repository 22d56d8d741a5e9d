"""A query that training cannot move is announced, with what to set."""

import warnings

import anndata
import numpy as np
import pytest
import scvi.model
import torch

from lucidvi.errors import GeneMismatchError
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


def test_genes_are_taken_by_name(make_adata):
    model = reference(make_adata)
    query = make_adata(40, seed=3)
    order = np.random.default_rng(0).permutation(query.n_vars)
    more = anndata.concat([query[:, order], new_genes(query)], axis=1, merge="same")
    with pytest.warns(UserWarning, match=FROZEN):
        want = SCVI.load_query_data(query, model)
    for other in (query[:, order].copy(), more):
        names = list(other.var_names)
        with pytest.warns(UserWarning, match=FROZEN):
            surgery = SCVI.load_query_data(other, model)
        assert list(surgery.adata.var_names) == list(query.var_names)
        assert list(other.var_names) == names
        surgery.is_trained = want.is_trained = True
        np.testing.assert_array_equal(
            surgery.get_latent_representation(), want.get_latent_representation()
        )
    with pytest.raises(GeneMismatchError, match="lacks 3 of the model's 20 genes"):
        SCVI.load_query_data(query[:, 3:].copy(), model)


def new_genes(query):
    extra = query[:, :2].copy()
    extra.var_names = ["new1", "new2"]
    return extra


def test_the_seed_stays(make_adata):
    model, query = reference(make_adata, encode_covariates=True), make_adata(40, seed=3)
    drawn = []
    for load in (scvi.model.SCVI.load_query_data.__func__, None):
        torch.manual_seed(3)
        if load is None:
            SCVI.load_query_data(query, model)
        else:
            load(scvi.model.SCVI, query, model.to_scvi_model())
        drawn.append(torch.rand(3))
    assert torch.equal(*drawn)


def test_what_surgery_froze_stays_frozen_in_a_conversion(make_adata):
    model = reference(make_adata, encode_covariates=True, n_layers=2)
    query = make_adata(40, n_batches=5, seed=3)
    surgery = SCVI.load_query_data(query, model, freeze_dropout=True)
    for converted in (surgery.to_scvi_model(), SCVI.from_scvi_model(surgery.to_scvi_model())):
        before = {k: v.clone() for k, v in converted.module.state_dict().items()}
        converted.train(max_epochs=3, plan_kwargs={"weight_decay": 0.0, "lr": 0.05})
        after = converted.module.state_dict()
        layer = "z_encoder.encoder.fc_layers.Layer 0"
        weight = f"{layer}.0.weight"
        torch.testing.assert_close(after[weight][:, :20], before[weight][:, :20])
        assert not torch.equal(after[weight][:, 20:], before[weight][:, 20:])
        assert torch.equal(after[f"{layer}.1.running_mean"], before[f"{layer}.1.running_mean"])
        assert dropout_rates(converted) == dropout_rates(surgery)
        assert 0 in dropout_rates(surgery)


def dropout_rates(model):
    return [m.p for m in model.module.modules() if isinstance(m, torch.nn.Dropout)]

"""What a model reads beside the counts stays as it was written, whoever writes there."""

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from lucidvi.model import SCVI


def cells(batches):
    """Cells of two types, every second with three times the counts of half of the genes."""
    counts = np.random.default_rng(0).poisson(3.0, (60, 10)).astype(np.float32)
    counts[:, 0] += 1
    counts[::2, :5] *= 3
    obs = pd.DataFrame(
        {
            "batch": np.resize(batches, 60),
            "donor": pd.Categorical(np.resize(["x", "y", "z"], 60)),
            "age": np.linspace(0, 1, 60),
        },
        index=[f"cell {i}" for i in range(60)],
    )
    return AnnData(counts, obs)


def trained(adata, **setup):
    SCVI.setup_anndata(adata, **setup)
    model = SCVI(adata, n_hidden=8, n_latent=2, encode_covariates=True)
    model.train(max_epochs=1)
    return model


CHANGES = {
    "categories in another order": lambda obs: obs.assign(
        batch=pd.Categorical(obs["batch"], [10, 2, 1])
    ),
    "an unused category first": lambda obs: obs.assign(
        batch=pd.Categorical(obs["batch"], [0, 1, 2, 10])
    ),
    "numbers as text": lambda obs: obs.assign(batch=obs["batch"].astype(str)),
    "columns of scvi-tools gone": lambda obs: obs[["batch", "donor", "age"]].copy(),
    "codes overwritten": lambda obs: obs.assign(_scvi_batch=0),
    "codes missing": lambda obs: obs.assign(_scvi_batch=np.nan),
    "cells renamed": lambda obs: obs.set_axis([f"other {i}" for i in range(60)]),
}


@pytest.mark.parametrize("set_up_between", [False, True])
@pytest.mark.parametrize("change", CHANGES)
def test_the_same_batches_have_the_same_codes(change, set_up_between):
    adata = cells([1, 2, 10])
    keys = {"categorical_covariate_keys": ["donor"], "continuous_covariate_keys": ["age"]}
    model = trained(adata, batch_key="batch", **keys)
    latent = model.get_latent_representation()

    adata.obs = CHANGES[change](adata.obs)
    if set_up_between:
        other = trained(adata, batch_key="donor")
        others = other.get_latent_representation()

    np.testing.assert_allclose(model.get_latent_representation(), latent, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(
        model.get_state_registry("batch").categorical_mapping, [1, 2, 10]
    )
    if set_up_between:
        np.testing.assert_allclose(other.get_latent_representation(), others, rtol=1e-5)
        np.testing.assert_allclose(model.get_latent_representation(), latent, rtol=1e-5, atol=1e-6)


def test_covariates_in_another_order_of_categories():
    adata = cells(["a", "b"])
    model = trained(adata, categorical_covariate_keys=["donor"])
    latent = model.get_latent_representation()

    adata.obs["donor"] = adata.obs["donor"].cat.reorder_categories(["z", "y", "x"])
    del adata.obsm["_scvi_extra_categorical_covs"]
    trained(adata, categorical_covariate_keys=["batch"])

    np.testing.assert_allclose(model.get_latent_representation(), latent, rtol=1e-5, atol=1e-6)

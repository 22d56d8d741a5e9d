"""One trained model, as scvi-tools' and as LucidVI's."""

import numpy as np
import pandas as pd
import pytest
import scvi.model
import torch

from lucidvi.model import SCVI, RefinedPosteriors


@pytest.fixture(scope="session")
def theirs(make_adata):
    """Return a trained model of scvi-tools that no test changes."""
    scvi.settings.seed = 0
    adata = make_adata(150, seed=5)
    scvi.model.SCVI.setup_anndata(adata, batch_key="batch", labels_key="label")
    model = scvi.model.SCVI(adata, n_hidden=32, n_latent=3)
    model.train(max_epochs=60, batch_size=50, train_size=0.8, plan_kwargs={"lr": 1e-2})
    return model


@pytest.fixture(scope="session")
def ours(theirs):
    """Return the same model as LucidVI's, on the same AnnData; no test changes it."""
    return SCVI.from_scvi_model(theirs)


@pytest.fixture
def both(theirs, ours):
    """Return a function that calls a method of both models, each from one and the same seed."""

    def call(method, *, models=None, **kwargs):
        results = []
        for model in models or (ours, theirs):
            np.random.seed(0)  # noqa: NPY002 (scvi-tools draws from the global generator)
            torch.manual_seed(0)
            results.append(getattr(model, method)(**kwargs))
        return results

    return call


@pytest.fixture
def loader(ours):
    """Return a function that makes a loader of minibatches of some cells, for both models."""

    def make(indices=None, batch_size=40, model=None, dense=True):
        model = ours if model is None else model
        return model._make_data_loader(
            model.adata, indices=indices, batch_size=batch_size, dense=dense
        )

    return make


def as_arrays(answer):
    """Return what a method answers as arrays by name."""
    if isinstance(answer, torch.distributions.Distribution):
        return {"log_prob": answer.log_prob(torch.linspace(-1, 1, 6).reshape(2, 3)).numpy()}
    if isinstance(answer, RefinedPosteriors):
        return {name: getattr(answer, name) for name in ("loc", "elbo", "names")}
    if isinstance(answer, pd.DataFrame):
        return {
            "values": answer.to_numpy(dtype=float),
            "rows": np.asarray(answer.index, dtype=str),
            "columns": np.asarray(answer.columns, dtype=str),
        }
    if isinstance(answer, dict):
        return {name: np.asarray(values) for name, values in answer.items()}
    return {"values": answer.todense() if hasattr(answer, "todense") else np.asarray(answer)}


def same(got, want):
    got, want = as_arrays(got), as_arrays(want)
    assert got.keys() == want.keys()
    for name, values in want.items():
        if values.dtype.kind in "OU":
            np.testing.assert_array_equal(got[name], values)
        else:
            np.testing.assert_allclose(got[name], values, rtol=1e-5, atol=1e-6, err_msg=name)


@pytest.fixture(scope="session")
def assert_same():
    """Return a function that compares the answers of two calls of a method."""
    return same

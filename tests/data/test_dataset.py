"""Rows come back in the order asked for, from memory and from disk."""

import numpy as np
import pytest
import torch
from anndata import AnnData, read_h5ad
from scipy import sparse
from scvi.dataloaders import AnnDataLoader

from lucidvi.model import SCVI

ORDERS = {
    "as they are": np.arange(30),
    "reversed": np.arange(30)[::-1],
    "shuffled": np.random.default_rng(0).permutation(30),
    "some": np.array([17, 3, 21]),
    "repeated": np.array([5, 5, 2, 28, 2]),
    "a list": [9, 1, 4],
    "boolean": np.arange(30) % 3 == 1,
}


@pytest.fixture(params=["csr", "csc", "dense"])
def pair(request, tmp_path):
    """The same cells in memory and on disk, the row number in the counts and in a covariate."""
    x = np.random.default_rng(0).poisson(1.0, (30, 5)).astype(np.float32)
    x[:, 0] = np.arange(30) + 1
    counts = {"csr": sparse.csr_matrix, "csc": sparse.csc_matrix, "dense": np.asarray}
    memory = AnnData(counts[request.param](x))
    memory.obs["row"] = np.arange(30.0)
    memory.write_h5ad(tmp_path / "cells.h5ad")
    return x, memory, read_h5ad(tmp_path / "cells.h5ad", backed="r")


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("batch_size", [4, 30])
def test_order(pair, order, batch_size):
    """scvi-tools returns backed rows sorted within each minibatch, silently."""
    x, *adatas = pair
    indices = ORDERS[order]
    rows = np.flatnonzero(indices) if order == "boolean" else np.asarray(indices)
    for adata in adatas:
        SCVI.setup_anndata(adata, continuous_covariate_keys=["row"])
        manager = SCVI(adata).adata_manager
        loader = AnnDataLoader(manager, indices=indices, batch_size=batch_size)
        minibatches = list(loader)
        np.testing.assert_array_equal(torch.cat([b["X"] for b in minibatches]), x[rows])
        covariate = torch.cat([b["extra_continuous_covs"] for b in minibatches])
        np.testing.assert_array_equal(covariate.ravel(), rows)


def test_latents_follow_the_order(pair):
    _, memory, backed = pair
    SCVI.setup_anndata(memory)
    model = SCVI(memory, n_hidden=8, n_latent=2)
    model.is_trained = True
    model.module.eval()
    order = ORDERS["shuffled"]
    want = model.get_latent_representation(memory)[order]
    np.testing.assert_allclose(model.get_latent_representation(indices=order), want, rtol=1e-6)
    got = model.get_latent_representation(backed, indices=order, batch_size=7)
    np.testing.assert_allclose(got, want, rtol=1e-6)


@pytest.mark.filterwarnings("ignore:Sparse:UserWarning")
def test_sparse_tensors(pair):
    x, memory, backed = pair
    if not sparse.issparse(memory.X) or memory.X.format != "csr":
        pytest.skip("scvi-tools makes sparse tensors of CSR counts only")
    SCVI.setup_anndata(backed)
    manager = SCVI(backed).adata_manager
    order = ORDERS["repeated"]
    loader = AnnDataLoader(manager, indices=order, batch_size=5, load_sparse_tensor=True)
    np.testing.assert_array_equal(next(iter(loader))["X"].to_dense(), x[order])

"""A new way to keep cells is one class and one row of a table: this one cuts them into shards."""

import numpy as np
import pytest
import scvi
import torch
from scipy import sparse

from lucidvi import kernels
from lucidvi.data import STORES, CellSource, CellStore, store_of
from lucidvi.model import SCVI

SHARD = 16


class ShardStore(CellStore):
    """Cells in shards of 16."""

    def __init__(self, source):
        self.n_cells = source.n_cells
        self.annotations = source.annotations
        starts = range(0, self.n_cells, SHARD)
        self.shards = [source.counts["X"][start : start + SHARD] for start in starts]

    @classmethod
    def fits(cls, source):
        return source.is_in_memory

    def take(self, rows):
        rows = np.asarray(rows)
        counts = sparse.vstack([self.shards[row // SHARD][row % SHARD] for row in rows])
        minibatch = self.annotations.take(torch.from_numpy(rows))
        return minibatch | {"X": kernels.as_csr(torch.from_numpy(counts.toarray()))}


@pytest.fixture
def cells_in_shards(monkeypatch):
    monkeypatch.setattr("lucidvi.data.stores.STORES", {"shards": ShardStore, **STORES})


def answers(adata):
    scvi.settings.seed = 0
    SCVI.setup_anndata(adata, batch_key="batch")
    model = SCVI(adata, n_hidden=8, n_latent=2)
    model.train(max_epochs=2, batch_size=20, enable_progress_bar=False)
    latent = model.get_latent_representation(indices=[7, 3, 30])
    torch.manual_seed(0)
    return latent, model.get_elbo()


def test_of_a_query_and_of_training(make_adata, request):
    adata = make_adata()
    plain = answers(adata.copy())
    request.getfixturevalue("cells_in_shards")
    for got, want in zip(answers(adata.copy()), plain, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5)


@pytest.mark.usefixtures("cells_in_shards")
def test_it_is_chosen(make_adata):
    adata = make_adata()
    SCVI.setup_anndata(adata)
    source = CellSource(SCVI(adata, n_hidden=4).adata_manager)
    assert isinstance(store_of(source), ShardStore)

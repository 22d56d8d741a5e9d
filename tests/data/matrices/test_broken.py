"""Counts in a file that can no longer be read: which file it is, and which rows."""

import os

import numpy as np
import pytest
from anndata import AnnData, read_h5ad
from lightning.pytorch.callbacks import Callback
from scipy import sparse

from lucidvi.data import CellSource, StoredCounts, store_of
from lucidvi.errors import DataError
from lucidvi.model import SCVI

N_CELLS, N_GENES = 400, 6000
KINDS = {"csr": sparse.csr_matrix, "dense": np.asarray}


@pytest.fixture(params=KINDS)
def file(request, tmp_path):
    """A file that is longer than what HDF5 keeps in memory of it."""
    rng = np.random.default_rng(0)
    x = rng.poisson(2.0, (N_CELLS, N_GENES)).astype(np.float32) + 1
    adata = AnnData(KINDS[request.param](x))
    adata.obs["batch"] = np.resize(["a", "b"], N_CELLS)
    adata.write_h5ad(path := tmp_path / "cells.h5ad")
    return path


def registered(file):
    adata = read_h5ad(file, backed="r")
    SCVI.setup_anndata(adata, batch_key="batch")
    return SCVI(adata, n_hidden=8, n_latent=2)


def cut_short(file):
    os.truncate(file, os.path.getsize(file) // 3)


def test_rows_of_a_file_that_was_cut_short(file):
    model = registered(file)
    store = store_of(CellSource(model.adata_manager, is_read_often=True))
    store.take([3])
    size = os.path.getsize(file)
    cut_short(file)
    rows = np.arange(N_CELLS - 8, N_CELLS)
    with pytest.raises(
        DataError, match=r"Counts of 8 cells \(rows 392, 393, 394, 395, 396, \.\.\.\)"
    ) as it:
        store.take(rows)
    assert str(file) in it.value.problem
    assert f"was cut short, to {size // 3:,} of {size:,} bytes" in it.value.problem
    assert f"anndata.read_h5ad({str(file)!r}, backed='r')" in it.value.remedy


def test_a_disk_that_fails(file, monkeypatch):
    model = registered(file)
    store = store_of(CellSource(model.adata_manager, is_read_often=True))

    def fail(*_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(StoredCounts, "_ascending", fail)
    with pytest.raises(DataError, match=r"cells.h5ad: .*Input/output error\.") as raised:
        store.take([1, 2])
    assert "(rows 1, 2)" in raised.value.problem


def test_counts_that_changed_are_told_apart(file, monkeypatch):
    """A file that is whole, with other counts, is not said to be broken."""
    model = registered(file)
    store = store_of(CellSource(model.adata_manager, is_read_often=True))
    read = StoredCounts._ascending
    monkeypatch.setattr(StoredCounts, "_ascending", lambda *args: read(*args) * 2)
    with pytest.raises(DataError, match=r"adata\.X has changed since it was set up"):
        store.take(np.arange(5))


def test_in_the_midst_of_a_training(file, tmp_path):
    """The model keeps what it has learned, and a checkpoint goes on once the file is back."""
    model, whole = registered(file), file.read_bytes()

    class Cut(Callback):
        def on_train_epoch_end(self, trainer, *_):
            if trainer.current_epoch == 1:
                cut_short(file)

    arguments = {"accelerator": "cpu", "enable_progress_bar": False, "max_epochs": 4}
    arguments |= {"batch_size": 32, "checkpoint_every": 1, "checkpoint_dir": tmp_path / "run"}
    with pytest.raises(DataError, match="was cut short"):
        model.train(**arguments, callbacks=[Cut()])
    assert model.is_trained
    assert len(model.history["elbo_train"]) == 2
    model.adata.file.close()  # of what is open HDF5 keeps parts in memory
    file.write_bytes(whole)
    again = registered(file)
    again.train(**arguments, resume_from=tmp_path / "run")
    assert len(again.history["elbo_train"]) == 4

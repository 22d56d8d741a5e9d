"""A model of cells that stay in a file: set up by path, trained block by block, asked by path."""

import subprocess
import sys

import numpy as np
import pytest
import scvi
from anndata import AnnData, read_h5ad
from scipy import sparse

from lucidvi.data import BlockShuffle, open_cells
from lucidvi.errors import ModelTypeError
from lucidvi.model import SCVI

pytest.importorskip("zarr")

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*zarr v:UserWarning"),
    pytest.mark.filterwarnings("ignore:Consolidated metadata is currently not part:UserWarning"),
]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cells")
    rng = np.random.default_rng(0)
    kinds = np.repeat([0, 1], 200)
    rates = rng.gamma(1.0, 2.0, (2, 30))[kinds]
    cells = AnnData(sparse.csr_matrix(rng.poisson(rates).astype(np.float32)))
    cells.obs["batch"] = np.where(np.arange(400) % 2, "a", "b")
    cells.obs["kind"] = kinds.astype(str)
    cells.write_h5ad(folder / "cells.h5ad")
    with np.errstate(all="ignore"):
        cells.write_zarr(folder / "cells.zarr")
    return {name: folder / f"cells.{name}" for name in ("h5ad", "zarr")}


def trained(cells, **options):
    scvi.settings.seed = 0
    returned = SCVI.setup_anndata(cells, batch_key="batch")
    model = SCVI(cells if returned is None else returned, n_hidden=16, n_latent=3)
    model.train(max_epochs=3, accelerator="cpu", early_stopping=True, datasplitter_kwargs=options)
    return model


@pytest.mark.parametrize("kind", ["h5ad", "zarr"])
def test_few_cells_are_trained_on_as_in_memory(files, kind):
    """To the bit: what fits into the buffer comes in the order of cells in memory."""
    of_file, in_memory = trained(files[kind]), trained(read_h5ad(files["h5ad"]))
    states = of_file.get_latent_representation()
    np.testing.assert_array_equal(states, in_memory.get_latent_representation())
    for name, values in in_memory.history.items():
        np.testing.assert_array_equal(of_file.history[name].to_numpy(), values.to_numpy())
    np.testing.assert_array_equal(of_file.validation_indices, in_memory.validation_indices)
    path = files[kind]
    np.testing.assert_array_equal(of_file.get_latent_representation(path), states)
    np.testing.assert_array_equal(in_memory.get_latent_representation(str(path)), states)
    assert of_file.get_elbo(path, indices=[3, 1]) is not None


@pytest.mark.parametrize("kind", ["h5ad", "zarr"])
def test_more_cells_are_trained_on_block_by_block(files, kind):
    of_file = trained(files[kind], buffer_size=64, block_size=16)
    loader = of_file.trainer.datamodule.train_dataloader().loader
    assert isinstance(loader.order, BlockShuffle)
    assert len(np.unique(np.concatenate(list(loader.order)))) == 360
    assert (np.diff(of_file.validation_indices) > 0).all()
    in_memory = trained(read_h5ad(files["h5ad"]))
    assert set(of_file.validation_indices) == set(in_memory.validation_indices)
    elbo = [m.history["elbo_validation"].to_numpy()[-1].item() for m in (of_file, in_memory)]
    assert abs(elbo[0] - elbo[1]) < 2


def test_start_of_a_training_looks_at_runs_from_all_over(files):
    model = trained(files["h5ad"], buffer_size=64)
    data = model.trainer.datamodule
    (some,) = data.some_training_cells(200)
    assert len(some["X"]) == 200
    assert len(data.spread_training_cells(128)["X"]) == 128
    everything = sum(len(part["X"]) for part in data.some_training_cells(10_000, chunk=100))
    assert everything == data.n_train


def test_models_are_saved_and_loaded_with_a_path(files, tmp_path):
    model = trained(files["zarr"])
    model.save(tmp_path / "model", save_anndata=True)
    states = model.get_latent_representation()
    for adata in (files["h5ad"], files["zarr"], None):
        again = SCVI.load(tmp_path / "model", adata=adata)
        np.testing.assert_array_equal(again.get_latent_representation(), states)
    again.adata = files["zarr"]
    np.testing.assert_array_equal(again.get_latent_representation(), states)


def test_a_path_is_no_cells_that_were_set_up(files):
    with pytest.raises(ModelTypeError, match="and not cells that were set up") as error:
        SCVI(str(files["h5ad"]))
    scope = {"SCVI": SCVI}
    exec(error.value.remedy.replace(", which opens the file and returns its cells", ""), scope)
    assert scope["model"].adata.n_obs == 400


def test_remedies_are_for_cells_in_a_file(files):
    """Their matrices are loaded first, since neither numpy nor scipy computes with them."""
    cells = open_cells(files["zarr"])
    cells.X = sparse.csr_matrix(cells.X[:] / 3)
    cells.write_h5ad(files["zarr"].parent / "thirds.h5ad")
    from lucidvi.errors import DataError

    adata = open_cells(files["zarr"].parent / "thirds.h5ad")
    with pytest.raises(DataError) as error:
        SCVI.setup_anndata(adata)
    assert "to_memory()" in error.value.remedy


MEMORY = """
import sys
import numpy as np
from lucidvi.data.matrices import _stored
from lucidvi.data.stores import _file
from lucidvi.model import SCVI

# What is read at once, less of it than there are cells.
_stored.CHUNK, _file.READ_AHEAD = 2**20, 2**20

def peak():
    return int(next(l for l in open("/proc/self/status") if l.startswith("VmHWM")).split()[1])

cells = SCVI.setup_anndata(sys.argv[1])
model = SCVI(cells, n_hidden=16)
options = {"buffer_size": 2048}
model.train(max_epochs=1, accelerator="cpu", enable_progress_bar=False,
            datasplitter_kwargs=options, plan_kwargs={"start_from_factors": False})
model.get_latent_representation()
print(peak())
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak of memory is read from /proc")
def test_memory_does_not_grow_with_the_counts(tmp_path):
    """Eight times the cells, 90 MB of counts more: a tenth of that at most."""
    peaks = []
    for n_cells in (10_000, 80_000):
        counts = sparse.random(n_cells, 400, 0.4, "csr", np.float32, random_state=0)
        counts.data[:] = 1
        AnnData(counts).write_h5ad(tmp_path / "cells.h5ad")
        command = [sys.executable, "-W", "ignore", "-c", MEMORY, str(tmp_path / "cells.h5ad")]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout.split()[-1]) / 1024)
    assert peaks[1] - peaks[0] < 50

"""Training without an AnnData: from a datamodule, and from its registry."""

import inspect
from types import MappingProxyType

import numpy as np
import pandas as pd
import pytest
import scvi
import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader, Dataset

from lucidvi.errors import FileError, TrainingError
from lucidvi.model import SCVI

SINCE_1_5 = "dataloader" in inspect.signature(SCVI.differential_expression).parameters
KEYS = MappingProxyType({"batch": "batch", "labels": "label"})


class Cells(Dataset):
    """Cells as the dictionaries that a model reads."""

    def __init__(self, adata):
        self.x = torch.tensor(adata.X.toarray())
        self.codes = {
            name: torch.tensor(adata.obs[key].cat.codes.to_numpy(), dtype=torch.long)
            for name, key in KEYS.items()
        }

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        return {"X": self.x[i], **{name: codes[i : i + 1] for name, codes in self.codes.items()}}


class DataModule(LightningDataModule):
    """The least that scvi-tools asks of a source of data."""

    def __init__(self, adata, batch_size=16):
        super().__init__()
        self.adata, self.cells, self.batch_size = adata, Cells(adata), batch_size
        self.n_obs, self.n_vars = adata.shape
        self.n_batch, self.n_labels = 3, 2

    def train_dataloader(self):
        return DataLoader(self.cells, batch_size=self.batch_size, shuffle=True)

    def val_dataloader(self):
        return self.inference_dataloader()

    def inference_dataloader(self):
        return DataLoader(self.cells, batch_size=self.batch_size)

    @property
    def registry(self):
        def field(key, state, summary, attribute="obs"):
            return {
                "data_registry": {"attr_name": attribute, "attr_key": key},
                "state_registry": state,
                "summary_stats": summary,
            }

        def categories(key, stat):
            names = np.array(self.adata.obs[key].cat.categories, dtype=object)
            state = {"categorical_mapping": names, "original_key": key}
            return field(f"_scvi_{key}", state, {stat: len(names)})

        names = self.adata.var_names.to_numpy()
        sizes = {"n_obs": self.n_obs, "n_vars": self.n_vars, "column_names": names}
        return {
            "scvi_version": scvi.__version__,
            "model_name": "SCVI",
            "setup_method_name": "setup_anndata",
            "setup_args": {"batch_key": "batch", "labels_key": "label", "size_factor_key": None},
            "field_registries": {
                "X": field(None, sizes, {"n_vars": self.n_vars, "n_cells": self.n_obs}, "X"),
                "batch": categories("batch", "n_batch"),
                "labels": categories("label", "n_labels"),
            },
        }


@pytest.fixture
def source(make_adata):
    return DataModule(make_adata(60))


@pytest.fixture
def trained(source):
    scvi.settings.seed = 0
    model = SCVI(registry=source.registry, n_hidden=8, n_latent=2)
    model.train(datamodule=source, max_epochs=2)
    return model


def test_the_module_is_made_when_training_starts(source):
    with pytest.warns(UserWarning, match="without `adata`"):
        model = SCVI(n_hidden=8, n_latent=2, gene_likelihood="nb")
    assert model.module is None
    model.train(datamodule=source, max_epochs=2)
    assert model.is_trained
    assert (model.module.n_input, model.module.n_batch, model.module.n_labels) == (20, 3, 2)
    assert (model.module.n_latent, model.module.gene_likelihood) == (2, "nb")
    latent = model.get_latent_representation(dataloader=source.inference_dataloader())
    assert latent.shape == (60, 2)
    assert np.ptp(latent, axis=0).min() > 0


def test_from_a_registry(trained, source):
    assert trained.adata is None
    assert trained.adata_manager is None
    assert list(trained.get_var_names()) == list(source.adata.var_names)
    assert trained.summary_stats.n_batch == 3
    assert len(trained.history["elbo_train"]) == 2
    assert (trained.module.n_input, trained.module.n_batch) == (20, 3)


def test_registry_is_shown(trained, capsys):
    trained.view_registry()
    shown = capsys.readouterr().out
    assert "n_batch" in shown
    assert "'labels_key': 'label'" in shown


def test_results_are_those_with_an_anndata(trained, source):
    SCVI.setup_anndata(source.adata, batch_key="batch", labels_key="label")
    other = SCVI(source.adata, n_hidden=8, n_latent=2)
    other.module.load_state_dict(trained.module.state_dict())
    other.module.eval()
    other.is_trained = True
    loader = source.inference_dataloader()
    np.testing.assert_allclose(
        trained.get_latent_representation(dataloader=loader),
        other.get_latent_representation(),
        rtol=1e-5,
        atol=1e-6,
    )
    for method in ("get_elbo", "get_reconstruction_error", "get_marginal_ll"):
        results = []
        for model in (trained, other):
            torch.manual_seed(0)
            loaded = getattr(model, method)(dataloader=loader, return_mean=False)
            loaded = loaded["reconstruction_loss"] if isinstance(loaded, dict) else loaded
            results.append(loaded.numpy())
        np.testing.assert_allclose(*results, rtol=1e-5)
        assert results[0].shape == (60,)


def test_training_goes_on(trained, source):
    trained.train(datamodule=source, max_epochs=1)
    assert len(trained.history["elbo_train"]) == 3


def test_length_of_the_training(source):
    model = SCVI(registry=source.registry, n_hidden=8)
    del source.n_obs
    with pytest.raises(ValueError, match="`max_epochs` must be"):
        model.train(datamodule=source)


def test_cells_of_an_anndata_afterwards(trained, source):
    latent = trained.get_latent_representation(dataloader=source.inference_dataloader())
    direct = trained.get_latent_representation(source.adata.copy())
    np.testing.assert_allclose(direct, latent, rtol=1e-5, atol=1e-6)


def test_a_bad_cell_is_named(source, capsys):
    source.cells.x[3, 4] = float("nan")
    model = SCVI(registry=source.registry, n_hidden=8)
    with pytest.raises(TrainingError, match="NaN or infinite"):
        model.train(datamodule=source, max_epochs=1)


@pytest.mark.skipif(not SINCE_1_5, reason="scvi-tools before 1.5")
@pytest.mark.filterwarnings("ignore:Using .* after custom Dataloader:UserWarning")
def test_differences_from_a_loader(trained, source):
    is_t = (source.adata.obs["label"] == "T").to_numpy()
    got = trained.differential_expression(
        groupby="label",
        group1="T",
        group2="B",
        dataloader=source.inference_dataloader(),
        silent=True,
    )
    means = pd.Series(source.adata.X.toarray()[is_t].mean(0), source.adata.var_names)
    np.testing.assert_allclose(got["raw_mean1"].sort_index(), means.sort_index(), rtol=1e-4)
    abundance = trained.differential_abundance(
        sample_key="label", dataloader=source.inference_dataloader()
    )
    assert set(abundance.columns) == {"T", "B"}
    difference = (abundance["T"] - abundance["B"]).to_numpy()
    assert difference[is_t].mean() > difference[~is_t].mean()


@pytest.mark.skipif(not hasattr(SCVI, "setup_annbatch"), reason="scvi-tools before 1.5")
@pytest.mark.filterwarnings("default")  # of annbatch and zarr
def test_annbatch(make_adata, tmp_path):
    annbatch = pytest.importorskip("annbatch")
    pytest.importorskip("zarrs")
    if "to_torch" not in inspect.signature(annbatch.Loader).parameters:
        pytest.skip("scvi-tools 1.5.1 needs annbatch before 0.3")
    make_adata(60).write_h5ad(tmp_path / "cells.h5ad")
    source = SCVI.setup_annbatch(
        collection_path=str(tmp_path / "cells.zarr"),
        paths=[str(tmp_path / "cells.h5ad")],
        batch_key="batch",
        labels_key="label",
        batch_size=16,
        chunk_size=8,
        preload_nchunks=2,
        preload_to_gpu=False,
    )
    model = SCVI(registry=source.registry, n_hidden=8, n_latent=2)
    model.train(datamodule=source, max_epochs=1)
    assert model.is_trained
    assert model.module.n_batch == 3
    model.save(str(tmp_path / "model"), datamodule=source)
    loaded = SCVI.load(str(tmp_path / "model"), adata=False)
    assert list(loaded.get_var_names()) == [f"gene{i}" for i in range(20)]
    loader = source.inference_dataloader()
    np.testing.assert_allclose(
        loaded.get_latent_representation(dataloader=loader),
        model.get_latent_representation(dataloader=loader),
        atol=1e-6,
    )


class OutOfCore(DataModule):
    """A source of data that sets a model up itself, as scvi-tools' own do."""

    n_samples = 1
    batch_labels = ("0", "1", "2")
    label_keys = ("B", "T")

    @property
    def registry(self):
        registry = super().registry
        registry["setup_method_name"] = "setup_datamodule"
        for kind in ("categorical", "continuous"):
            registry["field_registries"][f"extra_{kind}_covs"] = {
                "data_registry": {},
                "state_registry": {},
                "summary_stats": {f"n_extra_{kind}_covs": 0},
            }
        return registry


@pytest.fixture
def out_of_core(make_adata):
    source = OutOfCore(make_adata(60))
    scvi.settings.seed = 0
    model = SCVI(registry=source.registry, n_hidden=8, n_latent=2)
    model.train(datamodule=source, max_epochs=2)
    return model, source


def test_saving_a_model_that_a_datamodule_set_up(out_of_core, tmp_path):
    model, source = out_of_core
    latent = model.get_latent_representation(dataloader=source.inference_dataloader())
    with pytest.raises(FileError, match="set up with a datamodule") as error:
        model.save(str(tmp_path / "model"))
    assert "datamodule=datamodule" in error.value.remedy
    assert not (tmp_path / "model").exists()
    model.save(str(tmp_path / "model"), datamodule=source)
    saved = torch.load(tmp_path / "model" / "model.pt", weights_only=False)["attr_dict"]
    assert (saved["n_batch"], saved["n_labels"], saved["n_vars"]) == (3, 2, 20)
    assert list(saved["batch_labels"]) == ["0", "1", "2"]
    loaded = SCVI.load(str(tmp_path / "model"), adata=False)
    got = loaded.get_latent_representation(dataloader=source.inference_dataloader())
    np.testing.assert_array_equal(got, latent)


@pytest.mark.parametrize("kind", [list, tuple, np.asarray, pd.Index])
@pytest.mark.parametrize("saved_by", [SCVI, scvi.model.SCVI])
def test_names_of_genes_of_any_kind_are_saved_and_read(out_of_core, tmp_path, kind, saved_by):
    model, source = out_of_core
    if saved_by is not SCVI:
        model = model.to_scvi_model()
    names = [str(name) for name in source.adata.var_names]
    sizes = model.registry_["field_registries"]["X"]["state_registry"]
    sizes["column_names"] = kind(names)
    model.save(str(tmp_path / "model"), datamodule=source)
    loaded = SCVI.load(str(tmp_path / "model"), adata=False)
    assert list(loaded.get_var_names()) == names
    loader = source.inference_dataloader()
    np.testing.assert_allclose(
        loaded.get_latent_representation(dataloader=loader),
        model.get_latent_representation(dataloader=loader),
        atol=1e-5,
    )

"""Registered data, managers and registries, saved files: every argument at work."""

import pickle
from fractions import Fraction

import anndata
import numpy as np
import pandas as pd
import pytest
import scvi
import torch
from scipy import sparse

from lucidvi.errors import UntrustedFileError
from lucidvi.model import SCVI

SETUP = {
    "layer": "counts",
    "batch_key": "batch",
    "labels_key": "label",
    "size_factor_key": "size_factor",
    "categorical_covariate_keys": ["donor", "site"],
    "continuous_covariate_keys": ["age"],
}


@pytest.fixture
def model(make_adata):
    """An untrained model with every kind of registered data."""
    adata = make_adata(30)
    adata.layers["counts"] = adata.X * 2
    SCVI.setup_anndata(adata, **SETUP)
    return SCVI(adata, n_hidden=8, n_latent=2)


# -- what is registered -----------------------------------------------------------------------


def test_registered_data(model):
    adata = model.adata
    assert (model.data_registry("X") != adata.layers["counts"]).nnz == 0
    codes = model.data_registry("batch").ravel()
    np.testing.assert_array_equal(codes, adata.obs["batch"].cat.codes)
    labels = model.data_registry("labels").ravel()
    np.testing.assert_array_equal(labels, adata.obs["label"].cat.codes)
    np.testing.assert_array_equal(
        model.data_registry("size_factor").ravel(), adata.obs["size_factor"]
    )
    categories = model.data_registry("extra_categorical_covs")
    assert list(categories.columns) == ["donor", "site"]
    np.testing.assert_array_equal(categories["donor"], adata.obs["donor"].cat.codes)
    np.testing.assert_array_equal(
        model.data_registry("extra_continuous_covs")["age"], adata.obs["age"]
    )
    with pytest.raises(KeyError):
        model.data_registry("protein")


def test_registry(model):
    assert model.registry["setup_args"] == SETUP
    for argument, value in SETUP.items():
        assert model.get_setup_arg(argument) == value
    assert list(model.get_state_registry("batch").categorical_mapping) == ["0", "1", "2"]
    assert model.get_state_registry(registry_key="labels").original_key == "label"
    assert list(model.get_var_names()) == list(model.adata.var_names)
    assert list(model.get_var_names(legacy_mudata_format=True)) == list(model.adata.var_names)
    assert model.adata_manager.summary_stats == model.summary_stats
    assert (model.summary_stats.n_cells, model.summary_stats.n_vars) == (30, 20)
    assert model.get_normalized_function_name == "get_normalized_expression"
    model.get_normalized_function_name = "get_something_else"
    assert model.get_normalized_function_name_ == "get_something_else"


def test_registered_data_of_other_cells(model, make_adata):
    other = make_adata(12, seed=3)
    other.layers["counts"] = other.X.copy()
    assert model.get_anndata_manager(other) is None
    with pytest.raises(ValueError, match="Please set up your AnnData"):
        model.get_anndata_manager(other, required=True)
    with pytest.raises(AssertionError, match="not registered"):
        model.get_from_registry(other, "X")
    manager = model.transfer_fields(other)
    assert manager.adata is other
    assert manager.summary_stats.n_batch == 3
    model.get_normalized_expression(other)
    assert model.get_anndata_manager(adata=other, required=True).adata is other
    counts = model.get_from_registry(adata=other, registry_key="X")
    assert (counts != other.X).nnz == 0


def test_transfer_with_new_categories(model, make_adata):
    other = make_adata(30, n_batches=5)
    other.layers["counts"] = other.X.copy()
    with pytest.raises(ValueError, match="not found in source registry"):
        model.transfer_fields(adata=other)
    manager = model.transfer_fields(other, extend_categories=True)
    assert manager.summary_stats.n_batch == 5


def test_managers_are_forgotten(model, make_adata):
    others = [make_adata(12, seed=seed) for seed in (3, 4)]
    for other in others:
        other.layers["counts"] = other.X.copy()
        SCVI.setup_anndata(other, **SETUP)
        model.get_normalized_expression(other)
    model.deregister_manager(others[0])
    assert model.get_anndata_manager(others[0]) is None
    assert model.get_anndata_manager(others[1]) is not None
    model.deregister_manager(adata=None)
    assert model.get_anndata_manager(others[1]) is None
    assert model.get_anndata_manager(model.adata) is model.adata_manager


def test_a_manager_made_by_hand(make_adata):
    adata = make_adata(12)
    SCVI.setup_anndata(adata)
    manager = SCVI(adata).adata_manager
    SCVI._setup_adata_manager_store.clear()
    with pytest.raises(ValueError, match="set up your AnnData"):
        SCVI(adata)
    SCVI.register_manager(adata_manager=manager)
    assert SCVI(adata).adata_manager is manager


def test_other_data_for_the_same_model(model, make_adata):
    other = make_adata(12, seed=3)
    other.layers["counts"] = other.X.copy()
    model.adata = other
    assert model.adata is other
    assert model.summary_stats.n_cells == 12
    assert len(model.get_normalized_expression()) == 12


# -- what is shown ----------------------------------------------------------------------------


def test_views(model, capsys):
    model.view_setup_method_args()
    shown = capsys.readouterr().out
    assert "SCVI.setup_anndata" in shown
    assert "'size_factor_key': 'size_factor'" in shown
    for view in (model.view_anndata_setup, model.view_registry):
        view(hide_state_registries=False)
        everything = capsys.readouterr().out
        assert "n_extra_categorical_covs" in everything
        assert "batch State Registry" in everything
        view(hide_state_registries=True)
        assert "batch State Registry" not in capsys.readouterr().out


def test_view_of_other_cells(model, make_adata, capsys):
    other = make_adata(12, seed=3)
    with pytest.raises(ValueError, match="Cannot view setup summary"):
        model.view_anndata_setup(other)
    other.layers["counts"] = other.X.copy()
    model.get_normalized_expression(other)
    capsys.readouterr()
    model.view_anndata_setup(adata=other)
    shown = capsys.readouterr().out
    assert "n_cells" in shown
    assert "12" in shown


def test_setup_arguments_can_be_amended(model):
    model.update_setup_method_args(setup_method_args={"batch_key": "lane"})
    assert model.get_setup_arg("batch_key") == "lane"
    assert model.get_setup_arg(setup_arg="labels_key") == "label"


def test_run_and_summary(model):
    assert "Training status: Not Trained" in model.summary_string
    assert model.run_id == ""
    assert model.run_name.startswith("run_")
    model.run_name, model.run_id = "mine", "7"
    assert (model.run_name_, model.run_id_) == ("mine", "7")
    model.is_trained = True
    assert model.is_trained
    assert "Training status: Trained" in model.summary_string
    for split in ("train_indices", "validation_indices", "test_indices"):
        assert getattr(model, split) is None
        setattr(model, split, np.arange(3))
        np.testing.assert_array_equal(getattr(model, split + "_"), [0, 1, 2])


# -- files: more in test_files.py -------------------------------------------------------------


def test_saved_setup(model, tmp_path, capsys):
    folder = str(tmp_path / "model")
    model.save(folder, prefix="a_")
    registry = SCVI.load_registry(dir_path=folder, prefix="a_")
    assert registry["setup_args"] == SETUP
    assert registry["field_registries"].keys() == model.registry["field_registries"].keys()
    SCVI.view_setup_args(dir_path=folder, prefix="a_")
    assert "'layer': 'counts'" in capsys.readouterr().out


def test_setup_in_a_file_that_has_to_be_trusted(model, tmp_path, capsys):
    theirs = model.to_scvi_model()
    theirs.note_ = Fraction(1, 3)
    folder = str(tmp_path / "model")
    theirs.save(folder)
    for read in (SCVI.load_registry, SCVI.view_setup_args):
        with pytest.raises(UntrustedFileError, match="Fraction"):
            read(folder)
    assert SCVI.load_registry(folder, trust=True)["setup_args"] == SETUP
    SCVI.view_setup_args(folder, trust=True)
    assert "'layer': 'counts'" in capsys.readouterr().out


def test_save_arguments(model, tmp_path, monkeypatch):
    save = torch.save
    folder = tmp_path / "model"
    model.save(dir_path=str(folder), prefix="a_", save_anndata=True, compression="gzip")
    assert {file.name for file in folder.iterdir()} == {"a_model.pt", "a_adata.h5ad"}
    model.save(str(tmp_path / "plain"), save_anndata=True)
    small, plain = (
        (place.stat().st_size)
        for place in (folder / "a_adata.h5ad", tmp_path / "plain" / "adata.h5ad")
    )
    assert small != plain
    with pytest.raises(ValueError, match="already exists"):
        model.save(str(folder))
    with torch.no_grad():
        model.module.px_r.fill_(1.5)
    model.save(str(folder), prefix="a_", overwrite=True, legacy_mudata_format=True)
    written = []
    monkeypatch.setattr(torch, "save", lambda *args, **kw: written.append(kw) or save(*args, **kw))
    model.save(str(tmp_path / "again"), save_kwargs={"pickle_protocol": 2})
    assert written == [{"pickle_protocol": 2}]
    loaded = SCVI.load(
        dir_path=str(folder), prefix="a_", accelerator="cpu", device="auto", backup_url=None
    )
    assert loaded.adata.n_obs == 30
    assert (loaded.module.px_r == 1.5).all()
    renamed = scvi.model.SCANVI
    with pytest.raises(ValueError, match="different class"):
        renamed.load(str(folder), prefix="a_")


def test_old_files_are_converted(model, tmp_path):
    """Files as scvi-tools wrote them before 0.15: three of them."""
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    torch.save(model.module.state_dict(), old / "p_model_params.pt")
    pd.Series(model.adata.var_names).to_csv(old / "p_var_names.csv", header=False, index=False)
    attributes = {name: value for name, value in vars(model).items() if name.endswith("_")}
    (old / "p_attr.pkl").write_bytes(pickle.dumps(attributes))
    with pytest.raises(UntrustedFileError):
        SCVI.convert_legacy_save(str(old), str(new), prefix="p_")
    SCVI.convert_legacy_save(dir_path=str(old), output_dir_path=str(new), prefix="p_", trust=True)
    with pytest.raises(ValueError, match="already exists"):
        SCVI.convert_legacy_save(str(old), str(new), prefix="p_", trust=True)
    SCVI.convert_legacy_save(str(old), str(new), overwrite=True, prefix="p_", trust=True)
    loaded = SCVI.load(str(new), adata=model.adata.copy(), prefix="p_")
    for name, weight in model.module.state_dict().items():
        assert torch.equal(loaded.module.state_dict()[name], weight), name


# -- data on disk -----------------------------------------------------------------------------


def test_backed_data_in_any_order(make_adata, tmp_path):
    adata = make_adata(60)
    SCVI.setup_anndata(adata, batch_key="batch")
    model = SCVI(adata, n_hidden=8)
    model.train(max_epochs=1)
    adata.write_h5ad(tmp_path / "cells.h5ad")
    backed = anndata.read_h5ad(tmp_path / "cells.h5ad", backed="r")
    order = np.random.default_rng(0).permutation(60)[:40]
    order = np.concatenate([order, order[:3]])
    np.testing.assert_allclose(
        model.get_latent_representation(backed, indices=order),
        model.get_latent_representation(adata, indices=order),
        rtol=1e-5,
        atol=1e-6,
    )
    SCVI.setup_anndata(backed, batch_key="batch")
    on_disk = SCVI(backed, n_hidden=8)
    on_disk.train(max_epochs=3)
    assert on_disk.is_trained
    expression = on_disk.get_normalized_expression(indices=order)
    assert list(expression.index) == list(adata.obs_names[order])
    np.testing.assert_allclose(expression.sum(axis=1), 1, rtol=1e-5)


def test_setup_reads_every_argument(model, make_adata):
    """The counts are those of the layer, and each covariate moves the decoder's input."""
    x = next(iter(model._make_data_loader(model.adata, dense=True)))
    np.testing.assert_array_equal(x["X"], model.adata.layers["counts"].toarray())
    assert set(x) >= {"X", "batch", "labels", "size_factor", "extra_categorical_covs"}
    widths = {tuple(layer.n_cat_list) for layer in [model.module.decoder.px_decoder]}
    assert widths == {(3, 4, 2)}
    assert sparse.issparse(model.data_registry("X"))

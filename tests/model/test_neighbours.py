"""What others do with a model: SCANVI, SOLO, predictive checks, the hub, autotune."""

import json
from importlib.metadata import version

import numpy as np
import pytest
import scvi
import torch
from scipy import stats

from lucidvi.model import SCVI


@pytest.fixture
def partly_labelled(ours):
    """The trained model with labels for four cells in five, and the labels."""
    adata = ours.adata.copy()
    truth = adata.obs["label"].to_numpy().astype(str)
    adata.obs["seen"] = np.where(np.arange(150) % 5 == 0, "Unknown", truth)
    SCVI.setup_anndata(adata, batch_key="batch")
    model = SCVI(adata, n_hidden=32, n_latent=3)
    model.module.load_state_dict(ours.module.state_dict())
    model.module.eval()
    model.is_trained = True
    return model, truth


@pytest.mark.parametrize("line", ["model", "model.to_scvi_model()"])
def test_scanvi(partly_labelled, line):
    model, truth = partly_labelled
    source = eval(line)
    scanvi = scvi.model.SCANVI.from_scvi_model(
        source, labels_key="seen", unlabeled_category="Unknown"
    )
    ours, theirs = model.module.state_dict(), scanvi.module.state_dict()
    carried = [name for name in ours if name in theirs]
    assert {"px_r", "z_encoder.mean_encoder.weight"} <= set(carried)
    assert all(torch.equal(ours[name], theirs[name]) for name in carried)
    scvi.settings.seed = 0
    scanvi.train(max_epochs=40, plan_kwargs={"lr": 1e-2})
    hidden = np.arange(150) % 5 == 0
    assert (scanvi.predict()[hidden] == truth[hidden]).mean() > 0.8


@pytest.mark.filterwarnings("ignore:Prior to scvi-tools 1.1.3, `SOLO.predict`:UserWarning")
@pytest.mark.filterwarnings("ignore:`restrict_to_batch` not specified:UserWarning")
@pytest.mark.parametrize("line", ["model", "model.to_scvi_model()"])
def test_solo(make_adata, line):
    scvi.settings.seed = 0
    adata = make_adata(300)
    SCVI.setup_anndata(adata)
    model = SCVI(adata, n_hidden=16, n_latent=3)
    model.train(max_epochs=20)
    solo = scvi.external.SOLO.from_scvi_model(eval(line), doublet_ratio=2)
    inputs = solo.adata
    assert inputs.shape == (900, 4)
    latent = model.get_latent_representation()
    np.testing.assert_allclose(inputs.X[:300, :3], latent, rtol=1e-4, atol=1e-5)
    log_library = np.log(adata.X.sum(axis=1))
    np.testing.assert_allclose(inputs.X[:300, 3:], log_library, rtol=1e-4)
    assert inputs.X[300:, 3].mean() > inputs.X[:300, 3].mean() + 0.5
    solo.train(max_epochs=30)
    doublet = solo.predict(return_logits=True)["doublet"].to_numpy()
    assert doublet.shape == (300,)
    logits = solo.predict(include_simulated_doublets=True, return_logits=True)[
        "doublet"
    ].to_numpy()
    u = stats.mannwhitneyu(logits[300:], logits[:300], alternative="greater")
    assert u.pvalue < 1e-6


def test_posterior_predictive_check(ours, theirs):
    # scvi-tools 1.4 cannot look whether sparse floats are integers.
    adata = ours.adata.copy()
    adata.X = adata.X.astype(int)
    check = scvi.criticism.PosteriorPredictiveCheck(
        adata, {"ours": ours, "theirs": theirs}, n_samples=30
    )
    check.coefficient_of_variation("cells")
    check.zero_fraction()
    variation = check.metrics["cv_gene"]
    assert np.corrcoef(variation["ours"], variation["theirs"])[0, 1] > 0.95
    assert np.corrcoef(variation["ours"], variation["Raw"])[0, 1] > 0.7
    zeros = check.metrics["zero_fraction"]
    counts = ours.adata.X.toarray()
    np.testing.assert_allclose(zeros["Raw"], (counts != 0).mean(0))
    np.testing.assert_allclose(zeros["ours"], zeros["theirs"], atol=0.03)
    np.testing.assert_allclose(zeros["ours"], zeros["Raw"], atol=0.25)
    assert np.corrcoef(zeros["ours"], zeros["Raw"])[0, 1] > 0.9


@pytest.mark.parametrize("parent", ["lucidvi.model", "scvi.model"])
def test_hub(ours, tmp_path, parent):
    hub = pytest.importorskip("scvi.hub")
    folder = str(tmp_path / "model")
    ours.save(folder, save_anndata=True)
    metadata = hub.HubMetadata.from_dir(
        folder, anndata_version=version("anndata"), model_parent_module=parent
    )
    assert (metadata.model_cls_name, metadata.scvi_version) == ("SCVI", scvi.__version__)
    card = hub.HubModelCardHelper.from_dir(
        folder, license_info="cc-by-4.0", anndata_version=version("anndata")
    )
    hub.HubModel(folder, metadata=metadata, model_card=card).save()
    assert (
        json.loads((tmp_path / "model" / "_scvi_required_metadata.json").read_text())[
            "model_parent_module"
        ]
        == parent
    )
    found = hub.HubModel(folder)
    assert "cc-by-4.0" in found.model_card.content
    assert '"batch_key": "batch"' in found.model_card.content
    assert type(found.model).__module__.startswith(parent)
    np.testing.assert_allclose(
        found.model.get_latent_representation(), ours.get_latent_representation(), rtol=1e-5
    )
    assert found.adata.n_obs == 150


# -- autotune ---------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:Extra tracked metrics .* should be 0-d:UserWarning")
def test_what_autotune_asks_of_a_model(make_adata):
    """All that scvi.autotune does with a model class in each trial."""
    adata = make_adata()
    SCVI.setup_anndata(adata, batch_key="batch")
    manager = SCVI._get_most_recent_anndata_manager(adata, required=True)
    registry = manager.registry
    name, arguments = registry["setup_method_name"], registry["setup_args"]
    trial = adata.copy()
    getattr(SCVI, name)(trial, **arguments)
    model = SCVI(trial, n_hidden=8, n_latent=2, extra_payload_autotune=True)
    seen = []

    class Payload(scvi.train.TrainingPlan):
        def compute_and_log_metrics(self, loss_output, metrics, mode):
            seen.append(loss_output.extra_metrics)
            super().compute_and_log_metrics(loss_output, metrics, mode)

    model._training_plan_cls = Payload
    model.train(max_epochs=1, train_size=0.8, check_val_every_n_epoch=1)
    assert {"z", "batch", "labels"} <= set(seen[0])
    assert seen[0]["z"].shape[1] == 2
    assert "validation_loss" in model.history
    assert float(model.history["validation_loss"].iloc[-1].iloc[0]) > 0


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_autotune(make_adata, tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")

    ray = pytest.importorskip("ray", reason="scvi.autotune needs ray[tune]")
    pytest.importorskip("scib_metrics", reason="scvi.autotune needs scib-metrics")
    autotune = pytest.importorskip("scvi.autotune")
    adata = make_adata()
    SCVI.setup_anndata(adata, batch_key="batch")
    found = autotune.run_autotune(
        SCVI,
        adata,
        metrics="validation_loss",
        mode="min",
        search_space={
            "model_params": {"n_hidden": ray.tune.choice([4, 8])},
            "train_params": {"max_epochs": 1},
        },
        num_samples=2,
        searcher="random",
        scheduler="fifo",
        seed=0,
        resources={"cpu": 1},
        logging_dir=str(tmp_path),
        ignore_reinit_error=True,
    )
    table = found.result_grid.get_dataframe()
    assert len(table) == 2
    assert table["validation_loss"].notna().all()
    best = found.result_grid.get_best_result("validation_loss", "min")
    assert best.metrics["validation_loss"] == table["validation_loss"].min()
    ray.shutdown()

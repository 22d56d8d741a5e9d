"""A model of two modalities, written with the contracts alone, does what every model does."""

import numpy as np
import pytest
import torch
from tests.toy import Toy, with_proteins

from lucidvi import audit, simulate
from lucidvi.errors import ArgumentError, DataError, MissingKeyError, ModelTypeError
from lucidvi.model import MODELS, SCVI, capable, class_of_saved, has_capability


@pytest.fixture(scope="module")
def adata(make_adata):
    return with_proteins(make_adata(90))


@pytest.fixture(scope="module")
def model(adata):
    """Return a trained model that no test changes."""
    torch.manual_seed(0)
    Toy.setup_anndata(adata, batch_key="batch")
    model = Toy(adata)
    model.train(max_epochs=80, batch_size=30, plan_kwargs={"lr": 2e-2})
    return model


def test_it_learns_from_both(model, adata):
    history = model.history["elbo_train"].iloc[:, 0]
    assert history.iloc[-1] < history.iloc[0] - 10
    states = model.get_latent_representation()
    assert states.shape == (90, 2)
    is_t = (adata.obs["label"] == "T").to_numpy()
    apart = np.linalg.norm(states[is_t].mean(axis=0) - states[~is_t].mean(axis=0))
    assert apart > states[is_t].std(axis=0).max()
    assert "LucidVI Toy model" in repr(model)


def test_questions(model):
    assert float(model.get_elbo()) < 0
    cells = [f"cell{i}" for i in (5, 2)]
    assert model.get_latent_representation(indices=cells).shape == (2, 2)
    log_px = model.get_marginal_ll(n_mc_samples=200, return_mean=False)
    assert (log_px.numpy() > model.get_elbo(return_mean=False).numpy() - 3).all()
    density = model.get_aggregated_posterior().log_prob(torch.zeros(1, 2))
    assert torch.isfinite(density).all()
    with pytest.raises(ArgumentError, match="did you mean 'max_steps'"):
        model.refine_posterior(max_step=3)


def test_decoded(model, adata):
    """Normalized means, by name; those of the other modality follow the group of a cell."""
    genes = model.get_normalized_expression(n_samples=5)
    assert list(genes.columns) == list(adata.var_names)
    assert list(genes.index) == list(adata.obs_names)
    np.testing.assert_allclose(genes.sum(axis=1), 1, rtol=1e-5)
    proteins = model.get_normalized_expression(modality="protein", n_samples=20)
    assert proteins.shape == (90, 6)
    is_t = (adata.obs["label"] == "T").to_numpy()
    assert proteins[~is_t, 4].mean() > 1.5 * proteins[is_t, 4].mean()
    as_one = model.get_normalized_expression(transform_batch="1", n_samples=20)
    assert np.abs(as_one - genes).to_numpy().max() > 1e-3
    with pytest.raises(DataError, match="atac"):
        model.get_normalized_expression(modality="atac")


def test_refined_posteriors_and_the_gap(model):
    refined = model.refine_posterior()
    assert (refined.elbo >= refined.elbo_before).all()
    gap = model.get_inference_gap(indices=range(30))
    assert list(gap.index) == [f"cell{i}" for i in range(30)]
    assert (gap["amortization_gap"] > -0.05).all()
    assert (gap["approximation_gap"] > -4 * gap["standard_error"] - 0.05).all()
    states = model.get_latent_representation(posterior="refined")
    np.testing.assert_allclose(states, refined.loc, atol=1e-3)


def test_saved_and_loaded(model, adata, tmp_path, monkeypatch):
    folder = str(tmp_path / "toy")
    model.save(folder)
    loaded = Toy.load(folder, adata=adata.copy())
    np.testing.assert_allclose(
        loaded.get_latent_representation(), model.get_latent_representation(), rtol=1e-6
    )
    np.testing.assert_allclose(
        loaded.refine_posterior().elbo, model.refine_posterior().elbo, rtol=1e-5
    )
    with pytest.raises(ModelTypeError, match="holds a Toy, which cannot be mapped"):
        class_of_saved(folder, "mapped")
    monkeypatch.setitem(MODELS, "Toy", Toy)
    assert class_of_saved(folder, "mapped") is Toy
    with pytest.raises(ValueError, match="a different class"):
        SCVI.load(folder, adata=adata.copy())


def test_genes_by_name(model, adata):
    order = np.random.default_rng(0).permutation(adata.n_vars)
    np.testing.assert_allclose(
        model.get_latent_representation(adata[:, order].copy()),
        model.get_latent_representation(),
        rtol=1e-5,
    )


def test_capabilities_of_a_class_in_no_table(model, adata):
    assert capable(model, "counts", "several modalities") is model
    cells = adata.copy()
    Toy.setup_anndata(cells)
    untrained = Toy(cells)
    assert not has_capability(model, "labels")
    with pytest.raises(ModelTypeError, match="a Toy, has no 'labels': it was set up without"):
        capable(model, "labels")
    with pytest.raises(ModelTypeError, match="has no 'time'"):
        capable(model, "time")
    with pytest.raises(DataError, match="must be one of"):
        capable(model, "label")
    with pytest.raises(DataError, match="has not been trained"):
        capable(untrained, "counts")
    with pytest.raises(ModelTypeError, match=r"`model` is a builtins\.dict") as error:
        capable({})
    assert "scvi.model.SCANVI" in error.value.remedy


def test_capabilities_of_others(ours):
    assert capable(ours, "counts", "labels") is ours
    with pytest.raises(ModelTypeError, match="has one modality, 'rna'"):
        capable(ours, "several modalities")


def test_what_is_missing_is_named(model, adata):
    without = adata.copy()
    del without.obsm["protein"]
    with pytest.raises((KeyError, MissingKeyError), match="protein"):
        model.get_latent_representation(without)


def test_axes_that_cannot_be_turned(model):
    with pytest.raises(ModelTypeError, match=r"cannot be turned: .* a ToyModule"):
        model.canonicalize()


def test_audited(model):
    report = audit.run(model, max_cells=60)
    assert report.verdict in ("ok", "warn", "fail")
    assert report.about["model"].endswith("Toy")


def test_experiments_in_silico_of_the_main_modality(model, adata):
    """Genes are drawn; states are those of genes and proteins together."""
    new = simulate.sample_cells(model, 40, batch="1")
    assert new.shape == (40, adata.n_vars)
    assert new.obsm["X_lucidvi"].shape == (40, 2)
    assert (new.obs["batch"] == "1").all()
    thin = simulate.resequence(model, depth_factor=0.5, posterior="encoder")
    assert thin.X.sum() == pytest.approx(adata.X.sum() / 2, rel=0.1)
    other = simulate.switch_covariates(model, batch="0", posterior="encoder")
    assert other.X.sum() == pytest.approx(adata.X.sum(), rel=0.1)
    out = simulate.perturb(model, genes={"gene3": 0.0}, n_samples=2)
    assert out.var["lucidvi_effect_rank"].max() == adata.n_vars - 1
    design = simulate.Design(n_cells=[5], n_donors=[3])
    plan = simulate.design_expression(model, design, donor_sd=0.1, share=0.2, n_repeats=2)
    assert plan.table["n_cells"].tolist() == [5]

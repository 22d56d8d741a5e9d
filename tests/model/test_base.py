"""A model of two modalities, written with the contracts alone, does what every model does."""

import numpy as np
import pytest
import torch
from scvi import REGISTRY_KEYS
from scvi.data.fields import LayerField, ObsmField
from torch import nn
from torch.distributions import Normal

from lucidvi import audit
from lucidvi.data import CheckedAnnDataManager, MatchedObsField
from lucidvi.distributions import NegativeBinomial
from lucidvi.errors import ArgumentError, DataError, MissingKeyError, ModelTypeError
from lucidvi.model import MODELS, SCVI, LucidModel, capable, class_of_saved, has_capability
from lucidvi.module import GenerativeModule, Modality
from lucidvi.nn import StateDistribution

SIZES = {"rna": 20, "protein": 6}


class ToyModule(GenerativeModule):
    """Genes and proteins, each through a linear decoder; encoders are experts of their own."""

    def __init__(self, n_latent=2, n_genes=20, n_proteins=6):
        super().__init__()
        self.n_latent = n_latent
        self.sizes = {"rna": n_genes, "protein": n_proteins}
        self.encoders_of_z = nn.ModuleDict(
            {key: nn.Linear(n, 2 * n_latent) for key, n in self.sizes.items()}
        )
        self.decoders = nn.ModuleDict(
            {key: nn.Linear(n_latent + 1, n) for key, n in self.sizes.items()}
        )
        self.log_theta = nn.ParameterDict({key: torch.zeros(n) for key, n in self.sizes.items()})

    @property
    def modalities(self):
        return {
            "rna": Modality("rna", self.sizes["rna"], NegativeBinomial, field=REGISTRY_KEYS.X_KEY),
            "protein": Modality("protein", self.sizes["protein"], NegativeBinomial),
        }

    def encode(self, observed, s):
        precision, product = 1.0, 0.0
        for key, layer in self.encoders_of_z.items():
            loc, log_scale = layer(observed[key].x.to_dense().log1p() / 4).chunk(2, dim=-1)
            weight = (-2 * log_scale).exp()
            precision, product = precision + weight, product + weight * loc
        return StateDistribution(Normal(product / precision, precision**-0.5))

    def prior_of(self, z, s):
        return StateDistribution(Normal(torch.zeros_like(z), torch.ones_like(z)))

    def decode(self, z, s, log_exposures):
        batch = s["batch"].float().expand(*z.shape[:-1], 1)
        return {
            key: NegativeBinomial(
                layer(torch.cat([z, batch], dim=-1)), log_exposures[key], self.log_theta[key]
            )
            for key, layer in self.decoders.items()
        }


class Toy(LucidModel):
    """Genes in X, proteins in obsm."""

    _module_cls = ToyModule

    def __init__(self, adata=None, registry=None, n_latent=2, **kwargs):
        super().__init__(adata, registry)
        self._make_module({"n_latent": n_latent}, kwargs)
        self.init_params_ = self._get_init_params(locals())

    @classmethod
    def setup_anndata(cls, adata, protein_key="protein", batch_key=None, **kwargs):
        setup_method_args = cls._get_setup_method_args(**locals())
        manager = CheckedAnnDataManager(
            fields=[
                LayerField(REGISTRY_KEYS.X_KEY, None, is_count_data=True),
                ObsmField("protein", protein_key, is_count_data=True),
                MatchedObsField(REGISTRY_KEYS.BATCH_KEY, batch_key),
                MatchedObsField(REGISTRY_KEYS.LABELS_KEY, None),
            ],
            setup_method_args=setup_method_args,
        )
        manager.register_fields(adata, **kwargs)
        cls.register_manager(manager)

    def _module_dimensions(self):
        return {
            "n_genes": self.summary_stats.n_vars,
            "n_proteins": self.summary_stats.n_protein,
        }


def with_proteins(adata, seed=0):
    """Add counts of proteins that follow the group of a cell."""
    rng = np.random.default_rng(seed)
    group = (adata.obs["label"] == "T").to_numpy().astype(int)
    rates = np.array([[1, 2, 8, 1, 20, 3], [6, 2, 1, 9, 4, 3]])
    adata.obsm["protein"] = rng.poisson(rates[group]).astype(np.float32)
    adata.obsm["protein"][:, 1] += 1
    return adata


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


def test_audited(model):
    report = audit.run(model, max_cells=60)
    assert report.verdict in ("ok", "warn", "fail")
    assert report.about["model"].endswith("Toy")

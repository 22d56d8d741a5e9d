"""A model of two modalities that is no SCVI: a query may have both, or the genes alone."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse
from scvi import REGISTRY_KEYS
from scvi.data.fields import LayerField
from tests.toy import Toy

from lucidvi.atlas import Reference
from lucidvi.atlas.mapping._modality_weights import modality_weights
from lucidvi.data import CheckedAnnDataManager, MatchedObsField
from lucidvi.distributions import NegativeBinomial
from lucidvi.errors import DataError, GeneMismatchError
from lucidvi.inference import PosteriorTarget, refine
from lucidvi.kernels import as_csr
from lucidvi.model import MODELS

PROTEINS = ["CD3", "CD4", "CD8", "CD19", "CD56", "CD45"]
RATES = pd.DataFrame(
    [[1, 2, 1, 30, 1, 20], [1, 1, 3, 1, 25, 20], [30, 12, 9, 1, 2, 20]],
    index=["B", "NK", "T"],
    columns=PROTEINS,
)


def with_proteins(adata, seed=0, table=False):
    """Add counts of proteins that follow the type of a cell."""
    rates = RATES.loc[adata.obs["cell_type"].astype(str)].to_numpy()
    counts = np.random.default_rng(seed).poisson(rates).astype(np.float32)
    frame = pd.DataFrame(counts, index=adata.obs_names, columns=PROTEINS)
    adata.obsm["protein"] = frame if table else counts
    return adata


def trained(adata, cls=Toy):
    torch.manual_seed(0)
    cls.setup_anndata(adata, batch_key="batch")
    model = cls(adata, n_latent=3)
    model.train(max_epochs=60, batch_size=64, train_size=0.9, plan_kwargs={"lr": 2e-2})
    return model


@pytest.fixture(scope="module")
def model(simulate):
    """Return a trained model that no test changes."""
    return trained(with_proteins(simulate()))


@pytest.fixture(scope="module")
def reference(model):
    """Return a reference that no test changes."""
    return Reference.from_model(model)


@pytest.fixture
def query(simulate):
    return with_proteins(simulate(120, seed=7), seed=1)


def accuracy(mapped):
    labels = mapped.obs["lucidvi_label"].astype(str)
    return float((labels == mapped.obs["cell_type"].astype(str)).mean())


def target_of(module, query, features=None, **added):
    """Return the target of the cells of known batches, made by hand."""
    minibatch = {
        REGISTRY_KEYS.X_KEY: as_csr(torch.from_numpy(query.X.toarray())),
        "protein": torch.from_numpy(np.array(query.obsm["protein"], dtype=np.float32)),
        REGISTRY_KEYS.BATCH_KEY: torch.tensor([[int(b[-1])] for b in query.obs["batch"]]),
    }
    return PosteriorTarget.from_module(module, minibatch | added, features)


def test_both(reference, query):
    mapped = reference.map(query)
    assert accuracy(mapped) > 0.95
    assert (mapped.obs["lucidvi_call"] == "unknown").mean() < 0.15
    assert list(mapped.uns["lucidvi"]["modalities"]) == ["rna", "protein"]
    by_hand = refine(target_of(reference.model.module, query)).posterior
    np.testing.assert_allclose(mapped.obsm["X_lucidvi"], by_hand.loc, atol=2e-3)
    np.testing.assert_allclose(mapped.obsm["X_lucidvi_scale"], by_hand.scale, rtol=0.05)


def test_the_cells_of_the_reference_get_their_labels(model, reference):
    assert accuracy(reference.map(model.adata)) > 0.95


def test_saved_and_loaded(reference, query, tmp_path, monkeypatch):
    monkeypatch.setitem(MODELS, "Toy", Toy)
    reference.save(tmp_path / "atlas")
    loaded = Reference.load(tmp_path / "atlas")
    for cells in (query, query[:, :40].copy()):
        before, after = reference.map(cells), loaded.map(cells)
        np.testing.assert_array_equal(before.obsm["X_lucidvi"], after.obsm["X_lucidvi"])
        assert before.obs.equals(after.obs)
    facts = json.loads((tmp_path / "atlas" / "reference.json").read_text())
    assert facts["modalities"] == {
        "rna": {"n_features": 60, "likelihood": "nb"},
        "protein": {"n_features": 6, "likelihood": "nb"},
    }
    card = (tmp_path / "atlas" / "README.md").read_text()
    assert "60 genes, 3 latent dimensions" in card
    assert "| protein | 6 | `nb` |" in card


def test_genes_alone(reference, query):
    """Proteins are left out of the likelihood; they are not zeros, whatever is in their place."""
    alone = query.copy()
    del alone.obsm["protein"]
    mapped = reference.map(alone)
    assert list(mapped.uns["lucidvi"]["modalities"]) == ["rna"]
    assert accuracy(mapped) > 0.9
    absent = torch.zeros(120, dtype=torch.bool)
    target = target_of(reference.model.module, query, protein_present=absent)
    by_hand = refine(target).posterior
    np.testing.assert_allclose(mapped.obsm["X_lucidvi"], by_hand.loc, atol=2e-3)
    # What is refined is the posterior given the genes: prior and likelihood of these, written out.
    state = torch.from_numpy(mapped.obsm["X_lucidvi"])
    module = reference.model.module
    inputs = torch.cat([state, target.covariates[REGISTRY_KEYS.BATCH_KEY].float()], dim=1)
    counts = torch.from_numpy(query.X.toarray())
    px = NegativeBinomial(
        module.decoders["rna"](inputs),
        counts.sum(dim=1, keepdim=True).log(),
        log_theta=module.log_theta["rna"],
    )
    prior = torch.distributions.Normal(0.0, 1.0).log_prob(state).sum(dim=1)
    expected = (px.log_prob(counts).sum(dim=1) + prior).detach()
    with torch.no_grad():
        joint = target.log_joint(state[None])[0]
    torch.testing.assert_close(joint, expected, rtol=1e-5, atol=1e-3)
    wrong = query.copy()
    wrong.obsm["protein"] = np.eye(6, dtype=np.float32)[np.zeros(120, int)]
    of_one_count = reference.map(wrong).obsm["X_lucidvi"]
    assert np.abs(of_one_count - mapped.obsm["X_lucidvi"]).max() > 0.1
    assert (
        mapped.obsm["X_lucidvi_scale"] > reference.map(query).obsm["X_lucidvi_scale"]
    ).mean() > 0.8


def test_weights_of_modalities(model):
    """Proteins that are the same in every state of a cell say nothing about it."""
    weights = modality_weights(model)
    assert list(weights) == ["rna", "protein"]
    assert sum(weights.values()) == pytest.approx(1)
    assert min(weights.values()) > 0.05
    layer = model.module.decoders["protein"]
    kept = layer.weight.detach().clone()
    with torch.no_grad():
        layer.weight.zero_()
        constant = modality_weights(model)
        layer.weight.copy_(kept)
    assert constant == pytest.approx({"rna": 1, "protein": 0}, abs=1e-6)


def test_missing_genes(reference, query):
    genes = np.random.default_rng(0).random(60) < 0.3
    mapped = reference.map(query[:, genes].copy())
    assert accuracy(mapped) > 0.95
    by_hand = refine(target_of(reference.model.module, query, {"rna": genes})).posterior
    np.testing.assert_allclose(mapped.obsm["X_lucidvi"], by_hand.loc, atol=2e-3)
    alone = query[:, genes].copy()
    del alone.obsm["protein"]
    assert accuracy(reference.map(alone)) <= accuracy(mapped)


@pytest.mark.parametrize("has_proteins", [True, False])
def test_a_new_batch(reference, simulate, has_proteins):
    stranger = with_proteins(simulate(120, seed=9, n_batches=1, first_batch=3))
    if not has_proteins:
        del stranger.obsm["protein"]
    state = {k: v.clone() for k, v in reference.model.module.state_dict().items()}
    mapped = reference.map(stranger)
    assert accuracy(mapped) > 0.9
    assert list(mapped.uns["lucidvi"]["new_batches"]) == ["lane3"]
    after = reference.model.module.state_dict()
    assert all(torch.equal(after[key], weight) for key, weight in state.items())


def test_annotate(reference, query):
    mapped = reference.map(query)
    written = reference.annotate(query)
    assert written["obsm"] == ["X_lucidvi", "X_lucidvi_scale"]
    np.testing.assert_array_equal(query.obsm["X_lucidvi"], mapped.obsm["X_lucidvi"])
    assert query.obs["lucidvi_label"].equals(mapped.obs["lucidvi_label"])
    assert query.obsm["protein"].shape == (120, 6)


@pytest.fixture(scope="module")
def by_name(simulate):
    """Return a reference whose proteins have names."""
    return Reference.from_model(trained(with_proteins(simulate(), table=True)))


def test_proteins_by_name(by_name, simulate, tmp_path, monkeypatch):
    """Columns in any order; antibodies that are missing are left out, others are not looked at."""
    query = with_proteins(simulate(120, seed=7), seed=1, table=True)
    mapped = by_name.map(query)
    monkeypatch.setitem(MODELS, "Toy", Toy)
    by_name.save(tmp_path / "atlas")
    loaded = Reference.load(tmp_path / "atlas").map(query)
    np.testing.assert_array_equal(loaded.obsm["X_lucidvi"], mapped.obsm["X_lucidvi"])
    shuffled = query.copy()
    shuffled.obsm["protein"] = query.obsm["protein"][PROTEINS[::-1]].assign(CD99=7.0)
    np.testing.assert_array_equal(
        by_name.map(shuffled).obsm["X_lucidvi"], mapped.obsm["X_lucidvi"]
    )
    some = query.copy()
    some.obsm["protein"] = query.obsm["protein"][["CD56", "CD3"]]
    measured = by_name.map(some)
    features = {"protein": np.isin(PROTEINS, ["CD3", "CD56"])}
    by_hand = refine(target_of(by_name.model.module, query, features)).posterior
    np.testing.assert_allclose(measured.obsm["X_lucidvi"], by_hand.loc, atol=2e-3)
    some.obsm["protein"] = query.obsm["protein"][["CD3", "CD4", "CD3"]]
    with pytest.raises(DataError, match="1 features of 'protein' more than once: 'CD3'"):
        by_name.map(some)
    some.obsm["protein"] = query.obsm["protein"].add_prefix("anti-")
    with pytest.raises(GeneMismatchError, match=r'query.obsm\["protein"\] has none .*anti-CD3'):
        by_name.map(some)


class Layered(Toy):
    """The second modality has the same genes, in a layer."""

    @classmethod
    def setup_anndata(cls, adata, batch_key=None, **kwargs):
        setup_method_args = cls._get_setup_method_args(**locals())
        manager = CheckedAnnDataManager(
            fields=[
                LayerField(REGISTRY_KEYS.X_KEY, None, is_count_data=True),
                LayerField("protein", "unspliced", is_count_data=True),
                MatchedObsField(REGISTRY_KEYS.BATCH_KEY, batch_key),
                MatchedObsField(REGISTRY_KEYS.LABELS_KEY, None),
            ],
            setup_method_args=setup_method_args,
        )
        manager.register_fields(adata, **kwargs)
        cls.register_manager(manager)

    def _module_dimensions(self):
        return {"n_genes": self.summary_stats.n_vars, "n_proteins": self.summary_stats.n_vars}


def test_a_modality_in_a_layer(simulate):
    """Its features are the genes, so that those which are missing are missing in both."""

    def layered(adata):
        thinned = np.random.default_rng(0).binomial(adata.X.toarray().astype(int), 0.5)
        adata.layers["unspliced"] = sparse.csr_matrix(thinned.astype(np.float32))
        return adata

    reference = Reference.from_model(trained(layered(simulate()), Layered))
    query = layered(simulate(120, seed=7))
    genes = np.random.default_rng(1).random(60) < 0.5
    mapped = reference.map(query[:, genes].copy())
    assert accuracy(mapped) > 0.9
    assert list(mapped.uns["lucidvi"]["modalities"]) == ["rna", "protein"]
    query.obsm["protein"] = query.layers["unspliced"].toarray()
    features = {"rna": genes, "protein": genes}
    by_hand = refine(target_of(reference.model.module, query, features)).posterior
    np.testing.assert_allclose(mapped.obsm["X_lucidvi"], by_hand.loc, atol=2e-3)
    del query.layers["unspliced"]
    assert list(reference.map(query).uns["lucidvi"]["modalities"]) == ["rna"]


def test_what_cannot_be_read_is_named(reference, query):
    query.obsm["protein"] = query.obsm["protein"][:, :4]
    with pytest.raises(GeneMismatchError, match="has 4 columns, the model has 6 features"):
        reference.map(query)
    for value in (np.nan, -1.0, 0.5):
        with_proteins(query)
        query.obsm["protein"][3, 2] = value
        with pytest.raises(DataError, match=r"no counts in 1 of 120 cells: 's7_cell3'"):
            reference.map(query)

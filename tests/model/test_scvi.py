"""SCVI: training, saving and loading, genes in any order, counts in any format."""

import pickle

import numpy as np
import pytest
import scvi.model
import torch
from anndata import AnnData, read_h5ad
from lightning.pytorch import LightningDataModule
from scipy import sparse

from lucidvi.data import pbmc68k
from lucidvi.errors import DataError, GeneMismatchError, MissingKeyError
from lucidvi.model import SCVI


def train(model_cls, adata, seed=0, max_epochs=3, setup=None, **kwargs):
    scvi.settings.seed = seed
    model_cls.setup_anndata(adata, **(setup or {}))
    model = model_cls(adata, **kwargs)
    as_scvi_tools_does = {"preset": "scvi"} if model_cls is SCVI else {}
    model.train(max_epochs=max_epochs, **as_scvi_tools_does)
    return model


@pytest.fixture
def model(adata):
    return train(SCVI, adata, setup={"batch_key": "batch"}, n_hidden=16, n_latent=4)


# -- training ---------------------------------------------------------------------------------


@pytest.mark.parametrize("likelihood", ["nb", "zinb", "poisson", "normal"])
def test_one_seed_trains_as_scvi_tools_does(make_adata, likelihood):
    """The same initial weights, minibatches, dropout and draws: the same loss, step by step."""
    theirs, ours = (
        train(model_cls, make_adata(200), gene_likelihood=likelihood).history
        for model_cls in (scvi.model.SCVI, SCVI)
    )
    # The weight of the KL term is logged at each epoch; scvi-tools logs it at each tenth step.
    assert set(theirs) == set(ours) - {"kl_weight"}
    for key in theirs:
        got, want = ours[key].astype(float), theirs[key].astype(float)
        np.testing.assert_allclose(got, want, rtol=1e-3, err_msg=key)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_held_out_elbo_is_that_of_scvi_tools(seed):
    elbos = {}
    for model_cls in (scvi.model.SCVI, SCVI):
        trained = train(model_cls, pbmc68k(), seed=seed, max_epochs=40)
        torch.manual_seed(0)
        held_out = [trained.get_elbo(indices=trained.validation_indices) for _ in range(10)]
        elbos[model_cls] = float(np.mean(held_out))
    theirs, ours = elbos.values()
    assert abs(ours - theirs) < 0.005 * abs(theirs)


def test_training_finds_the_groups(make_adata):
    adata = make_adata(400)
    latent = train(SCVI, adata, max_epochs=60, n_hidden=32, n_latent=3).get_latent_representation()
    is_t = (adata.obs["label"] == "T").to_numpy()
    gap = latent[is_t].mean(0) - latent[~is_t].mean(0)
    side = (latent - latent.mean(0)) @ gap > 0
    assert max(np.mean(side == is_t), np.mean(side != is_t)) > 0.9


# -- saving and loading -----------------------------------------------------------------------


@pytest.mark.parametrize("writer", [SCVI, scvi.model.SCVI])
@pytest.mark.parametrize("reader", [SCVI, scvi.model.SCVI])
@pytest.mark.parametrize("with_anndata", [True, False])
def test_saved_models_are_read_by_both(adata, tmp_path, writer, reader, with_anndata):
    model = train(writer, adata, setup={"batch_key": "batch"}, n_hidden=16, n_latent=4)
    latent = model.get_latent_representation()
    model.save(str(tmp_path / "model"), save_anndata=with_anndata)
    loaded = reader.load(str(tmp_path / "model"), adata=None if with_anndata else adata.copy())
    assert type(loaded) is reader
    np.testing.assert_array_equal(loaded.get_latent_representation(), latent)
    np.testing.assert_array_equal(loaded.validation_indices, model.validation_indices)


@pytest.mark.parametrize("library", [True, False])
def test_load_without_anndata(adata, tmp_path, library):
    model = train(SCVI, adata, n_hidden=16, n_latent=4, use_observed_lib_size=library)
    latent = model.get_latent_representation()
    model.save(str(tmp_path / "model"))
    loaded = SCVI.load(str(tmp_path / "model"), adata=False)
    assert loaded.adata is None
    np.testing.assert_array_equal(loaded.get_latent_representation(adata.copy()), latent)


def shuffled(adata, seed=0):
    order = np.random.default_rng(seed).permutation(adata.n_vars)
    return adata[:, order].copy()


def test_load_onto_reordered_genes(model, adata, tmp_path):
    latent = model.get_latent_representation()
    model.save(str(tmp_path / "model"))
    query = shuffled(adata)
    loaded = SCVI.load(str(tmp_path / "model"), adata=query)
    assert list(loaded.adata.var_names) == list(adata.var_names)
    np.testing.assert_array_equal(loaded.get_latent_representation(), latent)
    np.testing.assert_array_equal(loaded.get_latent_representation(query), latent)


def test_load_onto_too_few_genes(model, adata, tmp_path):
    model.save(str(tmp_path / "model"))
    with pytest.raises(
        GeneMismatchError, match="lacks 2 of the model's 20 genes: 'gene0', 'gene1'"
    ):
        SCVI.load(str(tmp_path / "model"), adata=adata[:, 2:].copy())


def test_files_of_a_model_of_another_name(adata, tmp_path):
    """scvi-tools renames models; the old names are accepted on request."""
    SCVI.setup_anndata(adata)
    model = SCVI(adata, n_hidden=8, n_latent=2)
    model.registry_["model_name"] = "ElderSCVI"
    model.save(str(tmp_path / "model"))
    with pytest.raises(ValueError, match="loading a model from a different class"):
        SCVI.load(str(tmp_path / "model"), adata=False)
    loaded = SCVI.load(
        str(tmp_path / "model"), adata=False, allowed_classes_names_list=["ElderSCVI"]
    )
    assert torch.equal(loaded.module.px_r, model.module.px_r)


# -- genes in any order, counts in any format -------------------------------------------------


def test_query_with_reordered_and_additional_genes(model, adata):
    latent = model.get_latent_representation()
    extra = AnnData(adata.X[:, :3], obs=adata.obs.copy())
    extra.var_names = ["new1", "new2", "new3"]
    query = AnnData(sparse.hstack([extra.X, adata.X]).tocsr(), obs=adata.obs[["batch"]].copy())
    query.var_names = [*extra.var_names, *adata.var_names]
    query = shuffled(query)
    before = list(query.var_names)
    np.testing.assert_array_equal(model.get_latent_representation(query), latent)
    assert list(query.var_names) == before
    expression = model.get_normalized_expression(query)
    assert list(expression.columns) == list(adata.var_names)
    np.testing.assert_allclose(expression.sum(axis=1), 1.0, rtol=1e-5)


def test_reordered_copies_do_not_pile_up(model, adata):
    for seed in range(5):
        model.get_latent_representation(shuffled(adata, seed))
    assert len(model._per_instance_manager_store[model.id]) == 2


def test_query_without_the_genes(model, adata):
    query = adata.copy()
    query.var_names = [name.upper() for name in query.var_names]
    with pytest.raises(GeneMismatchError, match="differ in upper and lower case only"):
        model.get_latent_representation(query)


def test_data_that_are_assigned_are_brought_in_order(model, adata):
    latent = model.get_latent_representation()
    model.adata = shuffled(adata)
    assert list(model.adata.var_names) == list(adata.var_names)
    np.testing.assert_array_equal(model.get_latent_representation(), latent)


def test_differential_abundance_is_written_to_the_data_that_were_given(model, adata):
    model.differential_abundance(adata, sample_key="batch")
    query = shuffled(adata)
    model.differential_abundance(query, sample_key="batch")
    got, want = query.obsm["da_log_probs"], adata.obsm["da_log_probs"]
    np.testing.assert_allclose(got, want, rtol=1e-5)
    assert list(got.columns) == list(want.columns)


def test_a_model_can_be_pickled(model):
    """To worker processes, say; files are another matter."""
    again = pickle.loads(pickle.dumps(model.module))
    assert torch.equal(again.px_r, model.module.px_r)


def test_a_latent_library_needs_data(adata, tmp_path):
    """scvi-tools: AttributeError. A prior that is made up would be worse."""
    model = train(SCVI, adata, use_observed_lib_size=False)
    made = SCVI(registry=model.registry_, use_observed_lib_size=False)
    with pytest.raises(DataError, match="prior of the library"):
        made.train(datamodule=LightningDataModule(), max_epochs=1)


def test_models_that_scvi_tools_trained_on_other_values_load(adata, tmp_path):
    adata.X = adata.X * 1.5
    with pytest.warns(UserWarning, match="does not contain unnormalized count data"):
        scvi.model.SCVI.setup_anndata(adata)
    theirs = scvi.model.SCVI(adata, gene_likelihood="normal", n_hidden=8)
    theirs.train(max_epochs=1)
    theirs.save(str(tmp_path / "model"))
    with pytest.warns(UserWarning, match="trained on values that are not counts"):
        ours = SCVI.load(str(tmp_path / "model"), adata=adata.copy())
    np.testing.assert_allclose(  # the sums over the genes are added up in another order
        ours.get_latent_representation(), theirs.get_latent_representation(), rtol=1e-5, atol=1e-6
    )
    ours.save(str(tmp_path / "again"))
    again = SCVI.load(str(tmp_path / "again"), adata=adata.copy())
    np.testing.assert_array_equal(
        again.get_latent_representation(), ours.get_latent_representation()
    )


def test_models_of_counts_insist_on_counts(model, adata, tmp_path):
    model.save(str(tmp_path / "model"))
    adata.X = adata.X * 1.5
    with pytest.raises(DataError, match="not integers"):
        SCVI.load(str(tmp_path / "model"), adata=adata.copy())


@pytest.mark.parametrize("likelihood", ["nb", "zinb", "poisson"])
def test_importance_weights_with_a_size_factor(adata, likelihood):
    model = train(
        SCVI, adata, setup={"size_factor_key": "size_factor"}, gene_likelihood=likelihood
    )
    expression = model.get_normalized_expression(
        indices=np.arange(40),
        n_samples_overall=100,
        weights="importance",
        batch_size=16,
        return_numpy=True,
    )
    assert expression.shape == (100, adata.n_vars)
    assert np.isfinite(expression).all()


FORMATS = {
    "csr_array": sparse.csr_array,
    "csc_matrix": sparse.csc_matrix,
    "csc_array": sparse.csc_array,
    "dense": lambda x: x.toarray(),
    "dense, by column": lambda x: np.asfortranarray(x.toarray()),
    "integers": lambda x: x.astype(np.int32),
    "float64": lambda x: x.astype(np.float64),
}


@pytest.fixture(scope="module")
def latent_of_csr(make_adata):
    """Return the latent representation by a model that is trained on a csr_matrix."""
    return train(SCVI, make_adata(), n_hidden=16).get_latent_representation()


@pytest.mark.parametrize("counts", FORMATS)
@pytest.mark.parametrize("layer", [None, "counts"])
def test_every_format_of_counts_trains_the_same_model(make_adata, latent_of_csr, counts, layer):
    adata = make_adata()
    converted = FORMATS[counts](adata.X)
    if layer is None:
        adata.X = converted
    else:
        adata.layers[layer] = converted
        adata.X = adata.X * 0.5
    got = train(SCVI, adata, setup={"layer": layer}, n_hidden=16).get_latent_representation()
    np.testing.assert_allclose(got, latent_of_csr, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("counts", ["csr_matrix", "csc_matrix", "dense"])
def test_backed(make_adata, latent_of_csr, tmp_path, counts):
    adata = make_adata()
    adata.X = {"dense": lambda x: x.toarray()}.get(counts, getattr(sparse, counts, None))(adata.X)
    adata.write_h5ad(tmp_path / "cells.h5ad")
    backed = read_h5ad(tmp_path / "cells.h5ad", backed="r")
    got = train(SCVI, backed, n_hidden=16).get_latent_representation()
    assert np.isfinite(got).all()
    assert got.shape == latent_of_csr.shape


# -- setup ------------------------------------------------------------------------------------


def snapshot(adata):
    return (
        list(adata.obs.columns),
        list(adata.obsm),
        dict(adata.uns),
        adata.X.copy() if isinstance(adata.X, np.ndarray) else adata.X.toarray(),
    )


@pytest.mark.parametrize(
    ("spoil", "error", "says"),
    [
        (lambda a: a.X.data.__setitem__(5, -1), DataError, "negative"),
        (lambda a: a.X.data.__setitem__(5, np.nan), DataError, "NaN"),
        (lambda a: a.X.data.__imul__(0.3), DataError, "not integers"),
        (lambda a: a.obs.__setitem__("batch", [None] + ["x"] * (a.n_obs - 1)), DataError, "batch"),
        (lambda a: a.obs.__delitem__("batch"), MissingKeyError, "batch"),
        (lambda a: a.obs.__setitem__("age", np.inf), DataError, "age"),
    ],
)
def test_a_failed_setup_names_the_fault_and_changes_nothing(adata, spoil, error, says):
    spoil(adata)
    before = snapshot(adata)
    with pytest.raises(error, match=says) as raised:
        SCVI.setup_anndata(adata, batch_key="batch", continuous_covariate_keys=["age"])
    assert raised.value.remedy
    for got, want in zip(snapshot(adata), before, strict=True):
        assert (
            np.array_equal(got, want, equal_nan=True)
            if isinstance(got, np.ndarray)
            else got == want
        )


def test_values_that_are_not_counts_by_choice(adata):
    adata.X = adata.X * 0.5
    SCVI.setup_anndata(adata, is_count_data=False)
    model = SCVI(adata, gene_likelihood="normal")
    assert model.registry["setup_args"]["is_count_data"] is False
    model.train(max_epochs=1)
    assert np.isfinite(float(model.get_elbo()))


def test_setup_arguments_are_those_of_scvi_tools(adata):
    registries = []
    for model_cls in (scvi.model.SCVI, SCVI):
        model_cls.setup_anndata(adata, batch_key="batch", continuous_covariate_keys=["age"])
        registries.append(model_cls(adata).registry)
    theirs, ours = registries
    assert ours["setup_args"] == theirs["setup_args"]
    assert ours["model_name"] == theirs["model_name"] == "SCVI"
    assert list(ours["field_registries"]) == list(theirs["field_registries"])


# -- the module is made as asked --------------------------------------------------------------


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("dispersion", "gene-donor"),
        ("gene_likelihood", "negative_binomial"),
        ("latent_distribution", "lognormal"),
        ("batch_representation", "onehot"),
        ("use_batch_norm", True),
        ("use_layer_norm", "all"),
    ],
)
def test_an_option_that_does_not_exist_is_named(adata, argument, value):
    SCVI.setup_anndata(adata)
    with pytest.raises(ValueError, match=f"`{argument}` is {value!r}; it must be one of '"):
        SCVI(adata, **{argument: value})


def test_parameters_that_the_likelihood_does_not_use_are_not_computed(adata):
    SCVI.setup_anndata(adata)
    assert SCVI(adata, gene_likelihood="nb").module.decoder.heads == ()
    assert SCVI(adata, gene_likelihood="zinb").module.decoder.heads == ("zi_logits",)
    cellwise = SCVI(adata, gene_likelihood="poisson", dispersion="gene-cell")
    assert cellwise.module.decoder.heads == ()


@pytest.mark.parametrize("likelihood", ["nb", "zinb", "poisson", "normal"])
@pytest.mark.parametrize("dispersion", ["gene", "gene-batch", "gene-label", "gene-cell"])
def test_every_parameter_in_use_gets_a_gradient(adata, likelihood, dispersion):
    SCVI.setup_anndata(adata, batch_key="batch", labels_key="label")
    model = SCVI(
        adata, gene_likelihood=likelihood, dispersion=dispersion, use_observed_lib_size=False
    )
    tensors = next(iter(model._make_data_loader(adata, batch_size=60)))
    model.module.train()
    model.module(tensors)[2].loss.backward()
    unused = set()
    if likelihood != "zinb":
        unused |= {"decoder.px_dropout_decoder"}
    if dispersion != "gene-cell" or likelihood == "poisson":
        unused |= {"decoder.px_r_decoder"}
    if likelihood == "poisson":
        unused |= {"px_r"}
    for name, weight in model.module.named_parameters():
        has_gradient = weight.grad is not None and bool(weight.grad.abs().sum() > 0)
        assert has_gradient != any(name.startswith(prefix) for prefix in unused), name


def test_summary_names_the_parameters(model):
    assert "n_latent: 4" in model.summary_string
    assert "Training status: Trained" in model.summary_string

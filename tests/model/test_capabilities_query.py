"""Query data: genes are matched, the reference stays as it is but for what may change."""

import numpy as np
import pandas as pd
import pytest
import scvi.model
import torch
from anndata import AnnData
from scipy import sparse

from lucidvi.model import SCVI

pytestmark = pytest.mark.filterwarnings(
    "ignore:Training this model on the query cannot move:UserWarning"
)


@pytest.fixture(scope="module")
def reference(make_adata):
    """A trained model whose encoder sees the batch."""
    scvi.settings.seed = 0
    adata = make_adata(80)
    SCVI.setup_anndata(adata, batch_key="batch", labels_key="label")
    model = SCVI(
        adata, n_hidden=8, n_latent=2, n_layers=2, encode_covariates=True, dropout_rate=0.2
    )
    model.train(max_epochs=2)
    return model


@pytest.fixture
def query(make_adata):
    """Cells of two known batches and three new ones."""
    return make_adata(50, n_batches=5, seed=1)


def state(model):
    return {name: weight.clone() for name, weight in model.module.state_dict().items()}


def changed(model, before):
    after = state(model)
    return {
        name
        for name in before
        if after[name].shape != before[name].shape or not torch.equal(after[name], before[name])
    }


# -- preparing --------------------------------------------------------------------------------


@pytest.mark.parametrize("inplace", [True, False])
@pytest.mark.parametrize("source", ["model", "folder"])
def test_missing_genes_are_zeros_and_others_dropped(reference, query, tmp_path, inplace, source):
    names = list(reference.adata.var_names)
    kept = [*names[:3:-1], "unknown"]
    counts = sparse.hstack([query[:, names[:3:-1]].X, np.ones((50, 1))]).tocsr()
    partial = AnnData(counts, obs=query.obs.copy())
    partial.var_names = kept
    partial.layers["raw"] = counts.copy()
    where = reference
    if source == "folder":
        reference.save(str(tmp_path / "model"))
        where = str(tmp_path / "model")
    prepared = SCVI.prepare_query_anndata(partial, where, inplace=inplace)
    assert (prepared is None) == inplace
    assert list(partial.var_names) == (names if inplace else kept)
    prepared = partial if inplace else prepared
    assert list(prepared.var_names) == names
    expected = query.X.toarray()
    expected[:, :4] = 0
    for matrix in (prepared.X, prepared.layers["raw"]):
        matrix = matrix.toarray() if sparse.issparse(matrix) else matrix
        np.testing.assert_array_equal(matrix, expected)
    pd.testing.assert_frame_equal(prepared.obs[["batch"]], query.obs[["batch"]])


def test_names_of_the_reference(reference, query):
    names = SCVI.prepare_query_anndata(query, reference, return_reference_var_names=True)
    pd.testing.assert_index_equal(names, reference.adata.var_names)
    query.var_names = [f"other{i}" for i in range(20)]
    with pytest.raises(ValueError, match="No reference var names found"):
        SCVI.prepare_query_anndata(query, reference)


def test_few_of_the_genes(reference, query):
    few = query[:, :10].copy()
    with pytest.warns(UserWarning, match="less than 80% of reference"):
        SCVI.prepare_query_anndata(few, reference)


def test_modalities_are_not_for_this_model(reference, query):
    """Inherited, and of no use to a model of one modality: what scvi-tools does."""
    for model_cls, model in ((SCVI, reference), (scvi.model.SCVI, reference.to_scvi_model())):
        with pytest.raises(AttributeError, match="keys"):
            model_cls.prepare_query_mudata(
                mdata=query, reference_model=model, return_reference_var_names=True, inplace=False
            )


# -- loading ----------------------------------------------------------------------------------


def test_known_cells_keep_their_place(reference, query):
    before = state(reference)
    model = SCVI.load_query_data(query, reference)
    assert type(model) is SCVI
    assert not model.is_trained
    assert model.summary_stats.n_batch == 5
    assert list(model.get_state_registry("batch").categorical_mapping) == list("01234")
    known = np.flatnonzero(query.obs["batch"].isin(["0", "1", "2"]))
    model.is_trained = True
    cells = query[known].copy()
    np.testing.assert_allclose(
        model.get_latent_representation(indices=known),
        reference.get_latent_representation(cells),
        rtol=1e-4,
        atol=1e-5,
    )
    assert not changed(reference, before)


@pytest.mark.parametrize("source", ["model", "folder"])
def test_surgery_is_that_of_scvi_tools(reference, query, tmp_path, source):
    theirs_reference = reference.to_scvi_model()
    where = [reference, theirs_reference]
    if source == "folder":
        for i, model in enumerate(where):
            model.save(str(tmp_path / str(i)))
        where = [str(tmp_path / "0"), str(tmp_path / "1")]
    models = []
    for model_cls, one in zip((SCVI, scvi.model.SCVI), where, strict=True):
        torch.manual_seed(0)
        models.append(
            model_cls.load_query_data(query.copy(), one, accelerator="cpu", device="auto")
        )
    ours, theirs = (state(model) for model in models)
    assert list(ours) == list(theirs)
    for name in ours:
        assert torch.equal(ours[name], theirs[name]), name
    frozen = [
        {name for name, w in model.module.named_parameters() if not w.requires_grad}
        for model in models
    ]
    assert frozen[0] == frozen[1]


FREEZE = {
    "default": {},
    "everything": {"unfrozen": True},
    "expression": {"freeze_expression": False},
    "decoder": {"freeze_decoder_first_layer": False, "freeze_expression": False},
    "norm of the encoder": {"freeze_batchnorm_encoder": False},
    "norm of the decoder": {"freeze_batchnorm_decoder": True},
    "no classifier": {"freeze_classifier": False},
}


@pytest.mark.parametrize("choice", FREEZE)
def test_only_what_may_change_changes(reference, query, choice):
    arguments = FREEZE[choice]
    before_reference = state(reference)
    model = SCVI.load_query_data(query, reference, **arguments)
    before = state(model)
    model.train(max_epochs=2, plan_kwargs={"weight_decay": 0.0})
    moved = changed(model, before)
    assert not changed(reference, before_reference)
    first_encoder = "z_encoder.encoder.fc_layers.Layer 0.0.weight"
    first_decoder = "decoder.px_decoder.fc_layers.Layer 0.0.weight"
    assert {first_encoder, first_decoder} <= moved
    genes = slice(0, 20)
    expression_moved = not torch.equal(
        state(model)[first_encoder][:, genes], before[first_encoder][:, genes]
    )
    latent_moved = not torch.equal(
        state(model)[first_decoder][:, :2], before[first_decoder][:, :2]
    )
    everything = arguments.get("unfrozen", False)
    assert expression_moved == (everything or not arguments.get("freeze_expression", True))
    assert latent_moved == (everything or not arguments.get("freeze_decoder_first_layer", True))
    assert ("px_r" in moved) == everything
    assert ("z_encoder.mean_encoder.weight" in moved) == everything
    norm = "z_encoder.encoder.fc_layers.Layer 1.1.weight"
    assert (norm in moved) == (everything or not arguments.get("freeze_batchnorm_encoder", True))
    norm = "decoder.px_decoder.fc_layers.Layer 1.1.weight"
    assert (norm in moved) == (not arguments.get("freeze_batchnorm_decoder", False))


def test_dropout(reference, query):
    for freeze, rate in ((True, 0.0), (False, 0.2)):
        model = SCVI.load_query_data(query, reference, freeze_dropout=freeze)
        rates = {m.p for m in model.module.z_encoder.modules() if isinstance(m, torch.nn.Dropout)}
        assert rates == {rate}


def test_batches_of_the_reference_only(reference, query, make_adata):
    with pytest.raises(ValueError, match="batch categories"):
        SCVI.load_query_data(query, reference, transfer_batch=False)
    known = make_adata(20, seed=4)
    model = SCVI.load_query_data(known, reference, transfer_batch=False)
    assert model.summary_stats.n_batch == 3


def test_additional_genes_are_dropped(reference, query):
    extra = AnnData(sparse.hstack([query.X, np.ones((50, 2))]).tocsr(), obs=query.obs.copy())
    extra.var_names = [*query.var_names, "more1", "more2"]
    model = SCVI.load_query_data(extra, reference, inplace_subset_query_vars=True)
    assert list(extra.var_names) == list(reference.adata.var_names)
    assert model.adata is extra
    np.testing.assert_array_equal(model.adata.X.toarray(), query.X.toarray())


def test_a_reference_is_needed(query, reference):
    with pytest.raises(ValueError, match="reference model"):
        SCVI.load_query_data(query)
    with pytest.raises(ValueError, match="AnnData or a registry"):
        SCVI.load_query_data(reference_model=reference)

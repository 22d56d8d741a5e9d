"""Batches that the reference does not know: weights of their own, and of nothing else."""

import numpy as np
import pytest
import torch
from scipy import sparse
from scvi import REGISTRY_KEYS

from lucidvi.atlas import Reference
from lucidvi.atlas.mapping import _batches, _query
from lucidvi.atlas.mapping._batches import learn_batch, model_of_query
from lucidvi.atlas.mapping._query import thinned
from lucidvi.atlas.mapping._read_query import nothing_is_trained, read_query
from lucidvi.errors import DataError
from lucidvi.inference import PosteriorTarget, shift_information
from lucidvi.model import SCVI, Cells


@pytest.fixture(scope="module")
def stranger(simulate):
    """Return cells of a batch that the reference does not know."""
    return simulate(120, seed=9, n_batches=1, first_batch=3)


def accuracy(out):
    return float((out.obs["lucidvi_label"].astype(str) == out.obs["cell_type"].astype(str)).mean())


def log_likelihood(model, adata):
    """ELBO of refined posteriors, in nats a cell."""
    return float(model.refine_posterior(adata).elbo.mean())


def test_labels_of_a_new_batch(reference, stranger):
    out = reference.map(stranger)
    assert accuracy(out) > 0.9
    assert list(out.uns["lucidvi"]["new_batches"]) == ["lane3"]
    assert set(out.uns["lucidvi"]["new_batches_as"]) <= {"lane0", "lane1"}


def test_again_it_is_the_same(reference, stranger):
    first, second = reference.map(stranger), reference.map(stranger)
    np.testing.assert_array_equal(first.obsm["X_lucidvi"], second.obsm["X_lucidvi"])


def test_only_the_new_batch_is_decoded_otherwise(reference, stranger):
    model, (batch,) = model_of_query(reference.model, read_query(stranger, reference.model))
    before = reference.model.module.state_dict()
    for name, weight in model.module.state_dict().items():
        assert torch.equal(weight, before[name]), name
    weights = model.module.shifted(batch.shift).state_dict()
    changed = [name for name, weight in weights.items() if not torch.equal(weight, before[name])]
    assert changed == ["decoder.px_scale_decoder.0.bias"]
    for name, weight in model.module.state_dict().items():
        assert torch.equal(weight, before[name]), name


def test_the_shift_is_that_of_the_simulation(reference, simulate):
    """Of a known batch whose genes are captured better or worse, by factors that are known."""
    truth = np.random.default_rng(5).normal(0, 0.8, 60)
    known = simulate(1_000, seed=12, n_batches=1)
    rng = np.random.default_rng(6)
    counts = rng.poisson(known.X.toarray() * np.exp(truth)).astype(np.float32)
    shifted = known[counts.sum(axis=1) > 0].copy()
    shifted.X = counts[counts.sum(axis=1) > 0]
    shifted.obs["batch"] = "other"
    _, (batch,) = model_of_query(reference.model, read_query(shifted, reference.model))
    found = batch.shift.numpy()
    assert np.corrcoef(found, truth)[0, 1] > 0.95
    assert np.std(found - found.mean() - truth + truth.mean()) < 0.25
    assert batch.stand_in == "lane0"


def test_it_fits_better_than_a_known_batch(reference, stranger):
    given = read_query(stranger, reference.model)
    model, (batch,) = model_of_query(reference.model, given)
    adata = given.with_stand_ins([batch.stand_in]).read(given.sample)
    known, model.module = model.module, model.module.shifted(batch.shift)
    fit = log_likelihood(model, adata)
    model.module = known
    for lane in ("lane0", "lane1"):
        adata = given.with_stand_ins([lane]).read(given.sample)
        assert fit > log_likelihood(model, adata) + 1


def test_zero_inflation_is_not_carried_over(simulate, stranger):
    reference = small(simulate(80), {"batch_key": "batch"}, gene_likelihood="zinb")
    model, (batch,) = model_of_query(reference.model, read_query(stranger, reference.model))
    shifted = model.module.shifted(batch.shift)
    assert shifted.decoder.heads == ()
    assert {m.likelihood.family for m in shifted.modalities.values()} == {"nb"}
    assert model.module.decoder.heads == ("zi_logits",)
    assert {m.likelihood.family for m in model.module.modalities.values()} == {"zinb"}


def test_much_deeper_batches_are_thinned(reference, stranger, simulate):
    deep = stranger.copy()
    deep.X = deep.X * 40
    given = read_query(deep, reference.model).thinned_to(reference.data.depth)
    total = np.asarray(given.read(np.arange(120)).X.sum(axis=1))
    assert np.median(total) == pytest.approx(reference.data.depth, rel=0.1)
    assert accuracy(reference.map(deep)) > 0.85
    # Known batches are not, nor those that are a little deeper.
    assert read_query(stranger, reference.model).thinned_to(reference.data.depth).kept is None
    known = simulate(50, seed=4)
    known.X = known.X * 40
    assert read_query(known, reference.model).thinned_to(reference.data.depth).kept is None


def test_thinning_keeps_each_count_with_its_probability():
    x = sparse.csr_matrix(np.full((2, 2_000), 10, dtype=np.float32))
    kept = thinned(x, np.array([0.3, 1.0])).toarray()
    assert kept[0].mean() == pytest.approx(3, abs=0.15)
    assert kept[0].var() == pytest.approx(10 * 0.3 * 0.7, rel=0.15)
    np.testing.assert_array_equal(kept[1], 10)


def test_a_new_batch_with_missing_genes(reference, stranger):
    keep = np.random.default_rng(0).random(stranger.n_vars) < 0.4
    assert accuracy(reference.map(stranger[:, keep])) > 0.9


def test_one_cell_of_a_new_batch(reference, stranger):
    assert reference.map(stranger[:1]).n_obs == 1


def test_known_cells_beside_new_ones_are_mapped_as_alone(reference, simulate, monkeypatch):
    monkeypatch.setattr(_query, "PART", 16 * 60)  # so that known cells come after new ones, too
    monkeypatch.setattr(_query, "MULTIPLE", 16)
    mixed = simulate(60, seed=11, n_batches=3, first_batch=0)
    known = (mixed.obs["batch"] != "lane2").to_numpy()
    together, alone = reference.map(mixed), reference.map(mixed[known])
    np.testing.assert_allclose(
        together.obsm["X_lucidvi"][known], alone.obsm["X_lucidvi"], atol=1e-3, equal_nan=False
    )


def small(adata, setup, **kwargs):
    SCVI.setup_anndata(adata, **setup)
    model = SCVI(adata, n_hidden=16, n_latent=3, **kwargs)
    model.train(max_epochs=2, plan_kwargs={"warn_collapse": False})
    return Reference.from_model(model)


def test_a_reference_of_one_batch(simulate):
    """Its decoder has no weights of batches; what a new one shifts must not stay for the known."""
    reference = small(simulate(80, n_batches=1), {"batch_key": "batch"})
    mixed = simulate(60, seed=11)
    known = (mixed.obs["batch"] == "lane0").to_numpy()
    with pytest.warns(UserWarning, match="new batches cannot be relied on: for 100%"):
        together = reference.map(mixed)
    alone = reference.map(mixed[known])
    np.testing.assert_allclose(
        together.obsm["X_lucidvi"][known], alone.obsm["X_lucidvi"], atol=1e-3, equal_nan=False
    )


def test_one_cell_where_the_library_is_latent(simulate, stranger):
    reference = small(simulate(150), {"batch_key": "batch"}, use_observed_lib_size=False)
    for cells in (simulate(1, seed=3), stranger[:1]):
        assert np.isfinite(reference.map(cells).obsm["X_lucidvi"]).all()


@pytest.mark.parametrize(
    ("setup", "kwargs"),
    [
        ({"categorical_covariate_keys": ["cell_type"]}, {}),
        ({"size_factor_key": "size"}, {}),
        ({}, {"batch_representation": "embedding"}),
        ({}, {"dispersion": "gene-batch"}),
        ({}, {"encode_covariates": True}),
        ({}, {"gene_likelihood": "poisson"}),
    ],
)
def test_wherever_batches_enter_a_model(simulate, stranger, setup, kwargs):
    def cells(adata):
        adata.obs["size"] = np.asarray(adata.X.sum(axis=1)).ravel()
        return adata

    reference = small(cells(simulate(150)), {"batch_key": "batch", **setup}, **kwargs)
    out = reference.map(cells(stranger.copy()))
    assert np.isfinite(out.obsm["X_lucidvi"]).all()
    assert list(out.uns["lucidvi"]["new_batches"]) == ["lane3"]


@pytest.mark.parametrize("n_genes", [60, 40])
@pytest.mark.parametrize("encode_covariates", [False, True])
def test_known_batches_are_compared_as_one_by_one(
    simulate, encode_covariates, n_genes, monkeypatch
):
    """Against the target of the cells once they are set to each batch in turn."""
    cells = simulate(80, n_batches=4)
    reference = small(cells, {"batch_key": "batch"}, encode_covariates=encode_covariates)
    with nothing_is_trained():
        model = SCVI.load_query_data(cells, reference.model)
    model.module.eval()
    monkeypatch.setattr(_batches, "N_AT_ONCE", 41)  # two batches of these 20 cells
    genes = np.arange(60) < n_genes
    decoding = model.module.shifted(torch.zeros(60))
    chosen, batches = np.arange(30, 50), np.array([3, 0, 1])
    found = _batches._fits(Cells(model, model.adata, chosen), genes, batches)
    for fit, batch in zip(found, batches, strict=True):
        adata = cells[chosen].copy()
        adata.obs["batch"] = f"lane{batch}"
        (tensors,) = model._make_data_loader(adata=model._validate_anndata(adata))
        target = PosteriorTarget.from_module(decoding, tensors, genes)
        assert fit == pytest.approx(float(target.evaluate(target.q0.mean[None]).sum()), rel=1e-5)


def test_shifts_are_where_they_are_the_likeliest(simulate):
    """Also where few, overdispersed genes have most of the counts, on which all others depend."""
    adata = simulate(300, n_batches=2)
    adata.X = sparse.csr_matrix(adata.X.toarray() * np.where(np.arange(60) < 3, 30, 1))
    SCVI.setup_anndata(adata, batch_key="batch")
    model = SCVI(adata, n_hidden=16, n_latent=3, gene_likelihood="nb")
    model.train(max_epochs=2, plan_kwargs={"warn_collapse": False})
    model.module.px_r.data.fill_(-2.0)
    cells = Cells(model, model.adata, np.flatnonzero(adata.obs["batch"] == "lane1"))
    names = np.array(["lane0", "lane1"])
    shift = learn_batch(cells, np.ones(60, bool), names, exclude=1).shift.requires_grad_()
    of_known = cells.with_codes({REGISTRY_KEYS.BATCH_KEY: 0})
    ((_, target),) = of_known.targets(None, len(cells))
    z = target.q0.mean
    value = target.with_shift(shift).log_joint(z[None]).sum() - (shift / 0.3).square().sum() / 2
    (slope,) = torch.autograd.grad(value, shift)
    information = shift_information(target, z)
    assert float(information.min()) > 0
    # In standard errors, which are those of a normal of the same curvature.
    assert float((slope / (information + 0.3**-2).sqrt()).abs().max()) < 0.2


@pytest.mark.parametrize("n_cells", [1, 20, 300])
@pytest.mark.parametrize("n_batches", [1, 8, 300])
def test_the_likeliest_of_many_batches(n_cells, n_batches, monkeypatch):
    """Of log densities that are drawn: the same batch as by all of them, from far fewer."""
    rng = np.random.default_rng(0)
    drawn = rng.normal(0, 1, n_batches) + rng.normal(0, 2, (n_cells, n_batches))
    n_evaluated = []

    def fits(cells, genes, batches):
        n_evaluated.append(len(cells) * len(batches))
        return drawn[np.ix_(cells.positions, batches)].sum(axis=0)

    monkeypatch.setattr(_batches, "_fits", fits)
    cells = Cells(None, None, np.arange(n_cells))
    found = _batches._likeliest(cells, np.ones(1, bool), np.arange(n_batches))
    assert found == drawn[:256].sum(axis=0).argmax()
    everything = min(n_cells, 256) * n_batches
    assert sum(n_evaluated) <= (everything / 5 if n_cells * n_batches == 90_000 else everything)


def test_unknown_categories_of_covariates_are_refused(simulate):
    adata = simulate(80)
    adata.obs["site"] = np.array(["a", "b"])[np.arange(80) % 2]
    reference = small(adata, {"batch_key": "batch", "categorical_covariate_keys": ["site"]})
    cells = simulate(5, seed=3)
    cells.obs["site"] = ["a", "b", "c", "a", "a"]
    with pytest.raises(DataError, match=r'query.obs\["site"\].*\'c\''):
        reference.map(cells)

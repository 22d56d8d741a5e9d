"""Predicted conditions, on simulated cells whose response is known."""

import numpy as np
import pandas as pd
import pytest
import scvi
from anndata import AnnData
from scipy import sparse

from lucidvi.errors import DataError, MissingKeyError, ModelTypeError
from lucidvi.model import SCVI
from lucidvi.simulate import compare_conditions, predict_condition

N_GENES, N_CELLS = 60, 120
HELD_OUT = "d"
ASKED = {
    "condition_key": "condition",
    "control": "ctrl",
    "target": "stim",
    "labels_key": "cell_type",
}
NO_CHANGE, MEAN_SHIFT = "no change", "mean shift of the other labels"


def simulate(own):
    """Simulate four types under two conditions; a and b are alike, and c and d.

    Eight genes rise in each type, and others fall, since library sizes do not change: that is what
    is assumed. If the response is the types' ``own``, other genes rise in c and d than in a and b.
    """
    rng = np.random.default_rng(0)
    kin = rng.normal(0, 0.8, size=(2, N_GENES)).repeat(2, axis=0)
    types = kin + rng.normal(0, 0.3, size=(4, N_GENES))
    response = np.zeros((4, N_GENES))
    response[:2, :8] = 2.0
    response[2:, slice(8, 16) if own else slice(0, 8)] = 2.0
    base = rng.normal(0.5, 0.5, size=N_GENES)
    kind = np.arange(8 * N_CELLS) % 4
    stimulated = np.arange(8 * N_CELLS) // 4 % 2
    log_rate = base + types[kind] + stimulated[:, None] * response[kind]
    share = np.exp(log_rate) / np.exp(log_rate).sum(axis=1, keepdims=True)
    library = rng.lognormal(np.log(300), 0.2, size=(len(kind), 1))
    counts = rng.poisson(library * share).astype(np.float32)
    obs = pd.DataFrame(
        {
            "cell_type": pd.Categorical(np.array(list("abcd"))[kind]),
            "condition": pd.Categorical(np.array(["ctrl", "stim"])[stimulated]),
        },
        index=[f"cell{i}" for i in range(len(kind))],
    )
    var = pd.DataFrame(index=[f"gene{i}" for i in range(N_GENES)])
    return AnnData(sparse.csr_matrix(counts), obs=obs, var=var)


def trained(own, **setup):
    """Train on all but the stimulated cells of one type, and return these too."""
    adata = simulate(own)
    is_truth = (adata.obs["cell_type"] == HELD_OUT) & (adata.obs["condition"] == "stim")
    known, truth = adata[~is_truth].copy(), adata[is_truth].copy()
    scvi.settings.seed = 0
    SCVI.setup_anndata(known, **setup)
    model = SCVI(known, n_hidden=32, n_latent=6, gene_likelihood="nb")
    model.train(max_epochs=60, batch_size=64)
    return model, truth


@pytest.fixture(scope="module")
def same():
    """Return a model of cells that all respond alike, and the cells that it did not see."""
    return trained(own=False)


@pytest.fixture(scope="module")
def own():
    """Return the same of types that respond in their own ways."""
    return trained(own=True)


@pytest.fixture(scope="module")
def conditional():
    """Return a model that is told the condition, of cells that respond alike."""
    return trained(own=False, categorical_covariate_keys=["condition"])


def table(model, truth, **kwargs):
    return compare_conditions(model, truth, label=HELD_OUT, **ASKED, **kwargs)


def test_what_all_types_share_is_better_than_no_change(same):
    found = table(*same, methods=["shift", "nearest"])
    assert list(found.index) == [NO_CHANGE, MEAN_SHIFT, "shift", "nearest"]
    for method in ("shift", "nearest"):
        assert found.loc[method, "R2"] > found.loc[NO_CHANGE, "R2"]
        assert found.loc[method, "energy distance"] < found.loc[NO_CHANGE, "energy distance"]


def test_what_all_types_share_is_recovered_by_genes(same):
    """A shift of latent states bends what is a shift of genes; one of genes does not."""
    found = table(*same, methods=["nearest", "genes"])
    assert found.loc["genes", "R2"] > found.loc[MEAN_SHIFT, "R2"] - 0.02
    assert found.loc["genes", "R2"] > found.loc["nearest", "R2"] + 0.05


def test_what_types_do_in_their_own_way_is_found_near_by(own):
    pytest.importorskip("ot")
    found = table(*own, methods=["nearest", "transport", "genes"])
    baselines = found.loc[[NO_CHANGE, MEAN_SHIFT]]
    for method in ("nearest", "transport", "genes"):
        assert found.loc[method, "R2"] > baselines["R2"].max() + 0.1
        assert found.loc[method, "energy distance"] < 0.5 * baselines["energy distance"].min()


def test_the_decoder_is_told_the_condition(conditional):
    found = table(*conditional)
    assert "decoder" in found.index
    assert found.loc["decoder", "R2"] > 0.9
    assert found.loc["decoder", "energy distance"] < 0.2 * found.loc[NO_CHANGE, "energy distance"]


def test_genes_are_decoded_under_control(conditional):
    """What differs between the conditions is not added twice."""
    found = table(*conditional, methods=["genes"])
    assert found.loc["genes", "R2"] > found.loc[MEAN_SHIFT, "R2"] - 0.02


def test_genes_leave_states_and_expected_totals(same):
    model, _ = same
    moved, shifted = (
        predict_condition(model, label=HELD_OUT, method=method, noise="new", **ASKED)
        for method in ("genes", "shift")
    )
    shift = shifted.obsm["X_lucidvi"] - moved.obsm["X_lucidvi"]
    np.testing.assert_allclose(shift, np.tile(shift[:1], (len(shift), 1)), atol=1e-5)
    total = model.adata[model.adata.obs["cell_type"] == HELD_OUT].X.sum()
    assert moved.X.sum() == pytest.approx(total, rel=0.02)


def test_baselines_are_means_of_log_expression(same):
    model, truth = same

    def logs(adata):
        x = adata.X.toarray()
        return np.log1p(x / x.sum(axis=1, keepdims=True) * 1e4)

    def mean(label, condition):
        obs = model.adata.obs
        chosen = (obs["cell_type"] == label) & (obs["condition"] == condition)
        return logs(model.adata[chosen]).mean(axis=0)

    def r2(predicted):
        measured = logs(truth).mean(axis=0)
        return 1 - ((measured - predicted) ** 2).sum() / ((measured - measured.mean()) ** 2).sum()

    shift = np.mean([mean(label, "stim") - mean(label, "ctrl") for label in "abc"], axis=0)
    found = table(model, truth, methods=[])
    start = mean(HELD_OUT, "ctrl")
    assert found.loc[NO_CHANGE, "R2"] == pytest.approx(r2(start), abs=1e-4)
    assert found.loc[MEAN_SHIFT, "R2"] == pytest.approx(r2(start + shift), abs=1e-4)


def test_what_comes_out(same):
    model, _ = same
    before = model.adata.copy()
    out = predict_condition(model, label=HELD_OUT, **ASKED)
    chosen = (before.obs["cell_type"] == HELD_OUT).to_numpy()
    assert list(out.obs_names) == list(before.obs_names[chosen])
    assert set(out.obs["condition"]) == {"stim"}
    assert out.obsm["X_lucidvi"].shape == (N_CELLS, 6)
    assert sparse.issparse(out.X)
    assert (out.X.data == np.round(out.X.data)).all()
    record = out.uns["lucidvi_simulation"]
    assert record["function"] == "predict_condition"
    assert record["request"] | ASKED == record["request"]
    assert record["request"]["label"] == HELD_OUT
    assert len(record["assumptions"])
    pd.testing.assert_frame_equal(model.adata.obs, before.obs)
    assert (model.adata.X != before.X).nnz == 0


def test_the_same_seed_gives_the_same(same):
    first, again, other = (
        predict_condition(same[0], label=HELD_OUT, seed=seed, **ASKED).X for seed in (1, 1, 2)
    )
    assert (first != again).nnz == 0
    assert (first != other).nnz > 0


def test_cells_may_be_named(same):
    model, _ = same
    names = model.adata.obs_names[(model.adata.obs["cell_type"] == HELD_OUT).to_numpy()][:3]
    out = predict_condition(model, indices=np.asarray(names), **ASKED)
    assert list(out.obs_names) == list(names)


def test_target_cells_of_the_label_are_not_learned_from(same):
    model, truth = same
    every = AnnData(
        sparse.vstack([model.adata.X, truth.X], format="csr"),
        obs=pd.concat([model.adata.obs[truth.obs.columns], truth.obs]),
        var=truth.var,
    )
    with_truth = predict_condition(model, every, label=HELD_OUT, **ASKED)
    without = predict_condition(model, label=HELD_OUT, **ASKED)
    assert (with_truth.X != without.X).nnz == 0


def test_new_noise(same):
    """Means are those that the noise is kept around; counts are not those of the control cell."""
    model, _ = same
    kept, new = (
        predict_condition(model, label=HELD_OUT, noise=noise, **ASKED).X.toarray()
        for noise in ("kept", "new")
    )
    control = model.adata[model.adata.obs["cell_type"] == HELD_OUT].X.toarray()
    unchanged = slice(20, None)
    assert np.corrcoef(kept.mean(axis=0), new.mean(axis=0))[0, 1] > 0.98

    def correlation(x):
        a, b = (v - v.mean(axis=0) for v in (x[:, unchanged], control[:, unchanged]))
        return (a * b).sum() / np.sqrt((a**2).sum() * (b**2).sum())

    assert correlation(kept) > correlation(new) + 0.3


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"condition_key": "drug"}, MissingKeyError, "`condition_key` is 'drug'"),
        ({"labels_key": "kind"}, MissingKeyError, "`labels_key` is 'kind'"),
        ({"control": "unstimulated"}, DataError, "`control` is 'unstimulated'.*'ctrl', 'stim'"),
        ({"target": "LPS"}, DataError, "`target` is 'LPS'"),
        ({"target": "ctrl"}, DataError, "both 'ctrl'"),
        ({"label": "e"}, DataError, "`label` is 'e'.*'a', 'b', 'c', 'd'"),
        ({"label": None, "indices": []}, DataError, "at least one cell"),
        (
            {"label": None, "indices": ["cell4"]},
            DataError,
            "1 of the 1 `indices` are no control cells: 'cell4'",
        ),
        ({"label": None}, DataError, "`label` is None and `indices` is None"),
        ({"indices": [0]}, DataError, "`label` is 'd' and `indices` is"),
        ({"method": "magic"}, DataError, "`method` is 'magic'"),
        ({"noise": "loud"}, DataError, "`noise` is 'loud'"),
        ({"method": "decoder"}, ModelTypeError, "neither the batch nor a categorical covariate"),
    ],
)
def test_bad_arguments(same, change, error, message):
    with pytest.raises(error, match=f"(?s){message}"):
        predict_condition(same[0], **{**ASKED, "label": HELD_OUT, **change})


def part(model, keep):
    obs = model.adata.obs
    return model.adata[keep(obs["cell_type"], obs["condition"]).to_numpy()].copy()


def test_label_without_control_cells(same):
    adata = part(same[0], lambda label, condition: (label != "a") | (condition == "stim"))
    with pytest.raises(DataError, match="'a', a label without control cells"):
        predict_condition(same[0], adata, label="a", **ASKED)


def test_no_other_label_to_learn_from(same):
    def kept(label, condition):
        return (label == HELD_OUT) | (label == "a") & (condition == "stim")

    adata = part(same[0], kept)
    with pytest.raises(DataError, match="No label in 'cell_type' besides 'd'"):
        predict_condition(same[0], adata, label=HELD_OUT, **ASKED)


def test_missing_label(same):
    adata = same[0].adata.copy()
    adata.obs.loc["cell3", "cell_type"] = np.nan
    with pytest.raises(DataError, match=r"1 cells have no value in 'cell_type'.*'cell3'"):
        predict_condition(same[0], adata, label="a", **ASKED)


def test_one_cell_to_compare_with(same):
    with pytest.raises(DataError, match="There are 1 cells in `truth`"):
        table(same[0], same[1][:1].copy())


def test_unknown_method_to_compare(same):
    with pytest.raises(DataError, match="`methods` is 'magic'"):
        table(*same, methods=["magic"])

"""Whatever form the same cells come in, the answer is the plain one, or a LucidVIError.

60 examples here; 3,000 at the same fixed seeds, with counts by outcome, by
``LUCIDVI_EXAMPLES=3000 pytest tests/model/test_forms.py``.
"""

import gc
import os
import warnings
from collections import Counter
from contextlib import suppress

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from tests.model.forms import (
    BATCHES,
    N_GENES,
    SELECTIONS,
    NotMade,
    draw_counts,
    forms,
    make,
    new_folder,
    plain,
)

from lucidvi.data import CellSource, store_of
from lucidvi.errors import LucidVIError
from lucidvi.model import SCVI

N_EXAMPLES = int(os.environ.get("LUCIDVI_EXAMPLES", "60"))
GENE_LIST = ["gene7", "gene2", "gene11"]
TRAIN = {
    "max_epochs": 1,
    "batch_size": 16,
    "train_size": 0.8,
    "shuffle_set_split": False,
    "accelerator": "cpu",
    "enable_progress_bar": False,
}
OUTCOMES: Counter = Counter()
pytest.importorskip("dask.array")
pytest.importorskip("zarr")
pytest.importorskip("xarray")


def model_of(adata, layer, **kwargs):
    SCVI.setup_anndata(adata, layer=layer, batch_key="batch")
    torch.manual_seed(0)
    return SCVI(adata, n_hidden=8, n_latent=2, **kwargs)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Models trained once on the plain form, by layer and kind of batch, and their folders."""
    models = {}
    for layer in (None, "counts"):
        for batch in ("text category", "integer category"):
            model = model_of(plain(draw_counts(), layer, batch), layer)
            model.train(**TRAIN | {"max_epochs": 3})
            folder = str(tmp_path_factory.mktemp("models") / "model")
            model.save(folder)
            models[layer, batch] = model, folder
    return models


@pytest.fixture(scope="module", autouse=True)
def _print_outcomes(request):
    yield
    if "LUCIDVI_EXAMPLES" in os.environ:
        capture = request.config.pluginmanager.getplugin("capturemanager")
        with capture.global_and_fixture_disabled():
            print_outcomes()


def print_outcomes():
    """Print how many forms came to which outcome, by each of their properties."""
    totals = Counter()
    for (form, outcome), n in OUTCOMES.items():
        totals["all", "", outcome] += n
        for name in ("storage", "format", "dtype", "batch", "genes", "view", "selection", "route"):
            totals[name, str(getattr(form, name)), outcome] += n
    outcomes = sorted({outcome for *_, outcome in totals})
    print("\n" + " " * 36, *(f"{outcome:>18}" for outcome in outcomes))
    for name, value in sorted({key[:2] for key in totals}):
        print(f"{name:12}{value:24}", *(f"{totals[name, value, o]:18,}" for o in outcomes))


@settings(
    max_examples=N_EXAMPLES,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)
@given(form=forms)
def test_every_form_gives_the_plain_answer_or_a_clear_error(form, models):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of anndata and scipy, while the form is made and read
        OUTCOMES[form, outcome(form, models)] += 1


def outcome(form, models):
    """Return what came of a form: "equal", the class of an error, or "not made"."""
    model, folder = models[form.layer, form.model_batch]
    with new_folder() as place:
        try:
            adata = make(form, place)
        except NotMade:
            return "not made"
        try:
            check(form, adata, model, folder)
        except LucidVIError as error:
            refusal = error
        else:
            return "equal"
        finally:
            forget(model, adata)
    assert str(refusal).count("Remedy: ") == 1
    assert form.reasons, f"refused: {refusal}"
    return type(refusal).__name__


def forget(model, adata):
    with suppress(KeyError, ValueError):  # it may have got no further than to be refused
        model.deregister_manager(adata)
    if adata.isbacked:
        adata.file.close()
    if sum(OUTCOMES.values()) % 50 == 0:
        gc.collect()  # closes files of lazy ones


def check(form, adata, model, folder):
    """Compare the answers about the cells in a form with those about the plain ones."""
    counts = draw_counts(binary=form.dtype == "bool")
    own = plain(counts, form.layer)
    own.obs["batch"] = model.adata.obs["batch"]
    ROUTES[form.route](form, adata, own, model, folder)


def answers(model, adata, selection):
    """Return latent states, ELBO and some genes' expression of some cells."""
    found = []
    for method, kwargs in (
        ("get_latent_representation", {}),
        ("get_elbo", {"return_mean": False}),
        ("get_normalized_expression", {"gene_list": GENE_LIST, "return_numpy": True}),
    ):
        torch.manual_seed(0)
        np.random.seed(0)  # noqa: NPY002 (scvi-tools draws from the global generator)
        found.append(np.asarray(getattr(model, method)(adata, indices=selection, **kwargs)))
    return found


def rows_of(form):
    """Return positions of the cells that are asked about."""
    selection = SELECTIONS[form.selection]
    if form.selection == "names":
        return np.array([7, 2])
    everything = np.arange(30)
    return everything if selection is None else everything[selection]


def compare(form, model, adata, other, own):
    got = answers(model, adata, SELECTIONS[form.selection])
    want = answers(other, own, rows_of(form))
    for one, two in zip(got, want, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-5)


def by_query(form, adata, own, model, folder):
    compare(form, model, adata, model, own)


def by_load(form, adata, own, model, folder):
    compare(form, SCVI.load(folder, adata=adata), None, model, own)


def by_setup(form, adata, own, model, folder):
    """Minibatches of training, and a model of the same weights."""
    other = model_of(adata, form.layer)
    want = store_of(CellSource(model_of(own, form.layer).adata_manager)).take(np.arange(30))
    got = store_of(CellSource(other.adata_manager)).take(np.arange(30))
    np.testing.assert_array_equal(got["X"].to_dense(), want["X"].to_dense())
    if categories(other) == categories(model):
        other.module.load_state_dict(model.module.state_dict())
        other.module.eval()
        other.is_trained_ = True
        compare(form, other, None, model, own)


def by_training(form, adata, own, model, folder):
    """A training that starts from the same weights."""
    own.obs["batch"] = BATCHES[form.batch](np.arange(30) % 3)
    trained = []
    for data in (adata, own):
        other = model_of(data, form.layer)
        torch.manual_seed(0)
        other.train(**TRAIN)
        trained.append(other)
    compare(form, trained[0], None, trained[1], None)


def categories(model):
    """Return the batches of a model, in its order."""
    state = model.adata_manager.get_state_registry("batch")
    return [f"{float(batch)}" for batch in state.categorical_mapping]


ROUTES = {"query": by_query, "load": by_load, "setup": by_setup, "train": by_training}
assert max(int(name[4:]) for name in GENE_LIST) < N_GENES

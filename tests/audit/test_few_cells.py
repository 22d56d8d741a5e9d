"""Audits where there is next to nothing to look at."""

import numpy as np
import pytest
import scvi
from anndata import AnnData

from lucidvi import audit
from lucidvi.audit.subject._sample import N_MIN, Sample, enough
from lucidvi.errors import DataError
from lucidvi.model import SCVI
from lucidvi.results import Skipped

pytestmark = [
    pytest.mark.filterwarnings("ignore:Category . in adata.obs:UserWarning"),
    pytest.mark.filterwarnings("ignore:Last batch will have a small size:UserWarning"),
]


@pytest.fixture
def model(make_adata):
    """Return a function that trains a model of some cells for an epoch."""

    def make(n_cells, n_genes=20, setup=None, train_size=0.9, cls=SCVI, obs=None, **kwargs):
        adata = make_adata(n_cells=n_cells, n_genes=n_genes)
        for name, values in (obs or {}).items():
            adata.obs[name] = values
        cls.setup_anndata(adata, **(setup or {}))
        model = cls(adata, **({"n_latent": 2} | kwargs))
        quiet = {"plan_kwargs": {"warn_collapse": False}} if cls is SCVI else {}
        model.train(
            max_epochs=1,
            train_size=train_size,
            accelerator="cpu",
            enable_progress_bar=False,
            **quiet,
        )
        return model

    return make


def run(model, adata=None, **kwargs):
    report = audit.run(model, adata, **kwargs)
    assert str(report)
    for finding in report.values():
        assert str(finding)
        assert finding.to_dict()["verdict"] == finding.verdict
        for criterion in finding.criteria:
            assert criterion.verdict == "skipped" or not np.isnan(criterion.value)
            assert "nan" not in criterion.statement
    return report


@pytest.mark.parametrize("n_cells", [2, 3, 12, 19])
def test_too_few_cells_for_any_conclusion(model, n_cells):
    report = run(model(n_cells))
    assert report.verdict == "skipped"
    assert all(isinstance(finding, Skipped) for finding in report.values())
    assert list(report) == ["collapse", "identifiability", "amortization", "fit", "confounding"]
    assert f"{n_cells} cells are too few" in report["fit"].summary
    assert "20 at least" in str(report)


@pytest.mark.parametrize("n_cells", [20, 21, 30])
@pytest.mark.parametrize("train_size", [0.5, 0.9])
def test_from_twenty_cells_on(model, n_cells, train_size):
    setup = {"batch_key": "batch", "labels_key": "label"}
    report = run(model(n_cells, setup=setup, train_size=train_size))
    assert "skipped" not in [finding.verdict for finding in report.values()]
    n_out = n_cells - int(np.ceil(train_size * n_cells))
    assert report.about["split"] == ("known" if n_out >= N_MIN else "few")


@pytest.mark.parametrize(
    ("train_size", "split", "n_looked_at"),
    [
        (1.0, "unknown", 100),
        (0.99, "few", 100),
        (0.96, "few", 100),
        (0.9, "known", 100),
        (0.1, "known", 100),
        (0.05, "known", 100),
        (0.04, "new", 96),
    ],
)
def test_held_out_cells_that_are_too_few_are_not_relied_on(model, train_size, split, n_looked_at):
    report = run(model(100, train_size=train_size))
    assert report.about["split"] == split
    assert report.about["n_cells"] == n_looked_at
    assert report["fit"].held_out == (split in ("known", "new"))
    overfitting = next(c for c in report["fit"].criteria if c.name == "overfitting")
    assert (overfitting.verdict == "skipped") == (split != "known") or np.isnan(
        report["fit"].overfitting
    )
    assert ("Held out of training: none" in str(report)) == (split in ("few", "unknown"))


def test_a_small_sample_has_enough_held_out_cells(model):
    about = run(model(100), max_cells=20, checks=["confounding"]).about
    assert (about["split"], about["n_cells"], about["n_held_out"]) == ("known", 20, 6)


def test_one_validation_cell_and_a_small_sample(model):
    report = run(model(100, train_size=0.99), max_cells=30)
    assert report.about["split"] == "few"
    assert report["fit"].n_cells == 30


def test_which_cells_are_enough():
    cells = np.arange(30)
    for n_out, split, n_cells in (
        (0, "few", 30),
        (4, "few", 30),
        (5, "known", 30),
        (26, "new", 26),
    ):
        split_found, held_out, looked_at = enough(cells < n_out, cells)
        assert (split_found, len(looked_at)) == (split, n_cells)
        assert held_out.sum() == (0 if split == "few" else n_out)


def test_nothing_is_asked_of_no_cells():
    assert (
        len(Sample(np.arange(3), np.zeros(3, bool), "few", *[np.array([""] * 3)] * 2).evaluated)
        == 3
    )


@pytest.mark.parametrize("n_cells", [25, 60])
def test_a_batch_of_one_cell(model, n_cells):
    one = ["x"] + ["y"] * (n_cells - 1)
    report = run(model(n_cells, setup={"batch_key": "one", "labels_key": "one"}, obs={"one": one}))
    confounding = report["confounding"]
    assert tuple(confounding.batch_recall.index) == ("x", "y")
    assert confounding.batch_recall["x"] == 0  # nobody is left to tell it by


def test_every_cell_a_batch_and_a_label_of_its_own(model):
    each = [f"c{i}" for i in range(60)]
    report = run(model(60, obs={"each": each}), batch_key="each", labels_key="each")
    batch = next(c for c in report["confounding"].criteria if c.name == "batch")
    assert batch.verdict == "ok"


@pytest.mark.parametrize(("n_genes", "n_latent"), [(1, 1), (1, 2), (2, 1), (20, 30)])
def test_few_genes_and_many_dimensions(model, n_genes, n_latent):
    report = run(model(25 if n_latent > 25 else 60, n_genes=n_genes, n_latent=n_latent))
    correlation = next(c for c in report["fit"].criteria if c.name == "correlation")
    assert (correlation.verdict == "skipped") == (n_genes == 1)
    assert (report["identifiability"].verdict == "skipped") == (n_latent == 1)


def test_cells_that_are_all_alike():
    adata = AnnData(np.tile(np.arange(1, 9, dtype=np.float32), (60, 1)))
    SCVI.setup_anndata(adata)
    model = SCVI(adata, n_latent=2)
    model.train(max_epochs=1, accelerator="cpu", enable_progress_bar=False)
    assert run(model)["confounding"].library_r2 == 0


def test_models_of_scvi_tools(model):
    assert run(model(12, cls=scvi.model.SCVI)).verdict == "skipped"
    assert run(model(40, cls=scvi.model.LinearSCVI, train_size=0.95)).about["split"] == "few"


def test_cells_of_somebody_else_are_counted_too(model, make_adata):
    other = make_adata(n_cells=12, seed=5)
    other.obs_names = [f"new{i}" for i in range(12)]
    report = run(model(60), other)
    assert report.about["split"] == "new"
    assert report.verdict == "skipped"


def test_stability_of_few_cells(model):
    with pytest.raises(DataError, match="9 cells to compare"):
        audit.stability(model(9))

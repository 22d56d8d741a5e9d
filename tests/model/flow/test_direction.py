"""Whether molecules prefer a direction, and what is made of it."""

import numpy as np
import pandas as pd
import pytest
import scvi
from tests.splicing import spliced_anndata

from lucidvi import audit
from lucidvi.audit.checks import CHECKS, asked_of
from lucidvi.model import FLOWVI
from lucidvi.model.flow._direction import judged

N_GENES, N_CELLS = 400, 50


def found(agreement, evidence):
    genes = pd.DataFrame({"agreement": agreement, "is_used": np.isfinite(agreement)})
    return judged(genes, pd.DataFrame({"evidence": evidence, "cosine": 0.0 * evidence}))


def test_genes_that_agree_by_chance_are_no_direction():
    rng = np.random.default_rng(0)
    # Both halves of the genes answer one question, so that chance is as large as of half as many.
    common = rng.normal(size=(200, 1)) / np.sqrt(N_GENES)
    runs = [
        found(rng.normal(size=N_GENES) + c, np.full(N_CELLS, 9.0)) for c in common[:, 0].tolist()
    ]
    scores = np.array([run.score for run in runs])
    assert abs(scores.std() - 1) < 0.15
    assert np.mean([run.verdict == "fail" for run in runs]) > 0.95
    assert not any(run.identified for run in runs if run.verdict == "fail")


def test_genes_that_speak_for_the_reverse_are_no_direction():
    run = found(np.random.default_rng(0).normal(-1, 1, N_GENES), np.full(N_CELLS, 9.0))
    assert run.verdict == "fail"
    assert run.p_value > 0.99


def test_where_molecules_are_silent_there_is_no_arrow():
    agreement = np.random.default_rng(0).normal(2, 1, N_GENES)
    agreement[:20] = np.nan
    run = found(agreement, np.r_[np.full(20, 5.0), np.full(30, -1.0)])
    assert run.identified == pytest.approx(0.4)
    assert run.cells["is_identified"].tolist() == [True] * 20 + [False] * 30
    assert run.verdict == "warn"
    assert "is_identified" in run.cure


def test_an_audit_asks_it_of_who_can_answer():
    adata = spliced_anndata(120, 25)
    scvi.settings.seed = 0
    FLOWVI.setup_anndata(adata)
    model = FLOWVI(adata, n_latent=3)
    model.train(5, n_kinetic_steps=20, enable_progress_bar=False)
    report = audit.run(model, checks=["direction"])
    direction = report["direction"]
    assert len(direction.cells) <= 120
    assert len(direction.genes) == 25
    assert set(CHECKS) - set(asked_of(model)) == {"modalities"}
    velocity = model.get_velocity()
    names = {"model": model, "adata": adata}
    exec(direction.cure, names)
    assert names["velocity"].shape == velocity.shape

"""Which cells are looked at."""

import numpy as np

from lucidvi.audit.subject._sample import draw_sample, held_out_cells


def sample(model, adata=None, max_cells=5000, labels_key=None):
    adata = model.adata if adata is None else adata
    rng = np.random.default_rng(0)
    return draw_sample(model, adata, None, labels_key, max_cells, rng)


def test_held_out_cells_of_the_models_own_training(healthy):
    split, held_out = held_out_cells(healthy, healthy.adata)
    assert split == "known"
    assert (np.flatnonzero(held_out) == np.sort(healthy.validation_indices)).all()
    whole = sample(healthy)
    assert (whole.indices == np.arange(1200)).all()
    assert len(whole.evaluated) == 120
    assert set(whole.batch) == {"0", "1", "2"}
    assert set(whole.label) == {"0", "1", "2", "3"}


def test_a_sample_has_more_of_the_held_out_cells(healthy):
    some = sample(healthy, max_cells=200)
    assert len(some.indices) == 200
    assert some.held_out.sum() == 60
    assert not np.isin(some.indices[~some.held_out], healthy.validation_indices).any()
    assert len(set(some.label)) == 4


def test_new_and_unknown_cells(healthy, simulate):
    adata = simulate(batch=0.3, n_cells=50, seed=1)
    adata.obs_names = [f"new{i}" for i in range(50)]
    new = sample(healthy, healthy._validate_anndata(adata) or adata)
    assert new.split == "new"
    assert new.held_out.all()
    assert len(new.trained) == 0
    subset = healthy.adata[:40].copy()
    unknown = sample(healthy, healthy._validate_anndata(subset) or subset)
    assert unknown.split == "unknown"
    assert not unknown.held_out.any()
    assert len(unknown.evaluated) == 40

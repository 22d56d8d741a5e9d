"""Joined cells, registered: minibatches of every store, and what is noticed later."""

import json

import numpy as np
import pytest
import torch
from scvi.dataloaders import AnnDataLoader
from tests.data.mosaic.cells import (
    BATCHES,
    CELLS,
    GENES,
    PROTEINS,
    joined,
    mosaic,
    muon,
    of_setup,
    one_modality,
)

from lucidvi.data import STORES, CellSource, read_modalities, register_joined
from lucidvi.data._loader import CellLoader
from lucidvi.data.stores import features_key, present_key
from lucidvi.distributions import NegativeBinomial
from lucidvi.errors import DataError
from lucidvi.module import Modality

PANELS = {
    "rna": "rna",
    "prot": {"kind": "protein", "measured": {"c": ["p0", "p3"]}},
}


def registered(data=None, modalities=PANELS, **setup_args):
    cells = joined(mosaic() if data is None else data, modalities, **setup_args)
    return register_joined(cells, of_setup(**setup_args))


def measured_by_hand():
    """Which proteins each cell measured, in the order of the joined cells."""
    return torch.tensor(
        [
            [BATCHES[c] == "b" or (BATCHES[c] == "c" and p in ("p0", "p3")) for p in PROTEINS]
            for c in mosaic().obs_names
        ]
    )


@pytest.mark.parametrize("name", STORES)
def test_minibatches_of_a_store(name):
    manager = registered(batch_key="batch")
    rows = np.array([59, 3, 25, 3, -20])
    minibatch = STORES[name](CellSource(manager, is_read_often=True)).take(rows)
    cells = manager.adata
    assert set(minibatch) == {"X", "X_present", "prot", "prot_present", "prot_features"} | {
        "batch",
        "labels",
    }
    for key, counts in (("X", cells.X), ("prot", cells.obsm["prot"])):
        assert minibatch[key].layout == torch.sparse_csr
        assert minibatch[key].values().dtype == torch.float32
        assert minibatch[key].col_indices().dtype == torch.int32
        np.testing.assert_array_equal(minibatch[key].to_dense(), counts[rows].toarray())
    assert torch.equal(minibatch["prot_features"], measured_by_hand()[rows])
    assert torch.equal(minibatch["prot_present"], measured_by_hand()[rows].any(dim=1))
    assert minibatch["X_present"].tolist() == list(cells.obs_names[rows].isin(CELLS[:40]))


def test_minibatches_of_scvi_tools():
    """Where a sampler of the user's own is given, its dataset is read."""
    manager = registered(batch_key="batch")
    rows = np.array([59, 3, 25, 3])
    want = STORES["memory"](CellSource(manager)).take(rows)
    dense = next(iter(AnnDataLoader(manager, indices=rows, batch_size=4)))
    for got in (dense, CellLoader(manager, indices=rows, batch_size=4).dataset[np.arange(4)]):
        assert set(got) == set(want)
        for key, values in want.items():
            torch.testing.assert_close(
                torch.as_tensor(got[key]), values.to_dense(), rtol=0, atol=0, msg=key
            )
    loader = CellLoader(manager, indices=rows, batch_size=4, data_and_attributes=["X", "prot"])
    some = next(iter(loader))
    assert set(some) == {"X", "prot"}
    assert some["prot"].layout == torch.sparse_csr


def test_nothing_is_said_where_all_was_measured():
    data = muon(rna=one_modality(CELLS, GENES), prot=one_modality(CELLS, PROTEINS))
    minibatch = STORES["memory"](CellSource(registered(data, {"rna": "rna", "prot": "protein"})))
    assert set(minibatch.take([0, 1])) == {"X", "prot", "batch", "labels"}


def test_keys_are_those_that_modules_read():
    modality = Modality("prot", 5, NegativeBinomial)
    assert modality.present_field == present_key("prot")
    assert modality.features_field == features_key("prot")


def test_what_the_registry_says():
    registry = registered(batch_key="batch").registry
    states = json.loads(
        json.dumps(
            {
                key: one["state_registry"]
                for key, one in registry["field_registries"].items()
                if key.endswith("_panel")
            }
        )
    )
    assert list(states) == ["X_panel", "prot_panel"]
    assert states["prot_panel"] == {
        "field": "prot",
        "modality": "prot",
        "kind": "protein",
        "features": PROTEINS,
        "n_panels": 2,
        "specification": {
            "kind": "protein",
            "layer": None,
            "likelihood": None,
            "measured": {"c": ["p0", "p3"]},
            "obsm": None,
            "names": None,
            "weight": 1.0,
        },
    }
    assert (states["X_panel"]["field"], states["X_panel"]["modality"]) == ("X", "rna")


def changed_counts(cells):
    cells.obsm["prot"].data[3] += 1


def changed_genes(cells):
    cells.X.data[3] += 1


def changed_panels(cells):
    cells.obs["lucidvi_panel_prot"] = cells.obs["lucidvi_panel_prot"].clip(lower=0)


def changed_table(cells):
    cells.uns["lucidvi_modalities"]["prot"]["panels"][0, 0] ^= True


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (changed_counts, r'adata\.obsm\["prot"\]'),
        (changed_genes, r"adata\.X"),
        (changed_panels, r'adata\.obs\["lucidvi_panel_prot"\]'),
        (changed_table, r'adata\.obs\["lucidvi_panel_prot"\]'),
    ],
)
def test_what_changes_after_setup_is_noticed(change, place):
    manager = registered(batch_key="batch")
    manager.validate()
    change(manager.adata)
    with pytest.raises(DataError, match=f"{place} has changed since it was set up"):
        manager.check_unchanged()


def negative(cells):
    cells.obsm["prot"].data[0] = -2


def no_genes(cells):
    cells.X[np.flatnonzero(read_modalities(cells)["rna"].panels.present)[:2]] = 0


@pytest.mark.filterwarnings("ignore:Changing the sparsity:scipy.sparse.SparseEfficiencyWarning")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (negative, r'adata\.obsm\["prot"\] holds 1 .*negative'),
        (no_genes, r"adata\.X has 2 of 60 cells without a single count"),
    ],
)
def test_joined_cells_are_checked(change, message):
    """Of cells without a modality none is asked for; of those with it, as of other models'."""
    cells = joined(mosaic())
    change(cells)
    with pytest.raises(DataError, match=message):
        register_joined(cells, of_setup())
    assert "_scvi_batch" not in cells.obs


def test_other_cells_by_the_fields_of_a_model():
    manager = registered(batch_key="batch")
    features = {"rna": GENES, "prot": PROTEINS}
    query = muon(rna=one_modality(CELLS[:9], GENES[1:], batch=["a"] * 9))
    cells = joined(query, batch_key="batch", features=features)
    other = manager.transfer_fields(cells)
    minibatch = STORES["memory"](CellSource(other)).take([0])
    assert minibatch["X_features"].tolist() == [[False] + [True] * 7]
    assert minibatch["prot_present"].tolist() == [False]
    assert "X_present" not in minibatch

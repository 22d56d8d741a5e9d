"""Things that LucidVI saves, each with what it answers: what may be damaged, and is read again."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scvi
import torch
from anndata import AnnData
from scipy import sparse
from tests.linear_field import straight
from tests.model.mosaic.cells import KINDS, as_mudata, simulated
from tests.splicing import spliced_anndata

from lucidvi.atlas import Reference
from lucidvi.dynamics import VectorField
from lucidvi.model import FLOWVI, MOSAICVI, SCVI

TRAIN = {"batch_size": 32, "accelerator": "cpu", "enable_progress_bar": False}


@dataclass(frozen=True)
class Saved:
    """Files in a folder, and how they are read and asked."""

    name: str
    folder: Path
    read: Callable[[Path], Any]
    ask: Callable[[Any], dict[str, Any]]

    @property
    def files(self) -> list[str]:
        """Names of the files that are read."""
        return sorted(file.name for file in self.folder.iterdir() if file.name != "README.md")


def cells(n_cells: int = 40, n_genes: int = 12, seed: int = 0) -> AnnData:
    """Draw counts of cells of two types, in two batches."""
    rng = np.random.default_rng(seed)
    kind, batch = np.arange(n_cells) % 2, np.arange(n_cells) // 2 % 2
    counts = rng.poisson(rng.gamma(1.0, 3.0, (2, n_genes))[kind] + 0.3)
    counts[:, 0] += 1
    obs = pd.DataFrame(
        {
            "batch": pd.Categorical(np.array(["a", "b"])[batch]),
            "cell_type": pd.Categorical(np.array(["B", "T"])[kind]),
        },
        index=[f"cell{i}" for i in range(n_cells)],
    )
    var = pd.DataFrame(index=[f"gene{i}" for i in range(n_genes)])
    return AnnData(sparse.csr_matrix(counts.astype(np.float32)), obs, var)


def rna_model() -> SCVI:
    """Train a model of counts."""
    scvi.settings.seed = 0
    adata = cells()
    SCVI.setup_anndata(adata, batch_key="batch")
    model = SCVI(adata, n_latent=2, n_hidden=6)
    model.train(2, **TRAIN)
    return model


def mosaic_model() -> MOSAICVI:
    """Train a model of several modalities, not all of which each cell has."""
    scvi.settings.seed = 0
    parts, _ = simulated(40)
    parts = {key: part[:, :10].copy() for key, part in parts.items()}
    parts["prot"] = parts["prot"][10:].copy()
    mdata = as_mudata(parts)
    MOSAICVI.setup_mudata(mdata, KINDS, batch_key="batch")
    model = MOSAICVI(mdata, n_latent=2, n_hidden=6)
    model.train(2, **TRAIN)
    return model


def flow_model() -> FLOWVI:
    """Train a model of spliced and unspliced molecules."""
    scvi.settings.seed = 0
    adata = spliced_anndata(40, 12)
    adata.layers = {key: adata.layers[key] for key in ("spliced", "unspliced")}
    FLOWVI.setup_anndata(adata)
    model = FLOWVI(adata, n_latent=2, n_hidden=6)
    model.train(2, n_kinetic_steps=4, **TRAIN)
    return model


def load_with(cls: Any, adata: AnnData, path: Path) -> Any:
    """Load a model with its cells."""
    return cls.load(str(path), adata=adata)


def of_model(model: Any) -> dict[str, Any]:
    """Return what a model answers, and what it says of itself."""
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 (scvi-tools draws from the global generator)
    answers = {f"weights of {k}": v.numpy() for k, v in model.module.state_dict().items()}
    answers["latent"] = np.asarray(model.get_latent_representation())
    answers["elbo"] = np.asarray(model.get_elbo(return_mean=False))
    answers["genes"] = str(model.get_var_names())
    answers["history"] = str(model.history)
    answers["splits"] = str([model.train_indices, model.validation_indices, model.test_indices])
    answers["batches"] = str(model.adata_manager.get_state_registry("batch"))
    return answers


def of_reference(reference: Reference) -> dict[str, Any]:
    """Return what a reference says of a query, and of itself."""
    out = reference.map(cells(12, seed=3))
    answers = {name: out.obs[name].to_numpy() for name in out.obs}
    return (
        answers
        | {name: np.asarray(out.obsm[name]) for name in out.obsm}
        | {
            "labels": reference.data.labels.to_numpy(),
            "calibration": str(reference.data.calibration),
        }
    )


def of_field(field: VectorField) -> dict[str, Any]:
    """Return what a field says of states."""
    z = np.linspace(-1, 1, 8).reshape(4, 2)
    return {
        "velocity": field.velocity(z, 1.0),
        "growth": field.growth(z, 1.0),
        "times": np.asarray(field.times),
        "rest": str([field.spread, field.speed, field.rate, field.samples]),
    }


def all_saved(folder: Path) -> list[Saved]:
    """Make and save one of each kind."""
    made = []
    for name, make in (("SCVI", rna_model), ("MOSAICVI", mosaic_model), ("FLOWVI", flow_model)):
        model = make()
        model.save(str(folder / name))
        read = partial(load_with, type(model), model.adata.copy())
        made.append(Saved(name, folder / name, read, of_model))
        if name == "SCVI":
            model.save(str(folder / "with cells"), save_anndata=True)
            made.append(
                Saved(
                    "SCVI with cells",
                    folder / "with cells",
                    lambda path: SCVI.load(str(path)),
                    of_model,
                )
            )
            Reference.from_model(model).save(folder / "Reference")
            made.append(Saved("Reference", folder / "Reference", Reference.load, of_reference))
    (folder / "VectorField").mkdir()
    field = straight([[1.0, 2.0], [0.5, 2.5]], growth=[0.1, 0.2])
    field.save(folder / "VectorField" / "field.npz")
    made.append(
        Saved(
            "VectorField",
            folder / "VectorField",
            lambda path: VectorField.load(path / "field.npz"),
            of_field,
        )
    )
    return made


def same(one: dict[str, Any], two: dict[str, Any]) -> bool:
    """Return whether two answers are exactly the same."""
    return one.keys() == two.keys() and all(
        np.array_equal(one[k], two[k], equal_nan=one[k].dtype.kind == "f")
        if isinstance(one[k], np.ndarray)
        else one[k] == two[k]
        for k in one
    )

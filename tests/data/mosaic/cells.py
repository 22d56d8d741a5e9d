"""Small simulated cells of several modalities."""

import warnings

import mudata
import numpy as np
import pandas as pd
import scanpy
from anndata import AnnData
from mudata import MuData

from lucidvi.data import join
from lucidvi.module.mosaic import KINDS

PLAIN = {"rna": "rna", "prot": "protein"}
GENES = [f"g{i}" for i in range(8)]
PROTEINS = [f"p{i}" for i in range(5)]
CELLS = [f"cell{i}" for i in range(60)]
BATCHES = dict(zip(CELLS, np.repeat(["a", "b", "c"], 20), strict=True))


def counts_of(cells, features, seed=0, dtype=np.float32):
    """Counts of a modality, of which each cell and each feature has some."""
    x = np.random.default_rng(seed).poisson(2.0, (len(cells), len(features)))
    return (x + np.eye(*x.shape)[:, ::-1] + (np.arange(x.shape[1]) == 0)).astype(dtype)


def one_modality(cells, features, seed=0, **columns):
    """An AnnData of one modality."""
    obs = pd.DataFrame(columns, index=list(cells))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that repeat
        return AnnData(
            counts_of(cells, features, seed), obs=obs, var=pd.DataFrame(index=list(features))
        )


def muon(**modalities):
    """A MuData, without what mudata says of its next version."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return MuData(modalities)


def mosaic():
    """Genes in the batches a and b, proteins, in another order, in b and c."""
    of_genes, of_proteins = CELLS[:40], np.random.default_rng(0).permutation(CELLS[20:])
    return muon(
        rna=one_modality(of_genes, GENES, 1, batch=[BATCHES[cell] for cell in of_genes]),
        prot=one_modality(of_proteins, PROTEINS, 2, batch=[BATCHES[c] for c in of_proteins]),
    )


def joined(data, modalities=PLAIN, **arguments):
    return join(data, modalities, KINDS, **arguments)


def of_setup(**setup_args):
    """What scvi-tools collects of a call that sets up."""
    return {
        "model_name": "MOSAICVI",
        "setup_method_name": "setup_mudata",
        "setup_args": setup_args,
    }


def repair(error, line=0, **names):
    """Run a line of code of an error's remedy, and return what is then called so."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        scope = names | {"mudata": mudata, "sc": scanpy, "np": np}
        exec(error.code[line], scope)
    return scope

"""Simulated cells of three modalities whose latent states are known."""

from contextlib import nullcontext

import anndata
import mudata
import numpy as np
import pandas as pd
from scipy import sparse

if hasattr(mudata, "set_options"):  # as 0.4 does anyway, which does not have it
    mudata.set_options(pull_on_update=False)
SIZES = {"rna": 60, "prot": 30, "atac": 80}
KINDS = {"rna": "rna", "prot": "protein", "atac": "accessibility"}


def simulated(n_cells=400, seed=0):
    """Two factors that all modalities share, and counts of three kinds that follow them."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n_cells, 2))
    names = [f"cell{i}" for i in range(n_cells)]
    batch = np.where(np.arange(n_cells) % 2, "b", "a")
    parts = {}
    for key, n_features in SIZES.items():
        loadings = rng.normal(size=(2, n_features))
        log_rate = z @ loadings * (0.7 if key != "prot" else 1.0) + rng.normal(size=n_features)
        if key == "prot":
            mean = 5 + np.exp(log_rate + 1.5)
        else:
            depth = rng.lognormal(np.log(300), 0.3, size=(n_cells, 1))
            share = np.exp(log_rate)
            mean = depth * share / share.sum(1, keepdims=True)
        x = rng.poisson(rng.gamma(5, mean / 5)).astype(np.float32)
        part = anndata.AnnData(sparse.csr_matrix(x))
        part.obs_names, part.var_names = names, [f"{key}{i}" for i in range(n_features)]
        part.layers["mean"] = mean
        part.obs["batch"] = pd.Categorical(batch)
        parts[key] = part
    return parts, z


def mudata_as_it_comes():
    """A context in which mudata has the options that it comes with."""
    if hasattr(mudata, "set_options"):
        return mudata.set_options(pull_on_update=None)
    return nullcontext()


def as_mudata(parts):
    mdata = mudata.MuData({key: part.copy() for key, part in parts.items()})
    mdata.obs["batch"] = pd.concat([part.obs["batch"].astype(str) for part in parts.values()])[
        lambda column: ~column.index.duplicated()
    ].reindex(mdata.obs_names)
    return mdata

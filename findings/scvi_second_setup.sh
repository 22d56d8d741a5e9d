#!/usr/bin/env bash
# Guess: a trained model goes on with the categories that it was trained with, whatever else is set up
# with its AnnData.
#
# Behaviour: the next call after another setup of the AnnData registers it anew for the model, from
# the column as it is by then, and not from the model's own registry. If its categories have come into
# another order meanwhile, cells are encoded and decoded as other batches, in silence; without the
# other setup nothing changes.
#
# Versions: scvi-tools 1.4.2 (anndata 0.12.19) and 1.5.1 (anndata 0.13.4).
# Source: scvi-tools, data/_manager.py, `AnnDataManager.validate`, which hands on no source registry.
#
# Output seen (largest change of a latent state):
#   categories reordered:         0.00
#   and another model's setup:    0.21
# What to do: give each model an AnnData of its own, adata.copy().
set -euo pipefail
place="$(mktemp -d)"
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet --disable-pip-version-check scvi-tools==1.4.2 anndata==0.12.19 pandas==2.3.3 torch==2.13.0 numpy==2.4.6
cd "$place"
"$place/venv/bin/python" -W ignore - <<'PYTHON' || { echo "the behaviour has changed"; exit 1; }
import logging

import anndata
import numpy as np
import pandas as pd
import scvi

logging.disable(logging.WARNING)
obs = pd.DataFrame(
    {"batch": pd.Categorical(["a", "b"] * 30), "donor": ["x", "y", "z"] * 20},
    index=[f"c{i}" for i in range(60)],
)
counts = np.random.default_rng(0).poisson(5, (60, 8)).astype(np.float32)
adata = anndata.AnnData(counts, obs=obs)
scvi.settings.seed = 0
scvi.model.SCVI.setup_anndata(adata, batch_key="batch")
model = scvi.model.SCVI(adata, n_latent=2, encode_covariates=True)
model.train(5, accelerator="cpu", enable_progress_bar=False, logger=False)
before = model.get_latent_representation()


def change():
    return float(np.abs(model.get_latent_representation() - before).max())


adata.obs["batch"] = adata.obs["batch"].cat.reorder_categories(["b", "a"])
alone = change()
scvi.model.SCVI.setup_anndata(adata, batch_key="donor")
with_another = change()
print(f"categories reordered:         {alone:.2f}")
print(f"and another model's setup:    {with_another:.2f}")
assert alone == 0
assert with_another > 0.01
PYTHON

#!/usr/bin/env bash
# Guess: `minify_adata()` of cells that have posteriors and no counts any more (the layout that
# `SCVI.load` makes an exception for: "_scvi_latent_qzm", "_scvi_latent_qzv" and an empty X) keeps the
# library sizes in `obs["observed_lib_size"]`, or says that it cannot know them.
#
# Behaviour: library sizes are computed of the empty X and written over those that are there: all 0.
# Expected counts and posterior predictive samples are then 0 for every cell and gene, in silence.
#
# Versions: scvi-tools 1.4.2 (anndata 0.12.19) and 1.5.1 (anndata 0.13.4).
# Source: scvi-tools, model/base/_base_model.py, `BaseMinifiedModeModelClass.minify_adata`.
#
# Output seen:
#   observed_lib_size before: 79.5 a cell, after: 0.0
#   expected counts of the model with counts: 7.95 a cell and gene
#   expected counts after minify_adata:       0.0
#   predicted counts after minify_adata:      0.0
# What to do: model.adata.obs["observed_lib_size"] = library_sizes, after minify_adata.
set -euo pipefail
place="$(mktemp -d)"
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet --disable-pip-version-check scvi-tools==1.4.2 anndata==0.12.19 pandas==2.3.3 torch==2.13.0 numpy==2.4.6
cd "$place"
"$place/venv/bin/python" -W ignore - <<'PYTHON' || { echo "the behaviour has changed"; exit 1; }
import logging
import tempfile

import anndata
import numpy as np
import pandas as pd
import scvi
from scipy import sparse

logging.disable(logging.WARNING)
TRAINING = {"accelerator": "cpu", "enable_progress_bar": False, "logger": False}

rng = np.random.default_rng(0)
adata = anndata.AnnData(sparse.csr_matrix(rng.poisson(8, (40, 10)).astype(np.float32)))
scvi.settings.seed = 0
scvi.model.SCVI.setup_anndata(adata)
model = scvi.model.SCVI(adata, n_latent=2, n_hidden=8)
model.train(1, **TRAINING)
mean, variance = model.get_latent_representation(return_dist=True)
folder = tempfile.mkdtemp()
model.save(folder, overwrite=True)

shared = anndata.AnnData(sparse.csr_matrix(adata.shape, dtype=np.float32), var=adata.var)
shared.obs["observed_lib_size"] = np.asarray(adata.X.sum(axis=1)).ravel()
shared.obsm["_scvi_latent_qzm"], shared.obsm["_scvi_latent_qzv"] = mean, variance
before = shared.obs["observed_lib_size"].mean()
loaded = scvi.model.SCVI.load(folder, adata=shared)
loaded.minify_adata(
    use_latent_qzm_key="_scvi_latent_qzm", use_latent_qzv_key="_scvi_latent_qzv"
)
after = loaded.adata.obs["observed_lib_size"].mean()
expected = model.get_likelihood_parameters()["mean"].mean()
minified = loaded.get_likelihood_parameters()["mean"].mean()
predicted = float(loaded.posterior_predictive_sample().todense().mean())
print(f"observed_lib_size before: {before:.1f} a cell, after: {after:.1f}")
print(f"expected counts of the model with counts: {expected:.2f} a cell and gene")
print(f"expected counts after minify_adata:       {minified}")
print(f"predicted counts after minify_adata:      {predicted}")
assert before > 70 and expected > 7
assert after == minified == predicted == 0
PYTHON

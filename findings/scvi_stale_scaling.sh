#!/usr/bin/env bash
# Guess: `raw_normalized_mean1` and `raw_normalized_mean2` of `differential_expression` are means of
# the counts that the AnnData holds, scaled to 10,000 a cell.
#
# Behaviour: the first call writes the cells' scaling factors into `obs["_scvi_raw_norm_scaling"]`, and
# every later call, of that AnnData or of a copy or subset of it, takes them from there whatever the
# counts are by then. After counts have been corrected, or genes taken out, means are off by the ratio
# of the old and the new totals, in silence.
#
# Versions: scvi-tools 1.4.2 (anndata 0.12.19) and 1.5.1 (anndata 0.13.4).
# Source: scvi-tools, model/_utils.py, `scrna_raw_counts_properties`.
#
# Output seen:
#   sum over the genes of raw_normalized_mean1, counts as they were: 10000
#   a copy whose cells of the group have ten times the counts:       100000
#   the same without the column obs["_scvi_raw_norm_scaling"]:       10000
# What to do: del adata.obs["_scvi_raw_norm_scaling"] after counts change.
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
obs = pd.DataFrame({"kind": ["a", "b"] * 30}, index=[f"c{i}" for i in range(60)])
counts = np.random.default_rng(0).poisson(5, (60, 8)).astype(np.float32)
adata = anndata.AnnData(counts, obs=obs)
scvi.settings.seed = 0
scvi.model.SCVI.setup_anndata(adata)
model = scvi.model.SCVI(adata, n_latent=2)
model.train(2, accelerator="cpu", enable_progress_bar=False, logger=False)


def total(cells):
    table = model.differential_expression(
        cells, groupby="kind", group1="a", group2="b", silent=True
    )
    return round(float(table["raw_normalized_mean1"].sum()))


before = total(adata)
changed = adata.copy()
changed.X = changed.X * np.where(changed.obs["kind"] == "a", 10, 1)[:, None].astype(np.float32)
fresh = changed.copy()
del fresh.obs["_scvi_raw_norm_scaling"]
stale, right = total(changed), total(fresh)
print("sum over the genes of raw_normalized_mean1, counts as they were:", before)
print("a copy whose cells of the group have ten times the counts:      ", stale)
print('the same without the column obs["_scvi_raw_norm_scaling"]:      ', right)
assert (before, stale, right) == (10_000, 100_000, 10_000)
PYTHON

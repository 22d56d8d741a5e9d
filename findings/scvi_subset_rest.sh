#!/usr/bin/env bash
# Guess: `differential_expression(groupby=..., group1=..., subset_idx=...)` compares within the subset:
# the group's cells in it with the other cells in it.
#
# Behaviour: the group is taken from the subset alone, and "Rest" is every cell of the AnnData that is
# not in that: all cells outside of the subset too, among them the group's own. A comparison of two
# kinds within one tissue is one against all other tissues, in silence.
#
# Versions: scvi-tools 1.4.2 (anndata 0.12.19) and 1.5.1 (anndata 0.13.4).
# Source: scvi-tools, model/base/_de_core.py, `_subset_group` and `_de_core`.
#
# Output seen:
#   raw_mean2, subset_idx of tissue 1, kind a:          8.0
#   mean count of the other cells of the subset:        2.0
#   mean count of all cells but the group's of it:      8.0
# What to do: name both groups of cells, idx1 and idx2.
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
    {"kind": ["a", "b"] * 40, "tissue": [1] * 40 + [2] * 40}, index=[f"c{i}" for i in range(80)]
)
value = np.where(obs["tissue"] == 2, 11.0, np.where(obs["kind"] == "a", 1.0, 2.0))
adata = anndata.AnnData(np.repeat(value[:, None], 6, axis=1).astype(np.float32), obs=obs)
scvi.settings.seed = 0
scvi.model.SCVI.setup_anndata(adata)
model = scvi.model.SCVI(adata, n_latent=2)
model.train(2, accelerator="cpu", enable_progress_bar=False, logger=False)
subset = np.flatnonzero(obs["tissue"] == 1)
table = model.differential_expression(
    groupby="kind", group1="a", subset_idx=subset, silent=True
)
group = (obs["tissue"] == 1) & (obs["kind"] == "a")
got = round(float(table["raw_mean2"].iloc[0]), 1)
within = round(float(value[(obs["tissue"] == 1) & ~group].mean()), 1)
everywhere = round(float(value[~group].mean()), 1)
print("raw_mean2, subset_idx of tissue 1, kind a:         ", got)
print("mean count of the other cells of the subset:       ", within)
print("mean count of all cells but the group's of it:     ", everywhere)
assert (got, within, everywhere) == (8.0, 2.0, 8.0)
PYTHON

#!/usr/bin/env bash
# Guess: `get_normalized_expression(indices=[20, 3])` of backed data is a table whose row "c20" is
# that of cell c20.
#
# Behaviour: rows are read from the file in ascending order, and stay so; the names are those in the
# order asked for. Row "c20" holds the expression of cell c3, and the other way round. The same for
# an AnnCollection in `scvi.dataloaders.CollectionAdapter`, which is in memory and says that it is
# backed.
#
# Versions: scvi-tools 1.4.2 (anndata 0.12.19) and 1.5.1 (anndata 0.13.4).
# Source: scvi-tools, data/_anntorchdataset.py, `AnnTorchDataset.__getitem__` (np.sort), and
# model/base/_rnamixin.py, `get_normalized_expression` (index=adata.obs_names[indices]).
#
# Output seen:
#   total counts:            c20 = 245,  c3 = 217
#   in memory, row sums:     c20 = 245,  c3 = 217
#   backed, row sums:        c20 = 217,  c3 = 245
#   collection, row sums:    c20 = 217,  c3 = 245
# What to do: ask for ascending indices.
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
names = pd.DataFrame(index=[f"c{i}" for i in range(30)])
adata = anndata.AnnData(sparse.csr_matrix(rng.poisson(30, (30, 8)).astype(np.float32)), obs=names)
adata.layers["counts"] = adata.X.copy()
file = tempfile.mkdtemp() + "/cells.h5ad"
adata.write_h5ad(file)
halves = [adata[:15].copy(), adata[15:].copy()]
collection = scvi.dataloaders.CollectionAdapter(anndata.experimental.AnnCollection(halves))
kinds = {
    "in memory": adata.copy(),
    "backed": anndata.read_h5ad(file, backed="r"),
    "collection": collection,
}
sums = {}
for kind, cells in kinds.items():
    scvi.model.SCVI.setup_anndata(cells, layer="counts")
    model = scvi.model.SCVI(cells, n_latent=2, n_hidden=8)
    model.train(1, **TRAINING)
    table = model.get_normalized_expression(indices=[20, 3], library_size="latent")
    sums[kind] = table.sum(axis=1).round().astype(int).to_dict()
totals = dict(zip(adata.obs_names, np.asarray(adata.X.sum(1)).ravel().astype(int).tolist()))
print(f"total counts:            c20 = {totals['c20']},  c3 = {totals['c3']}")
for kind, of in sums.items():
    print(f"{kind + ', row sums:':24} c20 = {of['c20']},  c3 = {of['c3']}")
assert totals["c20"] != totals["c3"]
assert sums["in memory"] == {"c20": totals["c20"], "c3": totals["c3"]}
assert sums["backed"] == sums["collection"] == {"c20": totals["c3"], "c3": totals["c20"]}
PYTHON

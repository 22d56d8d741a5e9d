#!/usr/bin/env bash
# Guess: `anndata.concat(samples, join="outer")` marks what a sample lacks in one way, as missing.
#
# Behaviour: it is NaN where all samples are arrays or tables, and zero where one of them is sparse, in
# that of the others too. So a protein that was not in a panel has a count of zero, and the cells of a
# sample without the layer "counts" have none at all, in silence.
#
# Versions: anndata 0.12.19 and 0.13.4.
# Source: anndata, _core/merge.py, `default_fill_value`.
#
# Output seen: CD8 of a sample without it, and the total of the layer "counts" of one without it
#   array and array: CD8 nan, total nan
#   sparse and array: CD8 0.0, total 0.0
#   sparse and sparse: CD8 0.0, total 0.0
#   tables in obsm: CD8 nan
# What to do: keep panels as tables in obsm, and give every sample the layer.
set -euo pipefail
place="$(mktemp -d)"
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet --disable-pip-version-check anndata==0.12.19 pandas==2.3.3
cd "$place"
"$place/venv/bin/python" -W ignore - <<'PYTHON' || { echo "the behaviour has changed"; exit 1; }
import anndata
import numpy as np
import pandas as pd
from scipy import sparse


def sample(name, proteins, kind):
    counts = np.ones((2, len(proteins)), np.float32)
    obs = pd.DataFrame(index=[f"{name}{i}" for i in range(2)])
    adata = anndata.AnnData(kind(counts), obs=obs, var=pd.DataFrame(index=proteins))
    adata.obsm["prot"] = pd.DataFrame(counts, index=obs.index, columns=proteins)
    return adata


def last(matrix):
    return (matrix.toarray() if sparse.issparse(matrix) else np.asarray(matrix))[-1]


seen = {}
kinds = {"array": np.asarray, "sparse": sparse.csr_matrix}
for first, second in (("array", "array"), ("sparse", "array"), ("sparse", "sparse")):
    whole = sample("a", ["CD3", "CD8"], kinds[first])
    whole.layers["counts"] = whole.X.copy()
    joined = anndata.concat([whole, sample("b", ["CD3"], kinds[second])], join="outer")
    seen[first, second] = float(last(joined.X)[1]), float(last(joined.layers["counts"]).sum())
    print(f"{first} and {second}: CD8 {seen[first, second][0]}, total {seen[first, second][1]}")
of_table = float(joined.obsm["prot"]["CD8"].iloc[-1])
print("tables in obsm: CD8", of_table)
assert np.isnan(seen["array", "array"]).all() and np.isnan(of_table)
assert seen["sparse", "array"] == seen["sparse", "sparse"] == (0.0, 0.0)
PYTHON

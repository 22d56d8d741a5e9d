#!/usr/bin/env bash
# Guess: a DataFrame that is assigned to `adata.layers[...]` or `adata.X`, its index and columns a
# permutation of the names of cells and genes, is put in order by its names as `adata.obs[...] = series`
# is, or refused as `adata.obsm[...] = frame` is.
#
# Behaviour: it is taken by position, in silence: the values land beside other cells' and other
# genes' names.
#
# Versions: anndata 0.12.19 and 0.13.4.
# Source: anndata, _core/aligned_mapping.py, `AxisArraysBase._validate_value` (the index is
# compared for obsm and varm alone), and the setter of `AnnData.X`.
#
# Output seen:
#   expected of cell c0: {'a': 0, 'b': 1}
#   layers:              {'a': 5, 'b': 4}
#   X:                   {'a': 5, 'b': 4}
#   obs:                 0
#   obsm:                ValueError
# What to do: frame.loc[adata.obs_names, adata.var_names].
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

cells, genes = ["c0", "c1", "c2"], ["a", "b"]
frame = pd.DataFrame(np.arange(6.0).reshape(3, 2), index=cells, columns=genes)
adata = anndata.AnnData(np.zeros((3, 2)), pd.DataFrame(index=cells), pd.DataFrame(index=genes))
reordered = frame.iloc[::-1, ::-1]


def shown(matrix):
    return dict(zip(genes, np.asarray(matrix)[0].astype(int).tolist()))


adata.layers["frame"] = reordered
adata.obs["column"] = reordered["a"]
adata.X = reordered
try:
    adata.obsm["frame"] = reordered
    refused = "taken"
except ValueError as error:
    refused = type(error).__name__
print("expected of cell c0:", shown(frame))
print("layers:             ", shown(adata.layers["frame"]))
print("X:                  ", shown(adata.X))
print("obs:                ", int(adata.obs.loc["c0", "column"]))
print("obsm:               ", refused)
assert shown(adata.layers["frame"]) == shown(adata.X) == {"a": 5, "b": 4} != shown(frame)
assert adata.obs.loc["c0", "column"] == 0 and refused == "ValueError"
PYTHON

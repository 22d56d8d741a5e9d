#!/usr/bin/env bash
# Guess: `adata[mask]`, with a boolean Series that has the names of the cells as its index, takes the
# cells that the Series says, as `adata.obs[mask]` and `df[mask]` of pandas do.
#
# Behaviour: the index is not looked at. A mask made of a table in another order (sorted results, a
# table read from a file) selects other cells than `adata.obs[mask]`, in silence. So do masks of
# genes, and Series of positions. MuData does the same.
#
# Versions: anndata 0.12.19 and 0.13.4, mudata 0.3.10 and 0.4.1.
# Source: anndata, _core/index.py, `_normalize_index`, which takes the values of a Series.
#
# Output seen:
#   the mask is true for:      ['c4', 'c5']
#   adata.obs[mask]:           ['c4', 'c5']
#   adata[mask]:               ['c0', 'c1']
#   mdata[mask]:               ['c0', 'c1']
# What to do: adata[mask.reindex(adata.obs_names).to_numpy()].
set -euo pipefail
place="$(mktemp -d)"
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet --disable-pip-version-check anndata==0.12.19 mudata==0.3.10 pandas==2.3.3
cd "$place"
"$place/venv/bin/python" -W ignore - <<'PYTHON' || { echo "the behaviour has changed"; exit 1; }
import anndata
import mudata
import numpy as np
import pandas as pd

names = [f"c{i}" for i in range(6)]
adata = anndata.AnnData(np.ones((6, 2), np.float32), obs=pd.DataFrame(index=names))
mdata = mudata.MuData({"rna": adata})
mask = pd.Series([True, True, False, False, False, False], index=names[::-1])
by_pandas = sorted(adata.obs[mask].index)
print("the mask is true for:     ", sorted(mask.index[mask]))
print("adata.obs[mask]:          ", by_pandas)
print("adata[mask]:              ", list(adata[mask].obs_names))
print("mdata[mask]:              ", list(mdata[mask].obs_names))
assert by_pandas == ["c4", "c5"]
assert list(adata[mask].obs_names) == list(mdata[mask].obs_names) == ["c0", "c1"]
PYTHON

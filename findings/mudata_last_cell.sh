#!/usr/bin/env bash
# Guess: `mdata[-1]` is the last cell, as `adata[-1]` is, and as `mdata[[-1]]` is.
#
# Behaviour: it is an empty MuData, in silence; so are `mdata[-2]` and all other negative integers
# but in a list.
#
# Versions: mudata 0.3.10 (anndata 0.12.19) and 0.4.1 (anndata 0.13.4).
# Source: mudata, _core/mudata.py, `MuData._init_as_view`, which makes slice(-1, 0) of -1.
#
# Output seen:
#   adata[-1]:   ['c3']
#   mdata[[-1]]: ['c3']
#   mdata[3]:    ['c3']
#   mdata[-1]:   []
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

names = pd.DataFrame(index=[f"c{i}" for i in range(4)])
adata = anndata.AnnData(np.ones((4, 2), np.float32), obs=names)
mdata = mudata.MuData({"rna": adata})
print("adata[-1]:  ", list(adata[-1].obs_names))
print("mdata[[-1]]:", list(mdata[[-1]].obs_names))
print("mdata[3]:   ", list(mdata[3].obs_names))
print("mdata[-1]:  ", list(mdata[-1].obs_names))
assert list(adata[-1].obs_names) == list(mdata[[-1]].obs_names) == ["c3"]
assert list(mdata[3].obs_names) == ["c3"]
assert list(mdata[-1].obs_names) == [] and mdata[-1]["rna"].n_obs == 0
PYTHON

#!/usr/bin/env bash
# Guess: `anndata.concat` of cells opened with `read_lazy` has the tables that it has of the same cells in
# memory.
#
# Behaviour: with join="inner", the default, `obs` keeps columns that only some of the files have, where in
# memory those are dropped; such a column of whole numbers is float with NaN. Categories become texts, of
# objects. Whoever writes a model's covariates from them registers other columns and types than were meant.
#
# Versions: anndata 0.12.19 with xarray 2026.9.0.
# Source: anndata, experimental/merge.py and _core/merge.py: lazy tables are joined by xarray, with its rule.
#
# Output seen:
#   in memory: {'batch': 'category', 'kept': 'bool'}
#   lazy: {'batch': 'object', 'kept': 'bool', 'only_here': 'float64'}
# What to do: read the tables into memory (obs is small), join those, and leave the counts lazy.
set -euo pipefail
place="$(mktemp -d)"
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet --disable-pip-version-check anndata==0.12.19 pandas==2.3.3 \
    dask==2026.8.0 xarray==2026.9.0 aiohttp requests
cd "$place"
"$place/venv/bin/python" -W ignore - <<'PYTHON' || { echo "the behaviour has changed"; exit 1; }
import anndata
import numpy as np
import pandas as pd
from anndata.experimental import read_lazy
from scipy import sparse


def sample(names, **columns):
    obs = pd.DataFrame(columns, index=names)
    return anndata.AnnData(sparse.csr_matrix(np.eye(2, dtype=np.float32)), obs=obs)


one = sample(["a", "b"], batch=pd.Categorical(["x", "y"]), kept=[True, False], only_here=[1, 2])
two = sample(["c", "d"], batch=pd.Categorical(["y", "z"]), kept=[True, True])
one.write_zarr("one.zarr")
two.write_zarr("two.zarr")
memory = anndata.concat([one, two]).obs
lazy = anndata.concat([read_lazy("one.zarr"), read_lazy("two.zarr")]).obs.to_memory()
types = [{str(k): str(v) for k, v in table.dtypes.sort_index().items()} for table in (memory, lazy)]
print("in memory:", types[0])
print("lazy:", types[1])
assert types[0] == {"batch": "category", "kept": "bool"}
assert types[1] == {"batch": "object", "kept": "bool", "only_here": "float64"}
PYTHON

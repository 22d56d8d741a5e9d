#!/usr/bin/env bash
# Guess: the tables of a file that `read_lazy` opens have, once read into memory, the dtypes of those
# that `read_h5ad` reads.
#
# Behaviour: a categorical column loses the categories that no row has, in silence, so that codes and
# what is sized by categories (the batches of a model) differ between the two ways to read one file.
# The lazy column's own dtype still has them all.
#
# Versions: anndata 0.12.19 and 0.13.4.
# Source: anndata, _core/xarray.py, `Dataset2D.to_memory`.
#
# Output seen:
#   read_h5ad:            ['z', 'b', 'a'], codes [1, 2]
#   read_lazy, the dtype: ['z', 'b', 'a']
#   read_lazy, in memory: ['b', 'a'], codes [0, 1]
# What to do: table["b"].cat.set_categories(lazy.obs["b"].dtype.categories).
set -euo pipefail
place="$(mktemp -d)"
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet --disable-pip-version-check "anndata[lazy,dask]==0.12.19" pandas==2.3.3
cd "$place"
"$place/venv/bin/python" -W ignore - <<'PYTHON' || { echo "the behaviour has changed"; exit 1; }
import anndata
import numpy as np
import pandas as pd
from anndata.experimental import read_lazy

column = pd.Categorical(["b", "a"] * 3, categories=["z", "b", "a"])
obs = pd.DataFrame({"b": column}, index=[f"c{i}" for i in range(6)])
anndata.AnnData(np.ones((6, 2), np.float32), obs=obs).write_h5ad("cells.h5ad")
lazy = read_lazy("cells.h5ad")
eager = anndata.read_h5ad("cells.h5ad").obs["b"].cat
read = lazy.obs.to_memory()["b"].cat
print(f"read_h5ad:            {list(eager.categories)}, codes {eager.codes[:2].tolist()}")
print(f"read_lazy, the dtype: {list(lazy.obs['b'].dtype.categories)}")
print(f"read_lazy, in memory: {list(read.categories)}, codes {read.codes[:2].tolist()}")
assert list(eager.categories) == list(lazy.obs["b"].dtype.categories) == ["z", "b", "a"]
assert list(read.categories) == ["b", "a"]
assert (eager.codes[:2].tolist(), read.codes[:2].tolist()) == ([1, 2], [0, 1])
PYTHON

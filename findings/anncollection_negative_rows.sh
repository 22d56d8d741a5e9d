#!/usr/bin/env bash
# Guess: `collection[[0, -1]]` of an AnnCollection is its first and its last cell, as of an AnnData,
# and a position past the end is an error.
#
# Behaviour: with two or more AnnData in the collection, positions below 0 and past the end are left
# out of X, obsm and layers in silence, while obs_names and shape count them: two names, one row of
# values. With one AnnData in it, all works.
#
# Versions: anndata 0.12.19 and 0.13.4.
# Source: anndata, experimental/multi_files/_anncollection.py, `_ConcatViewMixin._resolve_idx`, which
# looks for each position between 0 and the number of cells.
#
# Output seen:
#   AnnData    [[0, -1]]: names ['p0', 'q2'], X of 2 rows
#   collection [[0, -1]]: names ['p0', 'q2'], shape (2, 3), X of 1 rows
#   two rows were asked for, and X[1] is not there
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
from anndata.experimental import AnnCollection


def cells(prefix):
    names = pd.DataFrame(index=[f"{prefix}{i}" for i in range(3)])
    return anndata.AnnData(np.ones((3, 3), np.float32), obs=names)


together = anndata.concat([cells("p"), cells("q")])[[0, -1]]
view = AnnCollection([cells("p"), cells("q")])[[0, -1]]
print(f"AnnData    [[0, -1]]: names {list(together.obs_names)}, X of {together.X.shape[0]} rows")
print(
    f"collection [[0, -1]]: names {list(view.obs_names)}, shape {view.shape}, "
    f"X of {view.X.shape[0]} rows"
)
assert together.X.shape[0] == 2
assert view.shape == (2, 3) and list(view.obs_names) == ["p0", "q2"]
assert view.X.shape == (1, 3)
print("two rows were asked for, and X[1] is not there")
PYTHON

#!/usr/bin/env bash
# Guess: `mdata[cells].copy()` has the cells in the order of `mdata[cells]`, as an AnnData does.
#
# Behaviour: where modalities do not have the same cells, the copy puts those that the first modality
# has first. Its obs and obsm follow, but what was taken by the same list from elsewhere, such as
# states of a model, is then put on other cells, in silence.
#
# Versions: mudata 0.3.10 (anndata 0.12.19), unless pull_on_update is set; 0.4.1 keeps the order.
# Source: mudata, _core/mudata.py, `MuData.copy`, which makes the table of cells anew.
#
# Output seen:
#   mdata[cells]:        ['c5', 'c1', 'c3']
#   mdata[cells].copy(): ['c1', 'c3', 'c5']
#   states of cell c5:   [5.0] before, and [3.0] in the copy that they were put into
# What to do: mudata.set_options(pull_on_update=False), or go by the names of the copy.
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


def measured(cells, feature):
    counts = np.ones((len(cells), 1), np.float32)
    var = pd.DataFrame(index=[feature])
    return anndata.AnnData(counts, obs=pd.DataFrame(index=cells), var=var)


mdata = mudata.MuData({"rna": measured(names[:4], "gene"), "prot": measured(names[2:], "CD3")})
states = np.arange(6.0)[:, None]
cells = [5, 1, 3]
view = mdata[cells]
copy = view.copy()
copy.obsm["X_states"] = states[cells]
of_copy = copy.obsm["X_states"][list(copy.obs_names).index("c5")].tolist()
print("mdata[cells]:       ", list(view.obs_names))
print("mdata[cells].copy():", list(copy.obs_names))
print("states of cell c5:  ", states[5].tolist(), "before, and", of_copy, "in the copy")
assert list(mdata.obs_names) == names
assert list(view.obs_names) == ["c5", "c1", "c3"]
assert list(copy.obs_names) == ["c1", "c3", "c5"]
assert of_copy == [3.0]
PYTHON

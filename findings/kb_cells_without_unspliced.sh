#!/usr/bin/env bash
# Guess: where kb_python puts spliced and unspliced counts into one AnnData (`kb count --workflow
# lamanno --h5ad`), a cell with spliced molecules and no unspliced one keeps its place, with zeros.
#
# Behaviour: only cells that both matrices list are kept, and the files list cells with a count. A cell
# that has no unspliced molecule is dropped with all of its spliced ones, however many, and nothing
# says so; the matrices in the folder beside still have it.
#
# Versions: kb_python 0.30.2, anndata 0.12.19.
# Source: kb_python, kb_python/utils.py, `overlay_anndatas`.
#
# Output seen:
#   cells with spliced molecules: c1 (5), c2 (900); in one AnnData: c1
# What to do: read the matrices, and join the cells by all names (`lucidvi.data.read_splicing` does).
set -euo pipefail
place="$(mktemp -d)"
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet --disable-pip-version-check kb_python==0.30.2 anndata==0.12.19 numpy==2.4.6 scipy==1.17.1 pandas==2.3.3
cd "$place"
"$place/venv/bin/python" -W ignore - <<'PYTHON' || { echo "the behaviour has changed"; exit 1; }
import anndata
import numpy as np
import pandas as pd
from kb_python.utils import overlay_anndatas
from scipy import sparse


def cells(names, counts):
    matrix = sparse.csr_matrix(np.array(counts, float)[:, None])
    return anndata.AnnData(matrix, pd.DataFrame(index=names), pd.DataFrame(index=["gene"]))


spliced, unspliced = cells(["c1", "c2"], [5, 900]), cells(["c1"], [1])
joined = overlay_anndatas(spliced, unspliced)
print("cells with spliced molecules: c1 (5), c2 (900); in one AnnData:", ", ".join(joined.obs_names))
assert list(joined.obs_names) == ["c1"]
PYTHON

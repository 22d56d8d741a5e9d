#!/usr/bin/env bash
# Guess: `concat_on_disk` of sparse files keeps the counts that they have, as `anndata.concat` does, which
# takes a type that holds those of all files.
#
# Behaviour: every sparse file after the first is written in the type of the first. Where that one is
# small, as of a sample that was stored as uint8 since its counts are small, larger counts of the others
# are cut to fit, in silence: 70,000 molecules are 255 or fewer. In the other order nothing is lost, and dense
# matrices are promoted.
#
# Versions: anndata 0.12.19.
# Source: anndata, experimental/merge.py: sparse matrices are appended to the dataset that was made of
# the first one.
#
# Output seen:
#   uint8 first: in memory [5, 70000], on disk [5, 255] as uint8
#   int32 first: in memory [5, 70000], on disk [5, 70000] as int32
#   dense, uint8 first: in memory [5, 70000], on disk [5, 70000] as int32
# What to do: look at the types first, `h5py.File(path)["X/data"].dtype`, and begin with the largest.
set -euo pipefail
place="$(mktemp -d)"
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet --disable-pip-version-check anndata==0.12.19 pandas==2.3.3 dask==2026.8.0
cd "$place"
"$place/venv/bin/python" -W ignore - <<'PYTHON' || { echo "the behaviour has changed"; exit 1; }
import anndata
import numpy as np
import pandas as pd
from anndata.experimental import concat_on_disk
from scipy import sparse


SAMPLES = {"few": np.array([[1, 2]], np.uint8), "many": np.array([[5, 70_000]], np.int32)}


def shown(order, form):
    paths = [f"{name}.h5ad" for name in order]
    for name, counts in SAMPLES.items():
        obs = pd.DataFrame(index=[name])
        anndata.AnnData(form(counts), obs=obs).write_h5ad(f"{name}.h5ad")
    concat_on_disk(paths, "joined.h5ad")
    memory = anndata.concat([anndata.read_h5ad(path) for path in paths])["many"].X
    disk = anndata.read_h5ad("joined.h5ad")
    values = [
        (x.toarray() if sparse.issparse(x) else np.asarray(x)).ravel().tolist()
        for x in (memory, disk["many"].X)
    ]
    return *values, disk.X.dtype.name


seen = {
    "uint8 first": shown(["few", "many"], sparse.csr_matrix),
    "int32 first": shown(["many", "few"], sparse.csr_matrix),
    "dense, uint8 first": shown(["few", "many"], np.asarray),
}
for what, (memory, disk, dtype) in seen.items():
    print(f"{what}: in memory {memory}, on disk {disk} as {dtype}")
assert seen["uint8 first"][0] == [5, 70_000]
assert seen["uint8 first"][1] != [5, 70_000]
assert seen["uint8 first"][2] == "uint8"
assert seen["int32 first"] == ([5, 70_000], [5, 70_000], "int32")
assert seen["dense, uint8 first"][1] == [5, 70_000]
PYTHON

#!/usr/bin/env bash
# Guess: what `write_h5ad` writes, `read_h5ad` reads, or the writing is refused.
#
# Behaviour: a sparse matrix of half precision (float16) in X or a layer is written without a word,
# and the file cannot be read again by `read_h5ad`: scipy has no such type. The dense one is fine.
#
# Versions: anndata 0.12.19 (scipy 1.17.1) and 0.13.4.
# Source: anndata, _io/specs/methods.py, `write_sparse_compressed` and `read_sparse`.
#
# Output seen:
#   dense float16:  written, read again
#   sparse float16: written, then ValueError
# What to do: adata.X = adata.X.astype("float32") before it is written.
set -euo pipefail
place="$(mktemp -d)"
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet --disable-pip-version-check anndata==0.12.19 pandas==2.3.3 scipy==1.17.1
cd "$place"
"$place/venv/bin/python" -W ignore - <<'PYTHON' || { echo "the behaviour has changed"; exit 1; }
import anndata
import numpy as np
from scipy import sparse

counts = np.random.default_rng(0).poisson(0.5, (20, 6)).astype(np.float16)
single = sparse.csr_matrix(counts.astype(np.float32))
half = sparse.csr_matrix((single.data.astype(np.float16), single.indices, single.indptr))
outcomes = {}
for name, matrix in {"dense": counts, "sparse": half}.items():
    anndata.AnnData(matrix).write_h5ad(f"{name}.h5ad")
    try:
        anndata.read_h5ad(f"{name}.h5ad")
        outcomes[name] = "read again"
    except Exception as error:
        outcomes[name] = f"then {type(error).__name__}"
print("dense float16:  written,", outcomes["dense"])
print("sparse float16: written,", outcomes["sparse"])
assert outcomes == {"dense": "read again", "sparse": "then ValueError"}
PYTHON

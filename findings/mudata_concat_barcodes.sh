#!/usr/bin/env bash
# Guess: `mudata.concat` of samples has as many cells as the samples together, as `anndata.concat` does,
# though barcodes be shared among them.
#
# Behaviour: each name is paired with every other cell of that name, at each sample that is added. Ten
# samples of 20 cells make 2,000 rows, and a hundred times the obs of 20 cells.
#
# Versions: mudata 0.3.10 (anndata 0.12.19); 0.4.1 has 200 rows.
# Source: mudata, _core/mudata.py, `MuData._update_attr`, which joins tables by names.
#
# Output seen:
#   anndata.concat: 200 cells
#   mudata.concat:  2000 cells of 200 in its modality
# What to do: mudata.concat({sample: MuData}, index_unique="-").
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

obs = pd.DataFrame(index=[f"barcode{i}" for i in range(20)])
samples = [anndata.AnnData(np.ones((20, 2), np.float32), obs=obs.copy()) for _ in range(10)]
alone = anndata.concat(samples)
joined = mudata.concat([mudata.MuData({"rna": sample}) for sample in samples])
named = {str(i): mudata.MuData({"rna": sample}) for i, sample in enumerate(samples)}
print("anndata.concat:", alone.n_obs, "cells")
print("mudata.concat: ", joined.n_obs, "cells of", joined["rna"].n_obs, "in its modality")
assert (alone.n_obs, joined.n_obs, joined["rna"].n_obs) == (200, 2000, 200)
assert mudata.concat(named, index_unique="-").n_obs == 200
PYTHON

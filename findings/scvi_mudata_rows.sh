#!/usr/bin/env bash
# Guess: models of a MuData, such as `TOTALVI.setup_mudata`, take the modalities of a cell by its name,
# as MuData itself does.
#
# Behaviour: they take them by row. Where a modality lists the same cells in another order, which a
# MuData may hold and `update()` leaves as it is, RNA is paired with the proteins of other cells, in
# silence. So does MULTIVI.
#
# Versions: scvi-tools 1.4.2 (mudata 0.3.10).
# Source: scvi-tools, data/fields, the fields of layers, each of which takes rows of its own modality.
#
# Output seen:
#   proteins of c0, by mdata["c0"]: [1.0, 1.0]
#   what TOTALVI reads of c0:       RNA [1.0, 1.0], proteins [4.0, 4.0]
#   what MULTIVI reads of c0:       RNA [1.0, 1.0], proteins [4.0, 4.0]
# What to do: mdata.mod["prot"] = mdata.mod["prot"][mdata.mod["rna"].obs_names].copy().
set -euo pipefail
place="$(mktemp -d)"
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet --disable-pip-version-check scvi-tools==1.4.2 anndata==0.12.19 mudata==0.3.10 pandas==2.3.3 torch==2.13.0 numpy==2.4.6
cd "$place"
"$place/venv/bin/python" -W ignore - <<'PYTHON' || { echo "the behaviour has changed"; exit 1; }
import anndata
import mudata
import numpy as np
import pandas as pd
from scvi.dataloaders import AnnDataLoader
from scvi.model import MULTIVI, TOTALVI

names = [f"c{i}" for i in range(4)]
counts = np.repeat(np.arange(1, 5, dtype=np.float32)[:, None], 2, axis=1)
rna, proteins = (
    anndata.AnnData(
        counts.copy(),
        obs=pd.DataFrame(index=names),
        var=pd.DataFrame(index=[f"{kind}{i}" for i in range(2)]),
    )
    for kind in ("gene", "protein")
)
mdata = mudata.MuData({"rna": rna, "prot": proteins[::-1].copy()})
mdata.update()
of_name = mdata[["c0"]]["prot"].X[0].tolist()
print('proteins of c0, by mdata["c0"]:', of_name)
for model_class in (TOTALVI, MULTIVI):
    own = mdata.copy()
    model_class.setup_mudata(own, modalities={"rna_layer": "rna", "protein_layer": "prot"})
    size = {} if model_class is TOTALVI else {"n_genes": 2, "n_regions": 0}
    model = model_class(own, **size)
    assert list(own.obs_names) == names
    minibatch = next(iter(AnnDataLoader(model.adata_manager, batch_size=4)))
    read = [minibatch[key][0].tolist() for key in ("X", "proteins")]
    print(f"what {model_class.__name__} reads of c0:       RNA {read[0]}, proteins {read[1]}")
    assert read == [[1.0, 1.0], [4.0, 4.0]]
assert of_name == [1.0, 1.0]
PYTHON

#!/usr/bin/env bash
# Guess: `mudata.concat(samples, join="outer")` keeps what any sample has: a modality that one of them
# lacks is there for the others, as a MuData holds it.
#
# Behaviour: such a modality is dropped, for the samples that have it too, in silence; `join` is about
# the features within modalities that all share.
#
# Versions: mudata 0.3.10 (anndata 0.12.19) and 0.4.1 (anndata 0.13.4).
# Source: mudata, _core/merge.py, `concat`, which keeps the modalities common to all.
#
# Output seen:
#   MuData of both kinds of cells:    {'rna': 8, 'prot': 4}
#   mudata.concat, join="outer":      {'rna': 8}
# What to do: concatenate each modality by itself, and make a MuData of them.
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


def sample(name, feature):
    obs = pd.DataFrame(index=[f"{name}{i}" for i in range(4)])
    return anndata.AnnData(np.ones((4, 1), np.float32), obs=obs, var=pd.DataFrame(index=[feature]))


def cells(mdata):
    return {name: adata.n_obs for name, adata in mdata.mod.items()}


first = {"rna": sample("a", "gene"), "prot": sample("a", "protein")}
second = {"rna": sample("b", "gene")}
rna = anndata.concat([first["rna"], second["rna"]])
by_hand = cells(mudata.MuData({"rna": rna, "prot": first["prot"]}))
joined = cells(mudata.concat([mudata.MuData(first), mudata.MuData(second)], join="outer"))
print("MuData of both kinds of cells:   ", by_hand)
print('mudata.concat, join="outer":     ', joined)
assert by_hand == {"rna": 8, "prot": 4}
assert joined == {"rna": 8}
PYTHON

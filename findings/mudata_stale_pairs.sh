#!/usr/bin/env bash
# Guess: `mdata[["c0"]]` is the cell of that name in every modality; where a modality was replaced since,
# it is found by its name, or refused until `update()`.
#
# Behaviour: the position that the cell had is kept. After a modality was put in another order, a view
# of one cell has the RNA of it and the proteins of another, in silence; and a copy of the view of one
# cell has two. Only a modality that became too short for the position is refused.
#
# Versions: mudata 0.3.10 (anndata 0.12.19) and 0.4.1 (anndata 0.13.4).
# Source: mudata, _core/mudata.py, `MuData._init_as_view`, which indexes by `obsmap`.
#
# Output seen:
#   mdata[["c0"]]:         RNA of ['c0'], proteins of ['c3']
#   mdata[["c0"]].copy():  ['c0', 'c3']
#   after mdata.update():  RNA of ['c0'], proteins of ['c0']
# What to do: mdata.update() after every change of a modality's cells.
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


def measured(feature):
    obs = pd.DataFrame(index=[f"c{i}" for i in range(4)])
    var = pd.DataFrame(index=[feature])
    return anndata.AnnData(np.ones((4, 1), np.float32), obs=obs, var=var)


def pair(mdata):
    return [list(mdata[["c0"]][name].obs_names) for name in ("rna", "prot")]


mdata = mudata.MuData({"rna": measured("gene"), "prot": measured("CD3")})
mdata.mod["prot"] = mdata.mod["prot"][::-1].copy()
stale, copied = pair(mdata), sorted(mdata[["c0"]].copy().obs_names)
mdata.update()
fresh = pair(mdata)
print('mdata[["c0"]]:        RNA of {}, proteins of {}'.format(*stale))
print('mdata[["c0"]].copy():', copied)
print("after mdata.update(): RNA of {}, proteins of {}".format(*fresh))
assert stale == [["c0"], ["c3"]] and copied == ["c0", "c3"]
assert fresh == [["c0"], ["c0"]]
PYTHON

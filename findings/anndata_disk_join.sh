#!/usr/bin/env bash
# Guess: `concat_on_disk` of files makes what `anndata.concat` makes of the same cells with the same
# arguments: "outer" keeps what any file has, "inner" what all have.
#
# Behaviour: what is in obsm goes by another rule. A key of obsm or layers that one file lacks is
# dropped under "outer" too. Of tables that all have, all columns are kept if the genes of the files are
# the same, and those common to all if not, whatever `join` says: an antibody of one panel is lost with
# "outer" because of a gene. `uns_merge` does nothing. All of it in silence.
#
# Versions: anndata 0.12.19 and 0.13.4.
# Source: anndata, experimental/merge.py, `_concat_on_disk_inner`, whose call for obsm passes no join.
#
# Output seen: antibodies that are kept of CD3, CD4 of one file and CD4, CD8 of another
#   same genes, inner: in memory CD4; on disk CD3 CD4 CD8
#   same genes, outer: in memory CD3 CD4 CD8; on disk CD3 CD4 CD8
#   other genes, inner: in memory CD4; on disk CD4
#   other genes, outer: in memory CD3 CD4 CD8; on disk CD4
#   a file without antibodies, outer: in memory CD3 CD4; on disk none
#   uns with uns_merge="same": in memory ['panel']; on disk []
# What to do: concatenate the tables of obsm in memory, and put them into the result.
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


def sample(name, genes, antibodies):
    obs = pd.DataFrame(index=[f"{name}{i}" for i in range(2)])
    counts = np.ones((2, len(genes)), np.float32)
    adata = anndata.AnnData(counts, obs=obs, var=pd.DataFrame(index=genes))
    adata.uns["panel"] = "B"
    if antibodies:
        table = np.ones((2, len(antibodies)))
        adata.obsm["prot"] = pd.DataFrame(table, index=obs.index, columns=antibodies)
    return adata


def kept(adata):
    return " ".join(sorted(adata.obsm["prot"].columns)) if "prot" in adata.obsm else "none"


def compared(second, **arguments):
    samples = [sample("a", ["g0", "g1"], ["CD3", "CD4"]), second]
    for name, adata in zip("ab", samples, strict=True):
        adata.write_h5ad(f"{name}.h5ad")
    concat_on_disk(["a.h5ad", "b.h5ad"], "both.h5ad", **arguments)
    return anndata.concat(samples, **arguments), anndata.read_h5ad("both.h5ad")


seen = {}
for what, genes in (("same", ["g0", "g1"]), ("other", ["g0", "g2"])):
    for join in ("inner", "outer"):
        both = compared(sample("b", genes, ["CD4", "CD8"]), join=join)
        seen[what, join] = tuple(map(kept, both))
        print(f"{what} genes, {join}: in memory {seen[what, join][0]}; on disk {seen[what, join][1]}")
lacking = tuple(map(kept, compared(sample("b", ["g0", "g1"], []), join="outer")))
print(f"a file without antibodies, outer: in memory {lacking[0]}; on disk {lacking[1]}")
uns = [list(one.uns) for one in compared(sample("b", ["g0", "g1"], []), uns_merge="same")]
print(f'uns with uns_merge="same": in memory {uns[0]}; on disk {uns[1]}')
assert seen["same", "inner"] == ("CD4", "CD3 CD4 CD8")
assert seen["other", "outer"] == ("CD3 CD4 CD8", "CD4")
assert lacking == ("CD3 CD4", "none")
assert uns == [["panel"], []]
PYTHON

"""Whether all features are of one kind: a model of counts has one library size for them all."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

from lucidvi.data._remedies import quoted, taken
from lucidvi.errors import DataError

#: Columns of ``var`` in which Cell Ranger, Space Ranger, muon and scvi-tools say the kind.
COLUMNS = ("feature_types", "feature_type", "modality", "modalities", "feature_class")
#: Kinds by the names that are in use, in lower case, and the modality of a MuData for each.
GENES = ("gene expression", "genes", "gene", "rna", "mrna", "gex", "expression", "transcripts")
OTHERS = {
    "antibody capture": "prot",
    "antibody": "prot",
    "antibodies": "prot",
    "protein": "prot",
    "proteins": "prot",
    "protein expression": "prot",
    "adt": "prot",
    "cite": "prot",
    "prot": "prot",
    "peaks": "atac",
    "peak": "atac",
    "atac": "atac",
    "chromatin accessibility": "atac",
    "crispr guide capture": "guides",
    "crispr": "guides",
    "guide": "guides",
    "guides": "guides",
    "grna": "guides",
    "sgrna": "guides",
    "multiplexing capture": "tags",
    "cell hashing": "tags",
    "hashtag": "tags",
    "hto": "tags",
    "cmo": "tags",
    "antigen capture": "antigens",
    "custom": "custom",
    "negative control probe": "controls",
    "negative control codeword": "controls",
    "unassigned codeword": "controls",
    "blank codeword": "controls",
    "deprecated codeword": "controls",
    "genomic control": "controls",
}


def check_one_kind(adata: AnnData) -> None:
    """Raise DataError if features of several kinds are to be modelled by one library size.

    Features of one kind that are no genes are taken: proteins alone can be modelled on purpose.

    Parameters
    ----------
    adata
        The cells. The kinds are looked for in the columns of ``var`` in which they usually are.
    """
    for column in (column for column in COLUMNS if column in adata.var):
        values = pd.Series(np.asarray(adata.var[column], dtype=object))
        kinds = {value: _kind(value) for value in values.dropna().unique()}
        named = {kind for kind in kinds.values() if kind}
        if len(named) > 1 or (column == "feature_types" and "rna" in named and len(kinds) > 1):
            raise _several_kinds(adata, column, values, kinds)


def _kind(value: Any) -> str:
    """Return the modality of a MuData where such features belong; empty if it is not known."""
    name = re.sub(r"[\s_-]+", " ", str(value)).strip().lower()
    return "rna" if name in GENES else OTHERS.get(name, "")


def _several_kinds(
    adata: AnnData, column: str, values: pd.Series, kinds: dict[Any, str]
) -> DataError:
    sizes = values.value_counts().loc[list(kinds)]
    listed = ", ".join(f"{size:,} {str(value)!r}" for value, size in sizes.items())
    place = f"adata.var[{quoted(column)}]"
    # Genes if there are any, else the kind with the most features.
    first = next((value for value in kinds if kinds[value] == "rna"), sizes.idxmax())
    names = _modality_names(kinds)
    split = taken(adata, f":, {place} == {quoted(first)}")
    modalities = ", ".join(
        f"{quoted(names[value])}: "
        + taken(adata, f":, {place} == {quoted(value)}").removeprefix("adata = ")
        for value in kinds
    )
    mudata = f"mdata = mudata.MuData({{{modalities}}})"
    return DataError(
        f"{place} says that the features are of {len(kinds)} kinds: {listed}. One model of counts "
        "would take them all for genes, with one library size.",
        remedy=f"keep one kind: {split}. To keep them all, by modality: {mudata}. If they are to "
        f"be modelled alike all the same: del {place}",
        code=[split, f"del {place}"],
    )


def _modality_names(kinds: dict[Any, str]) -> dict[Any, str]:
    """Return a name for each kind, unique."""
    names: dict[Any, str] = {}
    for value, kind in kinds.items():
        name = kind or re.sub(r"\W+", "_", str(value)).strip("_").lower() or "other"
        names[value] = name if name not in names.values() else f"{name}_{len(names)}"
    return names

"""What to do where an AnnData lacks genes of a model: never take them for zeros unasked."""

from __future__ import annotations

import pandas as pd
from anndata import AnnData

from lucidvi.errors import GeneMismatchError, first_few

LEFT_OUT = (
    "leave the missing genes out of the likelihood, "
    "`filled = SCVI.prepare_query_anndata(adata, model, inplace=False)` and "
    "`model.refine_posterior(filled, genes=adata.var_names.intersection(model.get_var_names()))`, "
    "or map the cells onto a reference, which does so too: "
    "`lucidvi.atlas.Reference.from_model(model, labels_key=...).map(adata)`. `filled` alone would "
    "take them for zeros."
)
#: Share of the model's genes that other names have to be, to be meant.
MOST = 0.5


def genes_missing(adata: AnnData, genes: pd.Index, missing: pd.Index) -> GeneMismatchError:
    """Return the error for data without some of the genes of a model.

    Parameters
    ----------
    adata
        The cells.
    genes
        Names of the model's genes.
    missing
        Those that `adata` lacks.
    """
    problem = (
        f"adata lacks {len(missing):,} of the model's {len(genes):,} genes: {first_few(missing)}."
    )
    by_lower_case = {str(name).lower(): name for name in adata.var_names}
    respelled = [name for name in missing if str(name).lower() in by_lower_case]
    if respelled:
        problem += (
            f" {len(respelled):,} of them differ in upper and lower case only: "
            f"{by_lower_case[str(respelled[0]).lower()]!r} in adata is {respelled[0]!r} in the "
            "model."
        )
        remedy = f"{_rename(respelled)} Genes that are then still missing: {LEFT_OUT}"
        return GeneMismatchError(problem, remedy=remedy)
    problem += f" adata has {first_few(adata.var_names)}."
    code = _other_names(adata, genes, len(genes) - len(missing))
    if code is not None:
        return GeneMismatchError(problem, remedy=f"{code}  # these are the model's names")
    if len(missing) == len(genes):
        remedy = "give adata the names that the model has for its genes, adata.var_names = ..."
        return GeneMismatchError(problem, remedy=remedy)
    return GeneMismatchError(problem, remedy=LEFT_OUT)


def _other_names(adata: AnnData, genes: pd.Index, n_now: int) -> str | None:
    """Return code that names the genes of `adata` as most of the model's are, if some does."""
    candidates = {
        f'adata.var_names = adata.var["{column}"].astype(str)': adata.var[column].astype(str)
        for column in adata.var.columns
    }
    without_version = adata.var_names.astype(str).str.replace(r"\.\d+$", "", regex=True)
    candidates['adata.var_names = adata.var_names.str.replace(r"\\.\\d+$", "", regex=True)'] = (
        without_version
    )
    n_matches = {code: int(genes.isin(names).sum()) for code, names in candidates.items()}
    best = max(n_matches, key=lambda code: n_matches[code])
    return best if n_matches[best] > max(n_now, MOST * len(genes)) else None


def _rename(respelled: list[str]) -> str:
    if all(name.isupper() for name in respelled):
        return "adata.var_names = adata.var_names.str.upper()."
    return "rename the genes of adata as in the model."

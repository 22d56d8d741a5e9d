"""Genes whose expression goes along with a fate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse, stats

from lucidvi._random import isolated
from lucidvi.errors import DataError, ModelTypeError
from lucidvi.model import capable, has_capability

Array = NDArray[np.float64]
#: Fewest cells with a fate: of fewer, Fisher's z has no standard error.
FEWEST = 4
#: Draws of the states of cells that expression is a mean over.
N_DRAWS = 10
#: Correlations nearer to one than this are taken for this in Fisher's z.
MOST = 1 - 1e-12


def driver_genes(
    expression: Any, fates: pd.DataFrame, *, genes: Sequence[str] | pd.Index | None = None
) -> pd.DataFrame:
    r"""Return how far the expression of each gene goes along with the probability of each fate.

    For Pearson's correlation :math:`r` over :math:`n` cells, Fisher's

    .. math::
        z = \operatorname{artanh} r, \qquad \operatorname{se}(z) = \frac{1}{\sqrt{n - 3}}

    is normal about zero without a correlation. It says which genes are higher in cells that are
    likelier to have a fate, and nothing of causes: genes that mark a fate come out as those that
    make it. Nor does it count cells as they should be, since cells near to each other have about
    the same fate and expression; p-values order genes, and are too small for much else. With
    two fates, the correlations with one are those with the other, with the sign changed.

    Parameters
    ----------
    expression
        Expression on a log scale, such as log of normalised counts, shape ``(n_cells, n_genes)``:
        an array, a sparse matrix or a DataFrame. Or a trained model, of which
        ``log1p`` of the normalised expression per 10,000 molecules is taken, a mean of ten draws.
    fates
        Probabilities of :func:`fate_probabilities`, a row a cell in the same order; cells with NaN
        are left out.
    genes
        Names of the genes; by default the columns of a DataFrame, or numbers. Of a model, which
        genes; by default all.

    Returns
    -------
    A row a gene and fate, by fate and then by correlation, the highest first: ``fate``,
    ``gene``, ``correlation``, ``z`` (Fisher's), ``se``, ``p_value`` (of two sides) and
    ``q_value``, that of Benjamini and Hochberg over the genes of a fate. All but the names are
    NaN for genes or fates that do not vary.

    Raises
    ------
    lucidvi.errors.DataError
        If the cells are not the same, or too few, or expression is not finite.

    References
    ----------
    Fisher, Metron 1 (1921), 3. Benjamini and Hochberg, J. R. Stat. Soc. B 57 (1995), 289.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from lucidvi import dynamics
    >>> left = np.linspace(0, 1, 50)
    >>> fates = pd.DataFrame({"left": left, "right": 1 - left})
    >>> expression = np.column_stack([2 * left, np.cos(20 * left)])
    >>> drivers = dynamics.driver_genes(expression, fates, genes=["A", "B"])
    >>> drivers["gene"].tolist()
    ['A', 'B', 'B', 'A']
    """
    if hasattr(expression, "get_latent_representation"):
        model = capable(expression, "counts")
        if has_capability(model, "several modalities"):
            raise ModelTypeError(
                "`expression` is a model of several modalities, whose genes are to be named.",
                remedy="driver_genes(np.log1p(1e4 * model.get_normalized('rna')), fates)",
            )
        with isolated(0):
            drawn = model.get_normalized_expression(
                gene_list=genes, library_size=1e4, n_samples=N_DRAWS
            )
        expression = np.log1p(drawn)
        genes = None
    names = _gene_names(expression, genes)
    matrix = _matrix(expression, names)
    weights = _weights(expression, fates, matrix.shape[0])
    known = np.asarray(np.isfinite(weights).all(axis=1))
    if known.sum() < FEWEST:
        raise DataError(
            f"`fates` are known of {known.sum():,} of {len(known):,} cells.",
            remedy=f"give those of {FEWEST} cells at least.",
        )
    correlation = _correlations(matrix[known], weights[known])
    se = 1 / np.sqrt(known.sum() - 3)
    tables = []
    for fate, r in zip(fates.columns, correlation.T, strict=True):
        z = np.arctanh(np.clip(r, -MOST, MOST))
        p_value = 2 * stats.norm.sf(np.abs(z) / se)
        table = pd.DataFrame(
            {"fate": fate, "gene": names, "correlation": r, "z": z, "se": se, "p_value": p_value}
        )
        table.loc[np.isnan(r), "se"] = np.nan
        tested = table["p_value"].notna()
        table.loc[tested, "q_value"] = stats.false_discovery_control(table["p_value"][tested])
        tables.append(table.sort_values("correlation", ascending=False, kind="stable"))
    return pd.concat(tables, ignore_index=True)


def _correlations(matrix: Any, weights: Array) -> Array:
    """Return correlations of genes with fates, shape ``(n_genes, n_fates)``; NaN of constants."""
    n = len(weights)
    centred = weights - weights.mean(axis=0)
    mean = np.asarray(matrix.mean(axis=0)).ravel()
    if sparse.issparse(matrix):
        squares = np.asarray(matrix.multiply(matrix).mean(axis=0)).ravel() - mean**2
    else:
        squares = ((matrix - mean) ** 2).mean(axis=0)
    # Of what is constant, rounding leaves something other than zero.
    least = (1e-7 * np.maximum(np.abs(mean), 1e-300)) ** 2
    spread = np.sqrt(np.where(squares > least, squares, np.nan))
    width = centred.std(axis=0)
    width = np.where(width > 1e-12, width, np.nan)
    return np.clip(np.asarray(matrix.T @ centred) / n / spread[:, None] / width, -1, 1)


def _gene_names(expression: Any, genes: Any) -> pd.Index:
    if hasattr(expression, "obs_names"):
        raise DataError(
            f"`expression` is {type(expression).__name__}, which may hold several of a cell.",
            remedy="driver_genes(adata.X, fates, genes=adata.var_names), on a log scale.",
        )
    if len(getattr(expression, "shape", ())) != 2:
        raise DataError(
            f"`expression` is a {type(expression).__name__} of no two dimensions.",
            remedy="give an array of cells by genes.",
        )
    n_genes = expression.shape[1]
    if genes is None:
        is_frame = isinstance(expression, pd.DataFrame)
        return expression.columns if is_frame else pd.RangeIndex(n_genes)
    names = pd.Index(genes)
    if len(names) != n_genes:
        raise DataError(
            f"`genes` has {len(names):,} names, and `expression` {n_genes:,} columns.",
            remedy="give a name for each.",
        )
    return names


def _matrix(expression: Any, names: pd.Index) -> Any:
    """Return expression in double precision, dense or in CSR, or raise where it is not finite."""
    try:
        if sparse.issparse(expression):
            matrix = sparse.csr_array(expression, dtype=np.float64)
            values, columns = matrix.data, matrix.indices
        else:
            matrix = np.asarray(expression, dtype=np.float64)
            values, columns = matrix, np.arange(matrix.shape[1])
    except (TypeError, ValueError):
        raise DataError(
            f"`expression` is a {type(expression).__name__} of what is no number.",
            remedy="give an array of cells by genes, on a log scale.",
        ) from None
    bad = ~np.isfinite(values)
    if bad.any():
        found = np.unique(columns[bad] if bad.ndim == 1 else np.flatnonzero(bad.any(axis=0)))
        raise DataError(
            f"`expression` is not finite in {len(found):,} of {len(names):,} genes, "
            f"{str(names[found[0]])!r} first.",
            remedy="leave these genes out, or take the log of a number above zero.",
        )
    return matrix


def _weights(expression: Any, fates: Any, n_cells: int) -> Array:
    if not isinstance(fates, pd.DataFrame) or not fates.shape[1]:
        raise DataError(
            f"`fates` is a {type(fates).__name__}, and not a table of probabilities.",
            remedy="fates = dynamics.fate_probabilities(z, velocity, terminal)",
        )
    if len(fates) != n_cells:
        raise DataError(
            f"`fates` has {len(fates):,} rows, and `expression` {n_cells:,} cells.",
            remedy="give both of the same cells.",
        )
    if isinstance(expression, pd.DataFrame) and not (
        isinstance(fates.index, pd.RangeIndex)
        or isinstance(expression.index, pd.RangeIndex)
        or fates.index.equals(expression.index)
    ):
        raise DataError(
            "`fates` has other names of cells than `expression`, or another order.",
            remedy="put `fates` in the order of the cells, fates.loc[names].",
        )
    return fates.to_numpy(dtype=np.float64)

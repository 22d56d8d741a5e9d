"""Log likelihood of a cell, of all genes or of those that were measured, for any scvi module."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from lucidvi import kernels
from lucidvi.distributions import Likelihood, adopt


def log_likelihood(
    px: Any, x: Tensor, genes: Tensor | None = None, renormalize: bool = False
) -> Tensor:
    r"""Sum of the log probability of the measured genes' counts, in nats.

    Parameters
    ----------
    px
        Likelihood of all genes, LucidVI's or scvi-tools', shape ``(..., n_cells, n_genes)``.
    x
        Counts of the measured genes (linear), dense or CSR.
    genes
        Which genes were measured, a mask of shape ``(n_genes,)``; all by default.
    renormalize
        See :meth:`lucidvi.distributions.Likelihood.of_features`.

    Returns
    -------
    Shape ``(..., n_cells)``.
    """
    if genes is not None:
        px = of_genes(px, genes, renormalize)
    if isinstance(px, Likelihood):
        return px.log_likelihood(x)
    return px.log_prob(kernels.to_dense(x)).sum(dim=-1)


def of_genes(px: Any, genes: Tensor, renormalize: bool) -> Likelihood:
    """Return the likelihood of some genes, see :func:`log_likelihood`."""
    return adopt(px).of_features(genes, renormalize)

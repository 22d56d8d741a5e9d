"""Log likelihood of a cell, of all genes or of those that were measured, for any scvi module."""

from __future__ import annotations

from typing import Any

import scvi.distributions
import torch
from torch import Tensor

from lucidvi import kernels
from lucidvi.distributions import (
    CountLikelihood,
    NegativeBinomial,
    Normal,
    Poisson,
    ZeroInflatedNegativeBinomial,
)
from lucidvi.errors import ModelTypeError

#: Our likelihood for each of scvi-tools' (and of ours, which are subclasses), first match first,
#: and the parameters besides the mean: their names there and here, and whether there is a log
#: between.
KINDS: tuple[tuple[type, type, tuple[tuple[str, str, bool], ...]], ...] = (
    (
        scvi.distributions.ZeroInflatedNegativeBinomial,
        ZeroInflatedNegativeBinomial,
        (("theta", "log_theta", True), ("zi_logits", "zi_logits", False)),
    ),
    (scvi.distributions.NegativeBinomial, NegativeBinomial, (("theta", "log_theta", True),)),
    (scvi.distributions.Poisson, Poisson, ()),
    (scvi.distributions.Normal, Normal, (("scale", "log_theta", True),)),
)


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
        Let the normalized expression sum to one over the measured genes alone:
        :math:`\mu_g / \sum_{h\ \text{measured}} \rho_h`. For an exposure that is the total of
        the measured counts.

    Returns
    -------
    Shape ``(..., n_cells)``.
    """
    if genes is not None:
        px = of_genes(px, genes, renormalize)
    if hasattr(px, "log_likelihood"):
        return px.log_likelihood(x)
    return px.log_prob(kernels.to_dense(x)).sum(dim=-1)


def of_genes(px: Any, genes: Tensor, renormalize: bool) -> CountLikelihood | Normal:
    """Return the likelihood of some genes, see :func:`log_likelihood`."""
    known = [(ours, names) for theirs, ours, names in KINDS if isinstance(px, theirs)]
    if not known:
        raise ModelTypeError(
            f"The module's likelihood is a {type(px).__name__}, which has to hold all genes.",
            remedy="Leave out `genes`.",
        )
    ours, names = known[0]
    parameters = {}
    for name, own_name, is_linear in names:
        value = getattr(px, name)[..., genes]
        parameters[own_name] = _log(value) if is_linear else value
    log_mu = px.log_mu if isinstance(px, CountLikelihood) else _log(px.get_normalized("mu"))
    log_mu = log_mu[..., genes]
    if renormalize:
        log_mu = log_mu - _log(px.get_normalized("scale")[..., genes].sum(dim=-1, keepdim=True))
    return ours(log_scale=log_mu, log_library=torch.zeros_like(log_mu[..., :1]), **parameters)


def _log(x: Tensor) -> Tensor:
    return x.clamp(min=torch.finfo(x.dtype).tiny).log()

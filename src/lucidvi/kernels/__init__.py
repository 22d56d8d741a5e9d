"""Fused log likelihoods and their gradients, and first and last layers for many genes."""

from lucidvi.kernels._csr import (
    as_csr,
    copy_rows,
    csr,
    csr_parts,
    gather_rows,
    gene_major,
    is_csr,
    linear,
    log1p,
    row_index,
    row_sums,
    select_rows,
    to_dense,
)
from lucidvi.kernels._formulas import FORMULAS, LOG_MU_MAX, log_prob
from lucidvi.kernels._layers import (
    activate,
    can_activate,
    normal_heads,
    standard_normal_kl,
)
from lucidvi.kernels._likelihoods import log_likelihood, reference
from lucidvi.kernels._team import plain_torch
from lucidvi.kernels._warm_up import warm_up
from lucidvi.kernels._wide import wide_linear

__all__ = [
    "FORMULAS",
    "LOG_MU_MAX",
    "activate",
    "as_csr",
    "can_activate",
    "copy_rows",
    "csr",
    "csr_parts",
    "gather_rows",
    "gene_major",
    "is_csr",
    "linear",
    "log1p",
    "log_likelihood",
    "log_prob",
    "normal_heads",
    "plain_torch",
    "reference",
    "row_index",
    "row_sums",
    "select_rows",
    "standard_normal_kl",
    "to_dense",
    "warm_up",
    "wide_linear",
]

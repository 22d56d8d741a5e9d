"""Fused log likelihoods and their gradients, and first and last layers for many genes."""

from lucidvi.kernels._compile import compiled
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
from lucidvi.kernels._expansions import expanded_log_likelihood
from lucidvi.kernels._formulas import (
    LOG_MU_MAX,
    Family,
    log_prob,
    nb_count,
    nb_growth,
    nb_zero,
    poisson_count,
    poisson_growth,
    poisson_zero,
    take,
    zinb_count,
    zinb_zero,
)
from lucidvi.kernels._layers import (
    activate,
    can_activate,
    normal_heads,
    standard_normal_kl,
)
from lucidvi.kernels._likelihoods import log_likelihood, reference
from lucidvi.kernels._nearest import Points
from lucidvi.kernels._states import (
    StateCounts,
    log_likelihood_of_logits,
    log_likelihood_of_states,
)
from lucidvi.kernels._team import plain_torch
from lucidvi.kernels._warm_up import warm_up
from lucidvi.kernels._wide import wide_linear

__all__ = [
    "LOG_MU_MAX",
    "Family",
    "Points",
    "StateCounts",
    "activate",
    "as_csr",
    "can_activate",
    "compiled",
    "copy_rows",
    "csr",
    "csr_parts",
    "expanded_log_likelihood",
    "gather_rows",
    "gene_major",
    "is_csr",
    "linear",
    "log1p",
    "log_likelihood",
    "log_likelihood_of_logits",
    "log_likelihood_of_states",
    "log_prob",
    "nb_count",
    "nb_growth",
    "nb_zero",
    "normal_heads",
    "plain_torch",
    "poisson_count",
    "poisson_growth",
    "poisson_zero",
    "reference",
    "row_index",
    "row_sums",
    "select_rows",
    "standard_normal_kl",
    "take",
    "to_dense",
    "warm_up",
    "wide_linear",
    "zinb_count",
    "zinb_zero",
]

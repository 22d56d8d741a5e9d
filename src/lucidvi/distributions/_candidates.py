"""Which likelihoods an audit tries in place of a model's, and what it asks of that."""

from __future__ import annotations

from typing import Any, NamedTuple

from lucidvi.distributions._likelihood import Likelihood
from lucidvi.distributions._parameter import Question
from lucidvi.distributions._table import FAMILIES, LIKELIHOODS, likelihood_of

#: Ending of the name of a family whose parameters of genes differ between batches.
BY_BATCH = " by batch"


class Candidate(NamedTuple):
    """A family, and whether its parameters of genes differ between batches."""

    family: type[Likelihood]
    by_batch: bool


def candidates() -> dict[str, Candidate]:
    """Return all that can be tried for counts, by name."""
    families = [family for family in LIKELIHOODS.values() if family.is_counts]
    alike = {family.family: Candidate(family, by_batch=False) for family in families}
    by_batch = {
        family.family + BY_BATCH: Candidate(family, by_batch=True)
        for family in families
        if family.tried_by_batch
    }
    return alike | by_batch


def candidate_of(module: Any) -> str:
    """Return the name that the likelihood of a module has among them, trying it or not."""
    family = likelihood_of(module)
    by_batch = getattr(module, "dispersion", "") == "gene-batch" and family.names("gene")
    return family.family + (BY_BATCH if by_batch else "")


def questions_about(name: str) -> tuple[Question, ...]:
    """Return what is asked of a model, by the name of :func:`candidate_of`."""
    name, is_by_batch = name.removesuffix(BY_BATCH), name.endswith(BY_BATCH)
    family = LIKELIHOODS.get(name) or FAMILIES[name]
    return family.questions_by_batch if is_by_batch else family.questions


def dispersed(family: str) -> str:
    """Return a family whose parameters of genes can differ between batches: the same if it can."""
    likelihood = LIKELIHOODS.get(family)
    can = likelihood is not None and likelihood.is_counts and likelihood.names("gene")
    return family if can else "nb"

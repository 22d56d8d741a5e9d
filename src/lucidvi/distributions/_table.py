"""The table of all likelihoods, and the ways into it."""

from __future__ import annotations

from typing import Any

from lucidvi.distributions._bernoulli import Bernoulli
from lucidvi.distributions._likelihood import Likelihood
from lucidvi.distributions._negative_binomial import NegativeBinomial
from lucidvi.distributions._negative_binomial_mixture import NegativeBinomialMixture
from lucidvi.distributions._normal import Normal
from lucidvi.distributions._poisson import Poisson
from lucidvi.distributions._zero_inflated_negative_binomial import ZeroInflatedNegativeBinomial
from lucidvi.errors import ModelTypeError

#: The values of ``gene_likelihood``.
LIKELIHOODS: dict[str, type[Likelihood]] = {
    "nb": NegativeBinomial,
    "zinb": ZeroInflatedNegativeBinomial,
    "poisson": Poisson,
    "normal": Normal,
}
#: All families by name: those of genes, and those that only other modalities have.
FAMILIES: dict[str, type[Likelihood]] = {
    **LIKELIHOODS,
    "nb_mixture": NegativeBinomialMixture,
    "bernoulli": Bernoulli,
}


def likelihood_of(module: Any) -> type[Likelihood]:
    """Return the family of a module, LucidVI's or scvi-tools', of several the main modality's.

    Raises
    ------
    lucidvi.errors.ModelTypeError
        If it is none of :data:`LIKELIHOODS`.
    """
    if hasattr(module, "modalities"):
        return next(iter(module.modalities.values())).likelihood
    name = getattr(module, "gene_likelihood", None)
    if name not in LIKELIHOODS:
        raise ModelTypeError(
            f"The likelihood of the {type(module).__name__} is {name!r}, which LucidVI does not "
            "have.",
            remedy=f"Use a model with one of {', '.join(LIKELIHOODS)}.",
        )
    return LIKELIHOODS[name]


def adopt(px: Any) -> Likelihood:
    """Return LucidVI's likelihood with the numbers of one of scvi-tools', or of LucidVI's own.

    Parameters
    ----------
    px
        Likelihood, shape ``(..., n_cells, n_genes)``.

    Raises
    ------
    lucidvi.errors.ModelTypeError
        If it is of none of the families of :data:`LIKELIHOODS`.
    """
    if isinstance(px, Likelihood):
        return type(px).adopt(px)
    families = [
        family
        for family in LIKELIHOODS.values()
        if family.adopts is not None and isinstance(px, family.adopts)
    ]
    if not families:
        raise ModelTypeError(
            f"The module's likelihood is a {type(px).__name__}, which LucidVI does not have.",
            remedy=f"Use a model with one of {', '.join(LIKELIHOODS)}.",
        )
    # A zero-inflated negative binomial is a negative binomial, too: the closest has most bases.
    return max(families, key=lambda family: len(family.adopts.__mro__)).adopt(px)  # type: ignore[union-attr]

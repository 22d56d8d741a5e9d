"""p(x given z): one likelihood a file, held in log space."""

from lucidvi.distributions._base import CountLikelihood
from lucidvi.distributions._negative_binomial import NegativeBinomial
from lucidvi.distributions._normal import Normal
from lucidvi.distributions._poisson import Poisson
from lucidvi.distributions._zero_inflated_negative_binomial import ZeroInflatedNegativeBinomial

#: The values of ``gene_likelihood``.
LIKELIHOODS = {
    "nb": NegativeBinomial,
    "zinb": ZeroInflatedNegativeBinomial,
    "poisson": Poisson,
    "normal": Normal,
}

__all__ = [
    "LIKELIHOODS",
    "CountLikelihood",
    "NegativeBinomial",
    "Normal",
    "Poisson",
    "ZeroInflatedNegativeBinomial",
]

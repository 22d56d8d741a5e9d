"""p(x given z): one contract, one family a file, one table."""

from lucidvi.distributions._bernoulli import Bernoulli
from lucidvi.distributions._candidates import (
    BY_BATCH,
    candidate_of,
    candidates,
    dispersed,
    questions_about,
)
from lucidvi.distributions._counts import CountLikelihood, draw_poisson
from lucidvi.distributions._likelihood import Likelihood
from lucidvi.distributions._negative_binomial import NegativeBinomial
from lucidvi.distributions._negative_binomial_mixture import NegativeBinomialMixture
from lucidvi.distributions._normal import Normal
from lucidvi.distributions._parameter import Moments, Parameter, Question, Values
from lucidvi.distributions._poisson import Poisson
from lucidvi.distributions._table import FAMILIES, LIKELIHOODS, adopt, likelihood_of
from lucidvi.distributions._zero_inflated_negative_binomial import ZeroInflatedNegativeBinomial

__all__ = [
    "BY_BATCH",
    "FAMILIES",
    "LIKELIHOODS",
    "Bernoulli",
    "CountLikelihood",
    "Likelihood",
    "Moments",
    "NegativeBinomial",
    "NegativeBinomialMixture",
    "Normal",
    "Parameter",
    "Poisson",
    "Question",
    "Values",
    "ZeroInflatedNegativeBinomial",
    "adopt",
    "candidate_of",
    "candidates",
    "dispersed",
    "draw_poisson",
    "likelihood_of",
    "questions_about",
]

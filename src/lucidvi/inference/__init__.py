"""How far a posterior is from the best, and closing the gap: functions of a target."""

from lucidvi.inference._ais import Bracket, ais, bracket
from lucidvi.inference._axes import canonical_axes
from lucidvi.inference._bounds import elbo, iwae, weighted_draws
from lucidvi.inference._concatenated import concatenated
from lucidvi.inference._estimate import Estimate
from lucidvi.inference._gap import InferenceGap, inference_gap, marginal_near, refined_ais
from lucidvi.inference._linear_gaussian import LinearGaussianTarget
from lucidvi.inference._linearized import linearized
from lucidvi.inference._metric import canonical, information_metric
from lucidvi.inference._normal import FAMILIES, NormalPosterior
from lucidvi.inference._posterior import PosteriorTarget
from lucidvi.inference._posterior_of import POSTERIORS, posterior_of
from lucidvi.inference._refine import Refined, refine
from lucidvi.inference._scvi import ScviModule, as_generative
from lucidvi.inference._shifts import shift_information, shift_slopes
from lucidvi.inference._step_means import step_means
from lucidvi.inference._tails import normal_k, pareto_k_hat
from lucidvi.inference._target import Target
from lucidvi.nn import orthogonal_draws

__all__ = [
    "FAMILIES",
    "POSTERIORS",
    "Bracket",
    "Estimate",
    "InferenceGap",
    "LinearGaussianTarget",
    "NormalPosterior",
    "PosteriorTarget",
    "Refined",
    "ScviModule",
    "Target",
    "ais",
    "as_generative",
    "bracket",
    "canonical",
    "canonical_axes",
    "concatenated",
    "elbo",
    "inference_gap",
    "information_metric",
    "iwae",
    "linearized",
    "marginal_near",
    "normal_k",
    "orthogonal_draws",
    "pareto_k_hat",
    "posterior_of",
    "refine",
    "refined_ais",
    "shift_information",
    "shift_slopes",
    "step_means",
    "weighted_draws",
]

"""How the cells' posteriors lie to the model's own prior."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lucidvi.audit.checks._aggregate import aggregate
from lucidvi.audit.subject import CellPriors, entropy, marginal_scale
from lucidvi.results import Criterion, judge

#: Name of the criterion.
PRIOR = "prior"


@dataclass(frozen=True, eq=False)
class AgainstPrior:
    """Posteriors against the prior, in nats; for the fields see :class:`Collapse`.

    Parameters
    ----------
    name
        Kind of the prior.
    criterion
        What a finding says of it; it has no thresholds.
    spread
        Variance of each axis under the prior, shape ``(n_latent,)``.
    """

    name: str
    criterion: Criterion
    spread: np.ndarray
    kl: np.ndarray
    total_kl: float = np.nan
    mutual_information: float = np.nan
    mutual_information_upper: float = np.nan
    aggregate_kl_lower: float = np.nan
    aggregate_kl: float = np.nan
    holes: float = np.nan

    @classmethod
    def unknown(cls, n_latent: int, reason: str) -> AgainstPrior:
        """Return that nothing is known, and why."""
        nothing = np.full(n_latent, np.nan)
        return cls("no density", Criterion.skipped(PRIOR, reason), np.ones(n_latent), nothing)


def against_prior(
    loc: np.ndarray, scale: np.ndarray, priors: CellPriors | None, seed: int
) -> AgainstPrior:
    """Compare posteriors one by one, and all of them together, with the prior.

    Parameters
    ----------
    loc, scale
        Means of the posteriors, and their standard deviations or factors of their covariances.
    priors
        Priors of the cells; by default the standard normal.
    seed
        Seed of the draws.
    """
    priors = CellPriors.standard_normal(*loc.shape) if priors is None else priors
    axis_scale = marginal_scale(scale)
    axis_entropy = 0.5 * (1 + np.log(2 * np.pi)) + np.log(axis_scale)
    kl = -axis_entropy - priors.expected_log_marginals(loc, axis_scale)
    rng = np.random.default_rng((seed, 2))
    total = -entropy(scale) - priors.expected_log_prob(loc, scale, rng)
    whole = aggregate(loc, scale, seed, priors)
    mean = float(total[whole.compared].mean()) if whole.compared.any() else np.nan
    return AgainstPrior(
        name=priors.name,
        criterion=_criterion(whole.kl_lower, whole.kl_upper, whole.holes),
        spread=priors.spread,
        kl=kl.mean(axis=0),
        total_kl=float(total.mean()),
        mutual_information=mean - whole.kl_upper,
        mutual_information_upper=mean - whole.kl_lower,
        aggregate_kl_lower=whole.kl_lower,
        aggregate_kl=whole.kl_upper,
        holes=whole.holes,
    )


def _criterion(lower: float, upper: float, holes: float) -> Criterion:
    if np.isnan(upper):
        reason = (
            "Hardly a cell shares its prior with enough others: it depends on covariates that "
            "differ from cell to cell, so the cells together are not compared with it."
        )
        return Criterion.skipped(PRIOR, reason)
    return judge(
        PRIOR,
        upper,
        f"Taken together, the cells' states are {lower:.1f} to {upper:.1f} nats from the model's "
        f"prior, and {holes:.0%} of what is drawn from the prior would lie where no cell is.",
    )

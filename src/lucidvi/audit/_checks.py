"""The table of the checks: from what a model gives to a finding."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lucidvi.audit._alternatives import comparison
from lucidvi.audit._amortization import Amortization, amortization
from lucidvi.audit._collapse import Collapse, active_directions, collapse
from lucidvi.audit._confounding import Confounding, confounding
from lucidvi.audit._finding import Finding, Skipped
from lucidvi.audit._fit import Fit, fit
from lucidvi.audit._identifiability import (
    Identifiability,
    identifiability,
    turning_cure,
    why_not_turned,
)
from lucidvi.audit._predictions import predictions
from lucidvi.audit._priors import inapplicable
from lucidvi.audit._subject import Subject
from lucidvi.distributions import candidate_of
from lucidvi.inference import canonical


def check_collapse(subject: Subject) -> Collapse:
    """Which dimensions are in use."""
    latent, metric = subject.latent, subject.metric.mean(axis=0)
    directions = canonical(subject.metric)[1]
    return collapse(
        latent.loc,
        latent.factor,
        metric,
        directions,
        *subject.losses,
        priors=subject.priors,
        without_prior=inapplicable(subject.model.module),
        seed=subject.seed,
        cures=subject.cures,
    )


def check_identifiability(subject: Subject) -> Finding:
    """Which axes mean something."""
    if subject.n_latent < 2:
        return Skipped.of(Identifiability, "One latent dimension has nothing to rotate.")
    refined = subject.refined
    return identifiability(
        subject.metric,
        refined.covariance,
        n_used(subject),
        prior_variance=subject.prior_variance[refined.positions],
        seed=subject.seed,
        turning=turning_cure(subject.model.module, subject.cures),
        not_turned=why_not_turned(subject.model.module),
        cures=subject.cures,
    )


def check_amortization(subject: Subject) -> Amortization:
    """How far the encoder is off."""
    refined, sample = subject.refined, subject.sample
    return amortization(
        refined.amortization_gap,
        refined.approximation_gap,
        refined.explained,
        subject.latent.loc[refined.positions],
        refined.loc,
        refined.scale,
        cell=np.asarray(subject.adata.obs_names)[sample.cells[refined.positions]],
        label=sample.label[refined.positions],
        batch=sample.batch[refined.positions],
        prior_variance=subject.prior_variance[refined.positions],
        seed=subject.seed,
        cures=subject.cures,
    )


def check_fit(subject: Subject) -> Fit:
    """Whether predicted counts look like the data."""
    compared = comparison(subject)
    return fit(
        predictions(subject),
        compared,
        candidate_of(subject.model.module),
        subject.sample.split,
        n_latent=subject.n_latent,
        n_used=n_used(subject),
        cures=subject.cures,
    )


def n_used(subject: Subject) -> int:
    """Count the directions that are in use."""
    return int(active_directions(subject.losses[0]).sum())


def check_confounding(subject: Subject) -> Confounding:
    """Ask whether batch and depth show."""
    sample, latent = subject.sample, subject.latent
    log_total = np.log(latent.total.clip(min=1))
    return confounding(
        latent.loc,
        sample.batch,
        log_total,
        sample.label,
        seed=subject.seed,
        cures=subject.cures,
    )


#: The values of ``checks``: what a check makes of a model, and the kind of its finding, in the
#: order of the report.
CHECKS: dict[str, tuple[Callable[[Subject], Finding], type[Finding]]] = {
    "collapse": (check_collapse, Collapse),
    "identifiability": (check_identifiability, Identifiability),
    "amortization": (check_amortization, Amortization),
    "fit": (check_fit, Fit),
    "confounding": (check_confounding, Confounding),
}

"""Splicing: how unspliced molecules become spliced ones while a cell moves."""

from lucidvi.module.kinetics._evidence import (
    Evidence,
    Molecules,
    log_likelihood,
    log_odds_of_member,
    with_totals_met,
)
from lucidvi.module.kinetics._kinetics import Decoded, Kinetics, log_positive_slope, positive
from lucidvi.module.kinetics._vae import KineticVAE

__all__ = [
    "Decoded",
    "Evidence",
    "KineticVAE",
    "Kinetics",
    "Molecules",
    "log_likelihood",
    "log_odds_of_member",
    "log_positive_slope",
    "positive",
    "with_totals_met",
]

"""Findings of an audit, scores, calibrations, plans, and where cells go, by matplotlib."""

from __future__ import annotations

from collections.abc import Callable

from matplotlib.axes import Axes

from lucidvi.pl._along_time import along_time
from lucidvi.pl._amortization import amortization
from lucidvi.pl._collapse import collapse
from lucidvi.pl._confounding import confounding
from lucidvi.pl._design import design
from lucidvi.pl._direction import direction
from lucidvi.pl._fates import fates
from lucidvi.pl._fit import fit
from lucidvi.pl._identifiability import identifiability
from lucidvi.pl._integration import integration
from lucidvi.pl._modalities import modalities
from lucidvi.pl._reliability import reliability
from lucidvi.pl._stability import stability
from lucidvi.pl._stream import stream

#: The plot of each finding, by the finding's name.
PLOTS: dict[str, Callable[..., Axes]] = {
    "collapse": collapse,
    "identifiability": identifiability,
    "amortization": amortization,
    "fit": fit,
    "confounding": confounding,
    "modalities": modalities,
    "direction": direction,
    "stability": stability,
}

__all__ = [
    "PLOTS",
    "along_time",
    "amortization",
    "collapse",
    "confounding",
    "design",
    "direction",
    "fates",
    "fit",
    "identifiability",
    "integration",
    "modalities",
    "reliability",
    "stability",
    "stream",
]

"""The checks, one a file: from arrays, or from a model and its cells, to a finding."""

from lucidvi.audit.checks._amortization import amortization
from lucidvi.audit.checks._collapse import collapse
from lucidvi.audit.checks._confounding import confounding
from lucidvi.audit.checks._fit import fit
from lucidvi.audit.checks._identifiability import identifiability
from lucidvi.audit.checks._modalities import modalities
from lucidvi.audit.checks._table import CHECKS, Check, asked_of

__all__ = [
    "CHECKS",
    "Check",
    "amortization",
    "asked_of",
    "collapse",
    "confounding",
    "fit",
    "identifiability",
    "modalities",
]

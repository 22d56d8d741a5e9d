"""Whether a model can be trusted: checks, their findings, and what to do.

:func:`run` checks a model as it is, :func:`stability` trains it again; what they find is in
:mod:`lucidvi.results`. The checks themselves, which take arrays, are in
:mod:`lucidvi.audit.checks`.
"""

from lucidvi.audit import checks
from lucidvi.audit._run import run
from lucidvi.audit.report import Report
from lucidvi.audit.retraining import stability

__all__ = ["Report", "checks", "run", "stability"]

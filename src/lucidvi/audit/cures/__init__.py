"""What to do about a problem, as code in the terms of the model that has it."""

from lucidvi.audit.cures._cures import CURES, Cures
from lucidvi.audit.cures._making import Making, Remake

__all__ = ["CURES", "Cures", "Making", "Remake"]

"""Reference mapping: build a reference once, map cells onto it, transfer its labels."""

from lucidvi.atlas._calibration import Calibration
from lucidvi.atlas._integration import Integration, integration
from lucidvi.atlas._reference import Reference

__all__ = ["Calibration", "Integration", "Reference", "integration"]

"""Reference mapping: build a reference once, map cells onto it, transfer its labels."""

from lucidvi.atlas._data import ReferenceData
from lucidvi.atlas._reference import Reference
from lucidvi.atlas.calibration._calibration import Calibration
from lucidvi.atlas.integration._integration import Integration, integration

__all__ = ["Calibration", "Integration", "Reference", "ReferenceData", "integration"]

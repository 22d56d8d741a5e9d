"""Reference mapping: build a reference once, map cells onto it, transfer its labels."""

from lucidvi.atlas._data import ReferenceData
from lucidvi.atlas._reference import Reference
from lucidvi.atlas.integration._score_integration import score_integration
from lucidvi.results import Calibration, Integration

__all__ = ["Calibration", "Integration", "Reference", "ReferenceData", "score_integration"]

"""Several modalities of the same cells, any of them missing."""

from lucidvi.module.mosaic._kinds import KINDS, Kind
from lucidvi.module.mosaic._mosaic import MosaicVAE
from lucidvi.module.mosaic._part import Part
from lucidvi.module.mosaic._protein import Protein

__all__ = ["KINDS", "Kind", "MosaicVAE", "Part", "Protein"]

"""Several modalities, any of them missing, joined into one AnnData that a model is set up with."""

from lucidvi.data.mosaic._change import change
from lucidvi.data.mosaic._join import join
from lucidvi.data.mosaic._register import register_joined
from lucidvi.data.mosaic._specification import Specification, specifications
from lucidvi.data.mosaic._table import described, table

__all__ = [
    "Specification",
    "change",
    "described",
    "join",
    "register_joined",
    "specifications",
    "table",
]

"""Spliced and unspliced molecules, as the tools that count them write them."""

from lucidvi.data.splicing._molecules import Format, Layer, Molecules
from lucidvi.data.splicing._read_splicing import read_splicing
from lucidvi.data.splicing._table import FORMATS

__all__ = ["FORMATS", "Format", "Layer", "Molecules", "read_splicing"]

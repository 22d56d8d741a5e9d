"""Encoder, decoder and prior."""

from lucidvi.nn._decoder import Decoder
from lucidvi.nn._encoder import Encoder
from lucidvi.nn._prior import StandardNormal

__all__ = ["Decoder", "Encoder", "StandardNormal"]

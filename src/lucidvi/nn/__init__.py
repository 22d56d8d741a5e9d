"""Networks: encoder and decoder."""

from lucidvi.nn._decoder import Decoder
from lucidvi.nn._encoder import Encoder

__all__ = ["Decoder", "Encoder"]

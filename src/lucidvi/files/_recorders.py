"""What stands for the functions and classes that a saved file names.

A pickle names functions and has them called, so reading one can do anything. Here every global
that a file may name stands for a recorder of this module or of ``_tables``: it notes its arguments
and its state and calls nothing. Arrays and tables are made afterwards, from values that were
checked. Since a name is all that is taken from NumPy and pandas, files of other versions of them
load as well.
"""

from __future__ import annotations

import re
from collections import Counter, OrderedDict
from typing import Any

import numpy as np
import torch

from lucidvi.files._activations import ACTIVATIONS

_ATOMS = (type(None), bool, int, float, complex, str, bytes, torch.dtype, torch.device)
#: Numbers of a tensor that may be one number in the file.
MOST_REPEATED = 2**24
#: More columns than the history of a training has.
MOST_COLUMNS = 10**6
_DTYPE = re.compile(r"[biufcSUO]\d*")


class Forbidden(Exception):
    """The file asks for something that is not plain data."""


class Recorder:
    """What a file says about an object, without the object."""

    def __new__(cls, *arguments: Any) -> Recorder:
        """Note the arguments of a call."""
        recorder = super().__new__(cls)
        recorder.arguments, recorder.state = arguments, None
        return recorder

    arguments: tuple[Any, ...]
    state: Any

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def make(self, plain: Plain) -> Any:
        raise Forbidden(type(self).__name__)


class Name:
    """A function or class that a file may mention but not call."""

    def __init__(self, name: str, value: Any = None) -> None:
        self.name, self.value = name, value


class Dtype(Recorder):
    """``numpy.dtype(code, align, copy)`` with the state ``(version, byte order, ...)``."""

    def make(self, plain: Plain) -> np.dtype:
        code, *_ = self.arguments
        state = self.state or (3, "|", None, None, None)
        if not _DTYPE.fullmatch(code) or any(part is not None for part in state[2:5]):
            raise Forbidden(f"numpy.dtype({code!r})")
        return np.dtype(code).newbyteorder(state[1])


class Array(Recorder):
    """``_reconstruct(ndarray, ...)`` with ``(version, shape, dtype, by column, values)``."""

    def make(self, plain: Plain) -> np.ndarray:
        _, shape, dtype, by_column, values = self.state
        dtype = plain(dtype)
        if dtype.kind == "O":
            array = np.empty(len(values), dtype=object)
            for i, value in enumerate(plain(values)):
                array[i] = value
        else:
            array = np.frombuffer(read_bytes(plain(values)), dtype=dtype).copy()
        return array.reshape(shape, order="F" if by_column else "C")


class Scalar(Recorder):
    """``scalar(dtype, bytes)``."""

    def make(self, plain: Plain) -> Any:
        dtype, value = self.arguments
        dtype = plain(dtype)
        if dtype.kind == "O":
            raise Forbidden("numpy object scalar")
        return np.frombuffer(read_bytes(plain(value)), dtype=dtype)[0]


class Bytes(Recorder):
    """``bytes()``, as protocol 2 writes the values of an empty array."""

    def make(self, plain: Plain) -> bytes:
        if self.arguments:
            raise Forbidden("bytes(...)")
        return b""


class Slice(Recorder):
    """``slice(start, stop, step)``: which columns a block of a table holds."""

    def make(self, plain: Plain) -> np.ndarray:
        places = range(*self.arguments)
        if len(places) > MOST_COLUMNS:
            raise Forbidden(f"slice of {len(places):,} columns")
        return np.arange(len(places)) * places.step + places.start


class Attribute(Recorder):
    """``getattr(torch, name)``, as activations such as ``torch.exp`` are pickled."""

    def make(self, plain: Plain) -> Any:
        owner, name = self.arguments
        if owner is not TORCH or f"torch.{name}" not in ACTIVATIONS:
            raise Forbidden(f"getattr(..., {name!r})")
        return ACTIVATIONS[f"torch.{name}"]


class Ignored(Recorder):
    """What no model here reads, such as a constraint in the parameter store of Pyro."""

    def make(self, plain: Plain) -> None:
        return None


def read_bytes(value: Any) -> bytes:
    if type(value) is not bytes:
        raise Forbidden(f"values of type {type(value).__name__}")
    return value


class Plain:
    """The data that a file describes, all of it made here; each part once.

    Raises
    ------
    Forbidden
        If there is anything but numbers, strings, containers, tensors, arrays and tables.
    """

    def __init__(self) -> None:
        self._made: dict[int, Any] = {}

    def __call__(self, value: Any) -> Any:
        """Return what ``value`` stands for."""
        if type(value) in _ATOMS:
            return value
        if id(value) not in self._made:
            self._made[id(value)] = self._make(value)
        return self._made[id(value)]

    def _make(self, value: Any) -> Any:
        kind = type(value)
        if isinstance(value, Recorder):
            return value.make(self)
        if kind is Name and value.value is not None:
            return value.value
        if kind in (torch.Tensor, torch.nn.Parameter):
            if value.nelement() > MOST_REPEATED + value.untyped_storage().nbytes():
                raise ValueError(f"a tensor of shape {tuple(value.shape)} repeats its numbers")
            return value.detach()  # without the hooks and attributes that a file can set
        if kind in (dict, OrderedDict, Counter):
            return {self(key): self(entry) for key, entry in value.items()}
        if kind in (list, tuple, set, torch.Size):
            return (tuple if kind is torch.Size else kind)(self(entry) for entry in value)
        if kind is bytearray:
            return bytes(value)
        raise Forbidden(value.name if kind is Name else f"{kind.__module__}.{kind.__qualname__}")


NDARRAY, TORCH = Name("numpy.ndarray"), Name("torch")

"""What stands for tables of pandas, 2 and 3, and their strings."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lucidvi.files._recorders import Array, Forbidden, Name, Plain, Recorder, read_bytes

INDEX, RANGE = Name("pandas.Index"), Name("pandas.RangeIndex")


class Strings(Recorder):
    """An array of strings of pandas 3: a dtype and an object array."""

    def make(self, plain: Plain) -> np.ndarray:
        return next(plain(part) for part in self.state if isinstance(part, Array))


class Index(Recorder):
    """``_new_Index(class, {"data": ..., "name": ...})``."""

    def make(self, plain: Plain) -> pd.Index:
        cls, options = self.arguments
        options = plain(options)
        if cls is RANGE:
            start, stop, step = (int(options[key]) for key in ("start", "stop", "step"))
            return pd.RangeIndex(start, stop, step, name=options["name"])
        if cls is not INDEX:
            raise Forbidden("pandas index")
        data = options["data"]
        return pd.Index(list(data) if data.dtype == object else data, name=options["name"])


class Block(Recorder):
    """``_unpickle_block(values, places, ndim)``: columns of one dtype."""


class Blocks(Recorder):
    """``BlockManager(blocks, [columns, index])``."""


class Frame(Recorder):
    """A table: its state is ``{"_mgr": Blocks, ...}``."""

    def make(self, plain: Plain) -> pd.DataFrame:
        blocks, axes = self.state["_mgr"].arguments
        names, index = plain(list(axes))
        columns: dict[int, np.ndarray] = {}
        for block in blocks:
            values, places, _ = (plain(part) for part in block.arguments)
            columns |= zip(places.tolist(), np.atleast_2d(values), strict=True)
        frame = pd.DataFrame({i: columns[i] for i in range(len(names))}, index=index)
        frame.columns = names
        return frame


class ArrowStrings(Recorder):
    """An array of strings of pandas 3 where pyarrow is installed."""

    def make(self, plain: Plain) -> np.ndarray:
        return plain(self.state["_pa_array"])


class ArrowArray(Recorder):
    """``_restore_array((type, length, missing, offset, [valid, ends, text], ...))``."""

    def make(self, plain: Plain) -> np.ndarray:
        kind, length, missing, start, (_, ends, text) = self.arguments[0][:5]
        if missing or kind.arguments not in (("string",), ("large_string",)):
            raise Forbidden("pyarrow array")
        width = "<i8" if kind.arguments == ("large_string",) else "<i4"
        ends, text = np.frombuffer(plain(ends), dtype=width), plain(text)
        strings = np.empty(length, dtype=object)
        for i in range(length):
            strings[i] = text[ends[start + i] : ends[start + i + 1]].decode()
        return strings


class ArrowType(Recorder):
    """``type_for_alias(name)``."""


class ArrowBuffer(Recorder):
    """``py_buffer(bytes)``."""

    def make(self, plain: Plain) -> bytes:
        return read_bytes(plain(self.arguments[0]))

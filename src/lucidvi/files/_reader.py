"""Reading ``model.pt`` without running what it says."""

from __future__ import annotations

import os
import re
import threading
import warnings
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.distributions import constraints

from lucidvi.errors import FileError, UntrustedFileError
from lucidvi.files import _recorders, _tables
from lucidvi.files._activations import ACTIVATIONS, GLOBAL_NAMES
from lucidvi.files._recorders import Forbidden, Name, Plain
from lucidvi.files._whole import check_archive


def _new_dict(*_: Any) -> dict:
    """Stand in for ``defaultdict``; the entries are set on a plain dictionary."""
    return {}


#: Every global that a file may name besides those of ``torch.load(weights_only=True)``, and what
#: it stands for. None of these is the object of that name, none calls what it is given, and the
#: unpickler of torch refuses to call, to make or to set the state of anything else.
STAND_INS: dict[str, Any] = {
    # Arrays, in NumPy 1 and 2.
    **{f"numpy.{core}.multiarray._reconstruct": _recorders.Array for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray.scalar": _recorders.Scalar for core in ("core", "_core")},
    "numpy.ndarray": _recorders.NDARRAY,
    "numpy.dtype": _recorders.Dtype,
    "builtins.bytes": _recorders.Bytes,
    # The history: tables, whose modules differ between pandas 2 and 3.
    "pandas.core.frame.DataFrame": _tables.Frame,
    "pandas.DataFrame": _tables.Frame,
    "pandas.core.internals.managers.BlockManager": _tables.Blocks,
    "pandas._libs.internals._unpickle_block": _tables.Block,
    "builtins.slice": _recorders.Slice,
    "pandas.core.indexes.base._new_Index": _tables.Index,
    "pandas.core.indexes.base.Index": _tables.INDEX,
    "pandas.Index": _tables.INDEX,
    "pandas.core.indexes.numeric.Int64Index": _tables.INDEX,
    "pandas.core.indexes.range.RangeIndex": _tables.RANGE,
    "pandas.RangeIndex": _tables.RANGE,
    "pandas._libs.arrays.__pyx_unpickle_NDArrayBacked": _tables.Strings,
    "pandas.arrays.StringArray": Name("pandas.arrays.StringArray"),
    "pandas.StringDtype": _recorders.Ignored,
    # Their strings, where pyarrow is installed.
    "pandas.arrays.ArrowStringArray": _tables.ArrowStrings,
    "pandas.core.arrays.string_arrow.ArrowStringArray": _tables.ArrowStrings,
    "pyarrow.lib._restore_array": _tables.ArrowArray,
    "pyarrow.lib.type_for_alias": _tables.ArrowType,
    "pyarrow.lib.py_buffer": _tables.ArrowBuffer,
    # The registry.
    "collections.defaultdict": _new_dict,
    "builtins.dict": Name("dict"),
    # Arguments of a model: known activations.
    "builtins.getattr": _recorders.Attribute,
    "torch._C._VariableFunctionsClass": _recorders.TORCH,
    **{path: Name(name, ACTIVATIONS[name]) for path, name in GLOBAL_NAMES.items()},
    # Left over from a Pyro model trained in the same process.
    **{
        f"torch.distributions.constraints.{name}": _recorders.Ignored
        for name, member in vars(constraints).items()
        if isinstance(member, type) and issubclass(member, constraints.Constraint)
    },
}

_LOCK = threading.Lock()


@contextmanager
def _only_stand_ins() -> Iterator[None]:
    """Let the unpickler of torch know the stand-ins, and nothing else, for a while.

    What others allowed in this process is set aside, so that the list is the same for everyone.
    """
    ours: list[Any] = [(stand_in, name) for name, stand_in in STAND_INS.items()]
    with _LOCK:
        before = torch.serialization.get_safe_globals()
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(ours)
        try:
            yield
        finally:
            allowed = set(ours)
            added = [it for it in torch.serialization.get_safe_globals() if it not in allowed]
            torch.serialization.clear_safe_globals()
            torch.serialization.add_safe_globals([*before, *added])


def read_pickle(path: str, map_location: Any = None, trust: bool = False) -> Any:
    """Return what a file of :func:`torch.save` holds.

    Parameters
    ----------
    path
        File to read.
    map_location
        Where to put the tensors.
    trust
        Read it as :mod:`pickle` does, which runs whatever code the file contains.

    Raises
    ------
    UntrustedFileError
        If the file names anything that is not in ``STAND_INS``. Nothing was run.
    FileError
        If it is no such file, or a part of one.
    """
    try:
        if _start(path).startswith(b"PK"):
            check_archive(Path(path), compressed=False)
        if trust:
            # The one place where a file may run code: the user has said that she trusts it.
            return torch.load(path, map_location=map_location, weights_only=False)
        with _only_stand_ins(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of what becomes an error below
            described = torch.load(path, map_location=map_location, weights_only=True)
            return Plain()(described)
    except (FileNotFoundError, PermissionError, IsADirectoryError):
        raise
    except Forbidden as error:
        raise _untrusted(path, str(error)) from None
    except Exception as error:  # a damaged pickle can raise anything
        match = re.search(r"GLOBAL (\S+)|Unsupported operand (\d+)", str(error))
        if match and not trust and _start(path).startswith((b"PK", b"\x80")):
            raise _untrusted(path, match[1] or f"pickle instruction {match[2]}") from None
        why = f": {error}" if isinstance(error, zipfile.BadZipFile) else ""
        raise FileError(
            f"{path} cannot be read: it is {_describe(path)} ({type(error).__name__}{why}).",
            remedy="pass the folder that `model.save(...)` wrote; if it is that, the file is "
            "damaged: copy or download it again.",
        ) from error


def _untrusted(path: str, name: str) -> UntrustedFileError:
    return UntrustedFileError(
        f"{path} is not only data: it asks for `{name}`, and such a file can run any code. "
        "Nothing of it was run.",
        remedy="pass `trust=True` to `load` only if you trust whoever made the file.",
    )


def _describe(path: str) -> str:
    """Say in a few words what a file looks like."""
    start = _start(path)
    kinds = defaultdict(
        lambda: "text" if start.isascii() and start.decode().isprintable() else "no model file",
        {b"PK": "an incomplete or foreign zip archive", b"\x89H": "an HDF5 file, such as h5ad"},
    )
    kind = "empty" if not start else "a pickle" if start[:1] == b"\x80" else kinds[start[:2]]
    return f"{kind}, {os.path.getsize(path):,} bytes"


def _start(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read(64)

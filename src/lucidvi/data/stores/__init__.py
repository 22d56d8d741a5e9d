"""Where cells are, and minibatches of them: one contract, one file an implementation."""

from lucidvi.data.stores._annotations import Annotations, Minibatch, features_key, present_key
from lucidvi.data.stores._device import DeviceStore
from lucidvi.data.stores._file import FileStore
from lucidvi.data.stores._memory import MemoryStore
from lucidvi.data.stores._store import CellSource, CellStore, Rows, positions

#: Implementations of :class:`CellStore`; the first one that fits the cells reads them.
STORES: dict[str, type[CellStore]] = {
    "device": DeviceStore,
    "memory": MemoryStore,
    "file": FileStore,
}


def store_of(source: CellSource) -> CellStore:
    """Return the store that reads these cells."""
    return next(store for store in STORES.values() if store.fits(source))(source)


__all__ = [
    "STORES",
    "Annotations",
    "CellSource",
    "CellStore",
    "DeviceStore",
    "FileStore",
    "MemoryStore",
    "Minibatch",
    "Rows",
    "features_key",
    "positions",
    "present_key",
    "store_of",
]

"""Disks that are full."""

import sys
from contextlib import contextmanager

import pytest


@contextmanager
def files_of_at_most(n_bytes):
    """Refuse longer files in this process, as a disk does that is full.

    Python writes no compiled modules meanwhile, which would be cut short.
    """
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        sys.dont_write_bytecode = before

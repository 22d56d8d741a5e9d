"""Saved models: plain data, read without running anything, written whole or not at all."""

from lucidvi.files._atomic import check_free, newest, writable, written_whole
from lucidvi.files._contents import (
    check_readable,
    contents,
    read_adata,
    read_model,
    read_saved_files,
)
from lucidvi.files._named import read_arrays, write_arrays, write_text

__all__ = [
    "check_free",
    "check_readable",
    "contents",
    "newest",
    "read_adata",
    "read_arrays",
    "read_model",
    "read_saved_files",
    "writable",
    "write_arrays",
    "write_text",
    "written_whole",
]

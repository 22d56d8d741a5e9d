"""Saved models: plain data, read without running anything, written whole or not at all."""

from lucidvi.files._atomic import newest, written_whole
from lucidvi.files._contents import (
    check_readable,
    contents,
    read_adata,
    read_model,
    read_saved_files,
)

__all__ = [
    "check_readable",
    "contents",
    "newest",
    "read_adata",
    "read_model",
    "read_saved_files",
    "written_whole",
]

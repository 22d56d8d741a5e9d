"""Saved models: plain data, read without running anything, written whole or not at all."""

from lucidvi.files._atomic import check_free, newest, writable, written_whole
from lucidvi.files._checkpoints import Checkpoints, save_tensors
from lucidvi.files._contents import (
    check_readable,
    contents,
    read_adata,
    read_model,
    read_saved_files,
)
from lucidvi.files._named import read_arrays, write_arrays, write_text
from lucidvi.files._values import frame_of, named_functions, plain_frame

__all__ = [
    "Checkpoints",
    "check_free",
    "check_readable",
    "contents",
    "frame_of",
    "named_functions",
    "newest",
    "plain_frame",
    "read_adata",
    "read_arrays",
    "read_model",
    "read_saved_files",
    "save_tensors",
    "writable",
    "write_arrays",
    "write_text",
    "written_whole",
]

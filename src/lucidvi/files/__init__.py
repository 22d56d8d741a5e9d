"""Saved models: plain data, read without running anything, written whole or not at all."""

from lucidvi.files._atomic import check_free, newest, writable, written_whole
from lucidvi.files._checkpoints import Checkpoints, save_tensors
from lucidvi.files._contents import (
    ADATA_DIGEST_KEY,
    check_readable,
    contents,
    read_adata,
    read_model,
    read_saved_files,
)
from lucidvi.files._named import read_arrays, write_arrays, write_text
from lucidvi.files._values import frame_of, named_functions, plain_frame
from lucidvi.files._whole import check_digest, digest_of, reading, whole

__all__ = [
    "ADATA_DIGEST_KEY",
    "Checkpoints",
    "check_digest",
    "check_free",
    "check_readable",
    "contents",
    "digest_of",
    "frame_of",
    "named_functions",
    "newest",
    "plain_frame",
    "read_adata",
    "read_arrays",
    "read_model",
    "read_saved_files",
    "reading",
    "save_tensors",
    "whole",
    "writable",
    "write_arrays",
    "write_text",
    "written_whole",
]

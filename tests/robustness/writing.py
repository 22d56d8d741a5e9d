"""Saves that are cut short: by an error of the system at some call, or by a disk that is full."""

import os
import resource
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tests.linear_field import straight
from tests.robustness.saved import Saved, same
from tests.robustness.verdict import Verdict

from lucidvi.atlas import Reference
from lucidvi.model import SCVI

#: Calls of the system that a save makes.
CALLS = ("replace", "fsync", "mkdir", "open", "unlink", "rename")
#: Bytes after which a disk may be full.
MOST_BYTES = 150_000


class Writers:
    """Other things than those that are saved, to be saved in their place, and their answers."""

    def __init__(self, all_saved: list[Saved], scratch: Path) -> None:
        by_name = {saved.name: saved for saved in all_saved}
        model = SCVI.load(str(by_name["SCVI with cells"].folder))
        with torch.no_grad():
            for weight in model.module.parameters():
                weight.add_(0.1)
        reference, field = Reference.from_model(model), straight([[3.0, 1.0]], growth=[0.0, 0.3])
        writes: dict[str, Callable[[Path], Any]] = {
            "SCVI with cells": lambda path: model.save(
                str(path), overwrite=True, save_anndata=True
            ),
            "Reference": lambda path: reference.save(path, overwrite=True),
            "VectorField": lambda path: field.save(path / "field.npz"),
        }
        self.rows = []
        for name, write in writes.items():
            saved, place = by_name[name], scratch / "new" / name
            place.mkdir(parents=True)
            write(place)
            old, new = (saved.ask(saved.read(folder)) for folder in (saved.folder, place))
            assert not same(old, new)
            self.rows.append((saved, write, old, new))


def judge_write(seed: int, writers: Writers, scratch: Path) -> Verdict:
    """Cut a save short as a seed says, and say which of the two things is there."""
    rng = np.random.default_rng(seed)
    saved, write, old, new = writers.rows[rng.integers(len(writers.rows))]
    place = scratch / "written"
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(saved.folder, place)
    is_full = rng.random() < 0.5
    call, at = str(rng.choice(CALLS)), int(rng.integers(12))
    limit = int(rng.integers(MOST_BYTES))
    kind = "the disk is full" if is_full else f"an error of os.{call}"
    child = os.fork()
    if not child:
        status = 1
        try:
            _fill(limit) if is_full else _fail(call, at)
            write(place)
            status = 0
        finally:
            os._exit(status)
    failed = bool(os.waitpid(child, 0)[1])
    got = saved.ask(saved.read(place))
    outcome = "the new whole" if same(got, new) else "neither"
    outcome = "the old whole" if same(got, old) else outcome
    if not failed and outcome != "the new whole":
        outcome = "said to be saved, and is not"
    strays = [file.name for file in place.iterdir() if file.name.startswith(".")]
    if strays and is_full:  # a failure, unlike a kill, leaves nothing behind
        outcome = f"strays: {strays}"
    return Verdict(saved.name, "", kind, outcome)


def _fill(limit: int) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))


def _fail(call: str, at: int) -> None:
    real, count = getattr(os, call), 0

    def failing(*args: Any, **kwargs: Any) -> Any:
        nonlocal count
        count += 1
        if count == at + 1:
            raise OSError(28, "No space left on device")
        return real(*args, **kwargs)

    setattr(os, call, failing)

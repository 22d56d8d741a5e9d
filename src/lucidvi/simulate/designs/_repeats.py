"""Repeats of an experiment: some at a time, and kept in a file until all are there."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from joblib import Parallel, delayed, parallel_config

from lucidvi._progress import track
from lucidvi.errors import FileError

Values = list[Any]


class Kept:
    """Results of repeats in a JSON file, which is always whole.

    Parameters
    ----------
    path
        Path of the file; None keeps nothing.
    request
        What the results belong to, in plain values. A file of another request is refused.
    """

    def __init__(self, path: str | os.PathLike[str] | None, request: Mapping[str, Any]) -> None:
        self.path = None if path is None else Path(path)
        self.request = json.loads(json.dumps(request))
        self.results: dict[int, Values] = {}
        if self.path is not None and self.path.exists():
            self.results = self._read(self.path)

    def add(self, repeat: int, values: Values) -> None:
        """Take in a result, and write all there are."""
        self.results[repeat] = values
        if self.path is not None:
            whole = self.path.with_name(f"{self.path.name}.part")
            whole.write_text(json.dumps({"request": self.request, "repeats": self.results}))
            os.replace(whole, self.path)

    def _read(self, path: Path) -> dict[int, Values]:
        try:
            content = json.loads(path.read_text())
            request, results = content["request"], content["repeats"]
        except (ValueError, KeyError, TypeError) as error:
            raise FileError(
                f"`resume`: {path} holds no repeats of a design ({type(error).__name__}).",
                remedy="name another file, which need not exist.",
            ) from error
        other = sorted(
            name
            for name in {*request, *self.request}
            if request.get(name) != self.request.get(name)
        )
        if other:
            raise FileError(
                f"`resume`: {path} holds repeats of another request, which differs in "
                f"{', '.join(other)}.",
                remedy="name another file, or ask for what it holds.",
            )
        return {int(repeat): values for repeat, values in results.items()}


def run_repeats(
    function: Callable[[int], Values], repeats: Sequence[int], n_jobs: int, kept: Kept
) -> list[Values]:
    """Call a function for each repeat that is not kept yet, and return the results of all.

    Parameters
    ----------
    function
        Takes the number of a repeat, on which alone its result depends.
    repeats
        Numbers of the repeats.
    n_jobs
        Number of processes, each on one thread; 1 for none of their own.
    kept
        Results that are there already.
    """
    missing = [repeat for repeat in repeats if repeat not in kept.results]
    with parallel_config(backend="loky", inner_max_num_threads=1):
        runs = Parallel(n_jobs=n_jobs, return_as="generator_unordered")(
            delayed(_numbered)(function, repeat) for repeat in missing
        )
        for repeat, values in track(runs, "Repeating", len(missing), slow_steps=True):
            kept.add(repeat, values)
    return [kept.results[repeat] for repeat in repeats]


def _numbered(function: Callable[[int], Values], repeat: int) -> tuple[int, Values]:
    return repeat, function(repeat)

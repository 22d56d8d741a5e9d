"""Trainings that are killed at random moments, and go on, against trainings that are not.

``OMP_NUM_THREADS=1 python benchmarks/kill.py`` rewrites ``benchmarks/kill.md``.
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from _killed import (
    BATCH_SIZE,
    N_CELLS,
    N_EPOCHS,
    N_GENES,
    SETTINGS,
    Outcome,
    cells,
    differences,
    from_a_file,
    in_memory,
    train,
)
from _measure import cpu_model, page, report, table
from anndata import AnnData

N_TRAININGS, QUICK = 25, 2
#: Kills of one training, at most; then it is left to end.
MOST_KILLS = 3
#: Whence the cells come, a row of the table each.
WAYS: dict[str, Callable[[Path], AnnData]] = {
    "in memory": in_memory,
    "in a backed h5ad": from_a_file,
}


@dataclass
class Row:
    """What became of the trainings of one way."""

    n_trainings: int = 0
    n_same: int = 0
    n_kills: int = 0
    n_while_writing: int = 0
    n_with_optimizer: int = 0


def forked(act: Callable[[Callable[[], None]], Outcome], file: Path, kill_after: float) -> bool:
    """Do something in a process of its own that is killed after a while.

    The process is a copy of this one, which has loaded the packages and nothing else.

    Parameters
    ----------
    act
        Gets a function to call when it begins, and returns what is written to ``file``.
    file
        Where the outcome goes.
    kill_after
        Seconds after the beginning; infinity for never.

    Returns
    -------
    Whether it was killed.
    """
    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(receive)
            found = act(lambda: os.close(send))
            with tempfile.NamedTemporaryFile(dir=file.parent, delete=False) as part:
                np.savez(part, **found)
            os.replace(part.name, file)
            os._exit(0)
        except BaseException:
            sys.excepthook(*sys.exc_info())
            os._exit(1)
    os.close(send)
    with os.fdopen(receive) as pipe:
        pipe.read()  # until the other end is closed
    end = time.monotonic() + kill_after
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            if status != 0:
                raise RuntimeError("A training that nobody killed did not end well.")
            return False
        if time.monotonic() >= end:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return True
        time.sleep(0.001)


def seconds_of(read: Callable[[Path], AnnData], settings: dict) -> float:
    """Return how long a training with checkpoints takes that nobody kills."""
    with tempfile.TemporaryDirectory() as scratch:
        cells(0).write_h5ad(data := Path(scratch, "cells.h5ad"))
        folder = Path(scratch, "checkpoints")

        def timed(started: Callable[[], None]) -> Outcome:
            return train(read, data, settings, 0, folder, started)

        start = time.monotonic()
        forked(timed, Path(scratch, "outcome.npz"), np.inf)
        return time.monotonic() - start


def one_training(
    read: Callable[[Path], AnnData],
    settings: dict,
    seed: int,
    seconds: float,
    row: Row,
    scratch: Path,
) -> list[str]:
    """Train once without a kill and once with some; return what differs."""
    cells(seed).write_h5ad(data := scratch / "cells.h5ad")
    out, folder = scratch / "outcome.npz", scratch / "checkpoints"

    def whole(started: Callable[[], None]) -> Outcome:
        return train(read, data, settings, seed, started=started)

    def to_be_killed(started: Callable[[], None]) -> Outcome:
        # Whoever goes on has another seed, so that nothing is the same by chance.
        first = not folder.exists()
        return train(read, data, settings, seed + (0 if first else 1000), folder, started)

    forked(whole, out, np.inf)
    want = dict(np.load(out))
    out.unlink()
    rng, n_kills, span = np.random.default_rng(seed), 0, seconds
    left_before: set[Path] = set()
    while n_kills < MOST_KILLS:
        if forked(to_be_killed, out, rng.uniform(0, span)):
            n_kills += 1
            left = set(folder.glob(".checkpoint-*.tmp"))
            row.n_while_writing += bool(left - left_before)
            left_before = left
        elif n_kills > 0:
            break
        else:  # it was faster than before: each is killed once at least
            shutil.rmtree(folder)
            span /= 2
    else:
        forked(to_be_killed, out, np.inf)
    row.n_kills += n_kills
    got = dict(np.load(out))
    row.n_with_optimizer += any(name.startswith("optimizer") for name in got)
    return differences(want, got)


def measured(name: str, n_trainings: int) -> Row:
    """Kill the trainings of one way."""
    row, settings = Row(), list(SETTINGS.items())
    seconds: dict[str, float] = {}
    for i in range(n_trainings):
        kind, arguments = settings[i % len(settings)]
        with tempfile.TemporaryDirectory() as scratch:
            if kind not in seconds:
                seconds[kind] = seconds_of(WAYS[name], arguments)
            each = arguments, i, seconds[kind], row, Path(scratch)
            differ = one_training(WAYS[name], *each)
        row.n_trainings += 1
        row.n_same += not differ
        what = "the same" if not differ else f"differ: {', '.join(differ[:5])}"
        print(f"{name}, {kind}, seed {i}: {what} ({row.n_kills} kills so far)", flush=True)
    return row


def main() -> None:
    """Kill, compare, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two trainings a way")
    quick = parser.parse_args().quick
    import lucidvi.model  # noqa: F401  (loaded here, each process is a copy)

    logging.disable(logging.WARNING)

    n = QUICK if quick else N_TRAININGS
    header = ["cells", "trainings", "kills", "while writing", "the same", "optimizer compared"]
    rows = []
    for name in WAYS:
        row = measured(name, n)
        same = f"{row.n_same} of {row.n_trainings}"
        rows.append(
            [name, row.n_trainings, row.n_kills, row.n_while_writing, same, row.n_with_optimizer]
        )
    kinds = ", ".join(SETTINGS)
    lines = [
        "# Trainings that are killed",
        "",
        f"Trainings of {N_CELLS} cells and {N_GENES} genes in three batches, {N_EPOCHS} epochs of "
        f"minibatches of {BATCH_SIZE}, with dropout, a checkpoint after each step, and in turn: "
        f"{kinds}. Each is killed (SIGKILL) up to {MOST_KILLS} times, at a moment drawn uniformly "
        "from the length of the whole training, and goes on in a new process with another seed "
        "until it is over. Compared with the same training that nobody killed and that wrote no "
        "checkpoints, bit for bit: weights and batch norm, history, splits, random generators, "
        "and Adam's moments, unless the kill came after the training was over.",
        "",
        *table(header, rows),
        "",
        f"{cpu_model()}. `OMP_NUM_THREADS=1 python benchmarks/kill.py`",
    ]
    report(page("kill.md", quick), lines)


if __name__ == "__main__":
    main()

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
from dataclasses import dataclass, replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from _killed import (
    BATCH_SIZE,
    IN_BLOCKS,
    N_CELLS,
    N_EPOCHS,
    N_GENES,
    SETTINGS,
    Outcome,
    Training,
    cells,
    differences,
    train,
)
from _launched import launched
from _measure import cpu_model, page, report, table

#: What came out of a training, None of one that was killed, and its seconds.
Ended = tuple[Outcome | None, float]
#: Trainings a way where time is short.
QUICK = 2
#: Kills of one training, at most; then it is left to end.
MOST_KILLS = 3


@dataclass(frozen=True)
class Way:
    """How the cells come, and by whom they are trained on.

    Parameters
    ----------
    start
        Starts the processes of a training: gets it, a folder, after how many seconds they are
        killed, and what draws whom.
    n_trainings
        Trainings, each with a seed of its own.
    is_backed
        Whether the cells stay in the file, by the number of the training.
    n_processes
        Processes that train together.
    """

    start: Callable[[Training, Path, float, np.random.Generator], Ended]
    n_trainings: int
    is_backed: Callable[[int], bool]
    n_processes: int = 1


@dataclass
class Row:
    """What became of the trainings of one way."""

    n_trainings: int = 0
    n_same: int = 0
    n_kills: int = 0
    n_while_writing: int = 0
    n_with_optimizer: int = 0


def forked(training: Training, scratch: Path, kill_after: float, _: np.random.Generator) -> Ended:
    """Train in a process of its own that is killed after a while.

    The process is a copy of this one, which has loaded the packages and nothing else.

    Parameters
    ----------
    training
        What to train.
    scratch
        Folder for what comes out.
    kill_after
        Seconds after the beginning; infinity for never.

    Returns
    -------
    What came out, or None if it was killed; and the seconds that it took.
    """
    file = scratch / "outcome.npz"
    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(receive)
            found = train(training, lambda: os.close(send))
            with tempfile.NamedTemporaryFile(dir=scratch, delete=False) as part:
                np.savez(part, **found)
            os.replace(part.name, file)
            os._exit(0)
        except BaseException:
            sys.excepthook(*sys.exc_info())
            os._exit(1)
    os.close(send)
    with os.fdopen(receive) as pipe:
        pipe.read()  # until the other end is closed
    start = time.monotonic()
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        seconds = time.monotonic() - start
        if done:
            if status != 0:
                raise RuntimeError("A training that nobody killed did not end well.")
            return dict(np.load(file)), seconds
        if seconds >= kill_after:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return None, seconds
        time.sleep(0.001)


#: Ways to train, a row of the table each.
WAYS = {
    "in memory": Way(forked, 18, lambda _: False),
    "in a backed h5ad, block-shuffled": Way(forked, 18, lambda _: True),
    "of both kinds in turn, two processes": Way(launched, 14, lambda i: i % 2 == 0, n_processes=2),
}


def one_training(
    way: Way, i: int, kind: str, row: Row, spans: dict[str, float], scratch: Path
) -> list[str]:
    """Train once without a kill and once with some; return what differs."""
    cells(i).write_h5ad(data := scratch / "cells.h5ad")
    folder = scratch / "checkpoints"
    whole = Training(str(data), SETTINGS[kind], i, way.is_backed(i), way.n_processes)
    to_be_killed = replace(whole, folder=str(folder))
    rng, n_kills = np.random.default_rng(i), 0
    want, _ = way.start(whole, scratch, np.inf, rng)
    if kind not in spans:
        _, spans[kind] = way.start(to_be_killed, scratch, np.inf, rng)
        shutil.rmtree(folder)
    got, span = None, spans[kind]
    left_before: set[Path] = set()
    while n_kills < MOST_KILLS:
        got, _ = way.start(to_be_killed, scratch, rng.uniform(0, span), rng)
        if got is None:
            n_kills += 1
            left = set(folder.glob(".checkpoint-*.tmp"))
            row.n_while_writing += bool(left - left_before)
            left_before = left
        elif n_kills > 0:
            break
        else:  # it was faster than before: each is killed once at least
            shutil.rmtree(folder)
            span /= 2
        # Whoever goes on has another seed, so that nothing is the same by chance.
        to_be_killed = replace(to_be_killed, seed=i + (1000 if folder.exists() else 0))
    if got is None:
        got, _ = way.start(to_be_killed, scratch, np.inf, rng)
    assert want is not None
    assert got is not None
    row.n_kills += n_kills
    row.n_with_optimizer += any("optimizer" in name for name in got)
    if way.n_processes > 1 and not any("optimizer" in name for name in got):
        # Over before the kill: the first process returns at once, and starts no other.
        want = {name: values for name, values in want.items() if name.startswith("0/")}
    return differences(want, got)


def measured(name: str, n_trainings: int) -> Row:
    """Kill the trainings of one way."""
    row, kinds = Row(), list(SETTINGS)
    spans: dict[str, float] = {}  # seconds of a training with checkpoints that nobody kills
    for i in range(n_trainings):
        kind = kinds[i % len(kinds)]
        with tempfile.TemporaryDirectory() as scratch:
            differ = one_training(WAYS[name], i, kind, row, spans, Path(scratch))
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

    header = ["cells", "trainings", "kills", "while writing", "the same", "optimizer compared"]
    rows = []
    for name, way in WAYS.items():
        row = measured(name, QUICK if quick else way.n_trainings)
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
        f"{kinds}. Cells in a file are shuffled in buffers of {IN_BLOCKS['buffer_size']} cells, "
        f"in blocks of {IN_BLOCKS['block_size']}: their order is not that of cells in memory. Two "
        'processes (`strategy="ddp"`, messages by gloo) are started by Lightning from a script; '
        "both are killed at once, or the first or the second alone, as is drawn, and the other "
        f"then ends within a minute. Each training is killed (SIGKILL) up to {MOST_KILLS} times, "
        "at a moment drawn uniformly from the length of a training, and goes on with another seed "
        "until it is over. Compared with the same training that nobody killed and that wrote no "
        "checkpoints, bit for bit: weights and batch norm, history, splits, random generators, "
        "and Adam's moments, of each process, unless the kill came after the training was over.",
        "",
        *table(header, rows),
        "",
        f"{cpu_model()}. `OMP_NUM_THREADS=1 python benchmarks/kill.py`",
    ]
    report(page("kill.md", quick), lines)


if __name__ == "__main__":
    main()

"""Processes that train together: a script that is started by Lightning, and that may be killed.

``python _launched.py TRAINING FOLDER``, where TRAINING is JSON, writes what came out of it to
``FOLDER/RANK.npz``.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
from _killed import Outcome, Training, train

#: Seconds in which processes end of whom one was killed.
PATIENCE = 60.0
STARTED = "started\n"


class HangError(RuntimeError):
    """One process was killed, and another did not end."""


def launched(
    training: Training, scratch: Path, kill_after: float, rng: np.random.Generator
) -> tuple[Outcome | None, float]:
    """Train with several processes; kill all of them after a while, or one.

    Parameters
    ----------
    training
        What to train.
    scratch
        Folder for what comes out.
    kill_after
        Seconds after all processes have found each other; infinity for never.
    rng
        Draws whom to kill.

    Returns
    -------
    What came out, by the numbers of the processes, or None of a training that was killed; and the
    seconds that it took.
    """
    out = scratch / "ranks"
    out.mkdir(exist_ok=True)
    for file in out.iterdir():
        file.unlink()
    command = [sys.executable, __file__, json.dumps(asdict(training)), str(out)]
    # Both ends of the pipe are closed once all processes have ended, which inherit it.
    with (
        (scratch / "said").open("w") as said,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=said, text=True, start_new_session=True
        ) as first,
    ):
        assert first.stdout is not None
        for line in first.stdout:
            if line == STARTED:
                break
        try:
            first.communicate(timeout=None if np.isinf(kill_after) else kill_after)
        except subprocess.TimeoutExpired:
            ranks = [None, *range(training.n_processes)]  # None for all at once
            kill(first, ranks[rng.integers(len(ranks))], out)
            return None, kill_after
    if first.returncode != 0:
        raise RuntimeError((scratch / "said").read_text())
    found = {
        f"{file.stem}/{name}": values
        for file in sorted(out.glob("*.npz"))
        for name, values in np.load(file).items()
    }
    seconds = [float(found.pop(name)) for name in [*found] if name.endswith("/seconds")]
    return found, max(seconds)


def kill(first: subprocess.Popen[str], rank: int | None, out: Path) -> None:
    """Kill one of the processes, or all; raise if another then does not end."""
    if rank is None:
        os.killpg(first.pid, signal.SIGKILL)
    else:
        with contextlib.suppress(ProcessLookupError):  # it has just ended
            os.kill(int((out / f"{rank}.pid").read_text()), signal.SIGKILL)
    try:
        first.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        os.killpg(first.pid, signal.SIGKILL)
        raise HangError(f"Process {rank} was killed, and another did not end.") from None


def main() -> None:
    """Be one of the processes."""
    training, out = Training(**json.loads(sys.argv[1])), Path(sys.argv[2])
    rank = int(os.environ.get("LOCAL_RANK", 0))
    (out / f"{rank}.pid").write_text(str(os.getpid()))
    begun = time.monotonic()

    def say() -> None:
        nonlocal begun
        begun = time.monotonic()
        if rank == 0:
            print(STARTED, end="", flush=True)

    found = train(training, say)
    found["seconds"] = np.array(time.monotonic() - begun)  # without the end of the process
    np.savez(part := out / f"{rank}.part.npz", **found)
    part.rename(out / f"{rank}.npz")


if __name__ == "__main__":
    main()

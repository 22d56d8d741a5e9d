"""Two processes that train together and are killed, both or one, go on with the same bits."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "together.py"
KILLS = ["both within an epoch", "the first while it writes", "the second alone"]
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs groups of processes")


def run(folder, kill):
    """Run the script; no process may be left after a minute, however few were killed."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    for name in ("LOCAL_RANK", "PL_GLOBAL_SEED", "MASTER_PORT", "NODE_RANK"):
        environment.pop(name, None)
    # Both processes have the pipe, which is at its end when both are.
    return subprocess.run(
        [sys.executable, str(SCRIPT), str(folder), kill],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        timeout=60,
        start_new_session=True,
        check=False,
    )


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What each process finds after a training that was killed three times."""
    folder = tmp_path_factory.mktemp("together")
    for kill in KILLS:
        done = run(folder, kill)
        assert done.returncode != 0, done.stdout
        assert (folder / f"{kill} was killed").exists(), done.stdout
    done = run(folder, "nobody")
    assert done.returncode == 0, done.stdout
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


def test_as_if_nobody_had_been_killed(found):
    for process in found:
        assert process["differences"] == []
        assert {"weights", "history", "optimizer", "generator"} <= {*process["is_compared"]}


@pytest.mark.parametrize(("kind", "split"), [("trained", 0), ("validated", 1)])
def test_each_cell_of_a_file_is_seen_once_an_epoch_by_one_process(found, kind, split):
    first, second = found
    epochs = list(zip(first[kind], second[kind], strict=True))
    assert len(epochs) == 3
    for of_first, of_second in epochs:
        assert of_first
        assert of_second
        assert sorted(of_first + of_second) == sorted(first["splits"][split])
    assert first["splits"] == second["splits"]

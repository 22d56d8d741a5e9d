"""Checkpoints are whole, the newest two, and read without running anything."""

import os

import numpy as np
import pytest
import torch
from tests.disks import files_of_at_most

from lucidvi.errors import FileError, UntrustedFileError, UnwritableError
from lucidvi.files import Checkpoints, _checkpoints

VALUES = {
    "weights": {"a": torch.arange(6.0).reshape(2, 3).t(), "steps": {0: torch.tensor(3.0)}},
    "generators": [(3, (1, 2), None), np.arange(4, dtype=np.uint32)],
    "number": 0.1,
}
NUMBERS = torch.arange(100.0)


def same(first, second):
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[k], second[k]) for k in first)
    if isinstance(first, list | tuple):
        return type(first) is type(second) and all(map(same, first, second))
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second) and first.stride() == second.stride()
    return np.array_equal(first, second)


def damage(path, kind):
    content = path.read_bytes()
    place = content.find(NUMBERS.numpy().tobytes()) + 9
    changed = {
        "empty": b"",
        "half": content[: len(content) // 2],
        "one bit": content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :],
        "text": b"a checkpoint",
        "another pickle": None,
    }[kind]
    if changed is None:
        torch.save({"weights": torch.zeros(3)}, path)
    else:
        path.write_bytes(changed)


def newest(folder):
    return sorted(folder.glob("checkpoint-*.pt"))[-1]


def test_what_is_read_is_what_was_written(tmp_path):
    Checkpoints(tmp_path / "a" / "run").write(7, VALUES)
    read = Checkpoints(tmp_path / "a" / "run").read()
    assert same({name: read[name] for name in VALUES}, VALUES)


def test_none_yet(tmp_path):
    checkpoints = Checkpoints(tmp_path / "run")
    assert not checkpoints
    assert checkpoints.read() is None
    assert os.listdir(tmp_path) == []


def test_the_newest_two_are_kept_and_other_files_too(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / ".checkpoint-000000000002.pt.0123456789ab.tmp").mkdir()
    checkpoints = Checkpoints(tmp_path)
    for n in (1, 5, 20, 100):
        checkpoints.write(n, {"n": n})
    names = ["checkpoint-000000000020.pt", "checkpoint-000000000100.pt", "notes.txt"]
    assert sorted(os.listdir(tmp_path)) == names
    assert checkpoints.read()["n"] == 100


@pytest.mark.parametrize("kind", ["empty", "half", "one bit", "text", "another pickle"])
def test_a_damaged_one_gives_way_to_the_one_before(tmp_path, caplog, kind):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.write(1, {"n": 1, "x": NUMBERS})
    checkpoints.write(2, {"n": 2, "x": NUMBERS})
    damage(newest(tmp_path), kind)
    again = Checkpoints(tmp_path)
    assert again.read()["n"] == 1
    assert "checkpoint-000000000002.pt" in caplog.text
    assert "The checkpoint before it is taken" in caplog.text
    again.write(2, {"n": 3})  # in the place of the damaged one
    assert Checkpoints(tmp_path).read()["n"] == 3


def test_all_are_damaged(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.write(1, {})
    checkpoints.write(2, {})
    for path in tmp_path.glob("*.pt"):
        damage(path, "half")
    with pytest.raises(
        FileError, match=r"No checkpoint in .* can be read: .*000002.*000001"
    ) as it:
        Checkpoints(tmp_path).read()
    assert f"rm -r {tmp_path}" in it.value.remedy


def test_one_of_another_layout(tmp_path, monkeypatch):
    monkeypatch.setattr(_checkpoints, "LAYOUT", 99)
    Checkpoints(tmp_path).write(1, {})
    monkeypatch.undo()
    with pytest.raises(FileError, match="layout 99; this version reads 1"):
        Checkpoints(tmp_path).read()


class Code:
    def __reduce__(self):
        return os.system, ("touch was_run",)


def test_one_that_would_run_code_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Checkpoints(tmp_path).write(1, {})
    torch.save({"weights": Code()}, newest(tmp_path))
    with pytest.raises(UntrustedFileError):
        Checkpoints(tmp_path).read()
    assert not (tmp_path / "was_run").exists()


def test_what_is_no_data_is_not_written(tmp_path):
    with pytest.raises(FileError, match=r"`plan\['practice'\]` of the model is a .*Code"):
        Checkpoints(tmp_path).write(1, {"plan": {"practice": Code()}})
    assert not Checkpoints(tmp_path)


@pytest.mark.parametrize("n_bytes", [0, 1_000, 40_000])
def test_a_full_disk_leaves_those_before(tmp_path, n_bytes):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.write(1, {"n": 1})
    with (
        pytest.raises(UnwritableError, match=r"000002\.pt cannot be written: File too large"),
        files_of_at_most(n_bytes),
    ):
        checkpoints.write(2, {"x": torch.zeros(10_000)})
    assert os.listdir(tmp_path) == ["checkpoint-000000000001.pt"]
    assert Checkpoints(tmp_path).read()["n"] == 1


def test_a_file_in_the_place_of_the_folder(tmp_path):
    (tmp_path / "run").write_text("notes")
    with pytest.raises(UnwritableError, match="run is a file"):
        Checkpoints(tmp_path / "run").write(1, {})
    assert (tmp_path / "run").read_text() == "notes"


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="there is no /proc")
def test_a_place_where_nobody_can_write():
    with pytest.raises(UnwritableError, match=r"/proc/run/checkpoint-.* cannot be written"):
        Checkpoints("/proc/run").write(1, {})

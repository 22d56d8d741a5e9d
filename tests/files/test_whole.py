"""A file that is not the one that was written is refused before anything reads it."""

import re
import zipfile

import numpy as np
import pytest
import torch

from lucidvi.errors import DataError, FileError
from lucidvi.files import _whole, check_digest, digest_of, reading, whole
from lucidvi.files._reader import read_pickle
from lucidvi.files._whole import check_archive


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "model.pt"
    torch.save({"weights": torch.arange(2_000.0)}, path)
    return path


def test_a_flipped_bit_of_a_weight_is_found(weights):
    """Torch itself reads the file with another weight."""
    assert torch.equal(read_pickle(str(weights))["weights"], torch.arange(2_000.0))
    content = bytearray(weights.read_bytes())
    at = content.index(np.arange(100, 110, dtype=np.float32).tobytes())
    content[at] ^= 1
    weights.write_bytes(content)
    assert not torch.equal(torch.load(weights)["weights"], torch.arange(2_000.0))
    with pytest.raises(FileError, match=r"checksum of its member '.*data/0' is wrong"):
        read_pickle(str(weights))
    with pytest.raises(FileError, match="checksum"):
        read_pickle(str(weights), trust=True)


def test_members_of_one_name_and_compressed_ones(weights, tmp_path):
    check_archive(weights, compressed=False)
    twice, small = tmp_path / "twice.zip", tmp_path / "small.zip"
    with zipfile.ZipFile(twice, "w") as archive:
        archive.writestr("a", b"1")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("a", b"2")
    with pytest.raises(zipfile.BadZipFile, match="one name"):
        check_archive(twice)
    with zipfile.ZipFile(small, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", bytes(1_000))
    check_archive(small)
    with pytest.raises(zipfile.BadZipFile, match="compressed"):
        check_archive(small, compressed=False)


def test_what_would_unpack_to_too_much_is_not_unpacked(tmp_path, monkeypatch):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, a=np.zeros(100_000))
    check_archive(path)
    monkeypatch.setattr(_whole, "LARGEST", 1_000)
    with pytest.raises(zipfile.BadZipFile, match=r"unpack to 800,\d+ bytes"):
        check_archive(path)


def test_digests(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"abc")  # the example of FIPS 180
    assert digest_of(path).startswith("ba7816bf8f01cfea414140de5dae2223")
    for digest in (None, digest_of(path)):
        check_digest(path, digest, "Write it.")
    for digest in ("ba7816", 3, []):
        with pytest.raises(FileError, match="not the file that was saved") as raised:
            check_digest(path, digest, "Write it.")
        assert raised.value.remedy.endswith("Write it.")


@pytest.mark.parametrize("error", [KeyError("x"), RecursionError(), MemoryError(), ValueError()])
def test_whatever_is_raised_names_the_file(error):
    holds = r"^/a/b holds no whole model \(\w+: .+\)\."
    with pytest.raises(FileError, match=holds) as raised, whole("/a/b", "model"):
        raise error
    assert raised.value.__cause__ is error
    assert re.search("copy or download it again", raised.value.remedy)


def test_errors_of_ours_and_interrupts_are_left_alone():
    for error in (DataError("x", remedy="y"), KeyboardInterrupt()):
        with pytest.raises(type(error)), whole("/a", "model"):
            raise error


def test_reading_is_silent():
    with reading("/a", "model"):
        np.array([1 + 1j]).astype(float)  # which warns

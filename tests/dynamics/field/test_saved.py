"""A field in a file: the same field, or one error."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.linear_field import straight

from lucidvi import dynamics
from lucidvi.errors import FileError


def test_it_comes_back_as_it_was(field, tmp_path):
    path, z = tmp_path / "flow.npz", np.random.default_rng(0).normal(size=(6, 2))
    field.save(path)
    state = torch.random.get_rng_state()
    read = dynamics.VectorField.load(path)
    assert torch.equal(state, torch.random.get_rng_state())
    assert repr(read) == repr(field)
    for ask in ("velocity", "growth", "uncertainty"):
        assert (getattr(read, ask)(z, 1.5) == getattr(field, ask)(z, 1.5)).all()
    moved, expected = read.integrate(z, 0, [1, 2]), field.integrate(z, 0, [1, 2])
    assert (moved.z == expected.z).all()
    assert (moved.log_mass == expected.log_mass).all()
    assert read.samples.equals(field.samples)
    assert read.samples.index.name == "time"


def test_without_growth_and_without_time(tmp_path):
    path, z = tmp_path / "flow.npz", np.ones((3, 2))
    field = straight([1.0, 2.0], is_stationary=True)
    field.save(path)
    read = dynamics.VectorField.load(path)
    assert read.is_stationary
    assert read.growths is None
    assert (read(z, 0) == field(z, 0)).all()
    assert read.samples.empty
    straight([3.0, 2.0]).save(path)  # in its place
    assert (dynamics.VectorField.load(path)(z, 0) == [3, 2]).all()


def test_a_flipped_bit_anywhere(tmp_path):
    path, field = tmp_path / "flow.npz", straight([[1.0, 2.0]], growth=[0.1, 0.2])
    field.save(path)
    whole, z = path.read_bytes(), np.ones((3, 2))
    outcomes = set()
    for at in range(0, len(whole), 7):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 16]) + whole[at + 1 :])
        try:
            read = dynamics.VectorField.load(path)
        except FileError:
            outcomes.add("refused")
        else:  # such as in the time at which the file was written
            outcomes.add("read")
            assert (read(z, 1) == field(z, 1)).all()
            assert repr(read) == repr(field)
    assert outcomes == {"refused", "read"}


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.9])
def test_broken_files(field, tmp_path, kept):
    path = tmp_path / "flow.npz"
    field.save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(FileError, match=r"flow.npz' cannot be read"):
        dynamics.VectorField.load(path)


@pytest.mark.parametrize(
    "name", ["center", "times", "spread", "velocities/weights.0", "velocities/biases.2"]
)
def test_files_that_lack_a_part(field, tmp_path, name):
    path = tmp_path / "flow.npz"
    field.save(path)
    with np.load(path) as saved:
        arrays = {key: saved[key] for key in saved.files}
    del arrays[name]
    np.savez(path, **arrays)
    with pytest.raises(FileError, match="is no whole field"):
        dynamics.VectorField.load(path)
    arrays["lucidvi_field"] = np.array(9)
    np.savez(path, **arrays)
    with pytest.raises(FileError, match="a field of the layout 9"):
        dynamics.VectorField.load(path)


def test_files_of_another_kind(field, tmp_path):
    np.savez(tmp_path / "other.npz", a=np.ones(3))
    with pytest.raises(FileError, match="holds no field"):
        dynamics.VectorField.load(tmp_path / "other.npz")
    np.savez(tmp_path / "objects.npz", lucidvi_field=np.array([{}], dtype=object))
    with pytest.raises(FileError, match="cannot be read"):
        dynamics.VectorField.load(tmp_path / "objects.npz")
    with pytest.raises(FileError, match=r"There is no file .*none.npz"):
        dynamics.VectorField.load(tmp_path / "none.npz")
    with pytest.raises(FileError, match=r"does not end in \.npz"):
        field.save(tmp_path / "flow.txt")
    with pytest.raises(FileError, match="cannot be written"):
        field.save(tmp_path / "other.npz" / "flow.npz")


BROKEN = {
    "center": lambda x: x[:, None],
    "axes": lambda x: x[:1, :1],
    "times": lambda x: x[::-1],
    "spread": lambda x: 0 * x,
    "speed": lambda x: np.nan * x,
    "velocities/weights.0": lambda x: np.nan * x,
    "growths/biases.0": lambda x: x[:1],
    "lucidvi_field": lambda x: x + 0.5,
}


@pytest.mark.parametrize("name", BROKEN)
def test_parts_that_do_not_fit(field, tmp_path, name):
    path = tmp_path / "flow.npz"
    field.save(path)
    with np.load(path) as saved:
        arrays = {key: saved[key] for key in saved.files}
    arrays[name] = BROKEN[name](arrays[name])
    np.savez(path, **arrays)
    with pytest.raises(FileError, match=r"is no whole field|a field of the layout"):
        dynamics.VectorField.load(path)


def test_bytes_that_are_changed(field, tmp_path):
    """Whatever is changed, there is a field, or one error of ours."""
    path, rng = tmp_path / "flow.npz", np.random.default_rng(0)
    field.save(path)
    whole = path.read_bytes()
    for _ in range(60):
        changed = bytearray(whole)
        for place in rng.integers(len(whole), size=3):
            changed[place] = rng.integers(256)
        path.write_bytes(bytes(changed))
        try:
            read = dynamics.VectorField.load(path)
        except FileError:
            continue
        assert np.isfinite(read(np.ones((2, 2)), 1.0)).all()
    np.save(tmp_path / "one.npy", np.ones(3))
    (tmp_path / "one.npy").rename(path)
    with pytest.raises(FileError, match="one array, without a name"):
        dynamics.VectorField.load(path)


def test_notes_on_the_samples_are_kept(field, tmp_path):
    noted = replace(field, samples=field.samples.assign(note=["a", "b", "c", "d", "e"]))
    noted.save(tmp_path / "flow.npz")
    read = dynamics.VectorField.load(tmp_path / "flow.npz")
    assert read.samples["note"].tolist() == ["a", "b", "c", "d", "e"]

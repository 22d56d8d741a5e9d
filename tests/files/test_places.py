"""Where models, references and reports are written to: folders, files, links, nowhere."""

import os

import numpy as np
import pytest
from tests.disks import files_of_at_most

from lucidvi.atlas import Reference
from lucidvi.demo import run_demo
from lucidvi.errors import FileError, UnwritableError
from lucidvi.files import write_text, written_whole
from lucidvi.model import SCVI


@pytest.fixture(scope="module")
def model(make_adata):
    adata = make_adata(40)
    SCVI.setup_anndata(adata, batch_key="batch")
    model = SCVI(adata, n_hidden=8, n_latent=2)
    model.module.eval()
    model.is_trained_ = True
    return model


@pytest.fixture(scope="module")
def reference(model):
    return Reference.from_model(model, "label")


@pytest.fixture(params=["model", "model with cells", "reference"])
def saved(request, model, reference):
    """Return a function that saves, and one that says whether what is there can be loaded."""
    if request.param == "reference":
        return reference.save, lambda path: Reference.load(path).cells.n_obs == 40
    with_cells = request.param == "model with cells"

    def save(path, overwrite=False):
        model.save(str(path), overwrite=overwrite, save_anndata=with_cells)

    def loads(path):
        loaded = SCVI.load(str(path), adata=None if with_cells else model.adata)
        latent = loaded.get_latent_representation()
        return np.allclose(latent, model.get_latent_representation(), atol=1e-5)

    return save, loads


def a_file(path):
    path.write_text("notes")


def a_link_to_a_file(path):
    (path.parent / "notes.txt").write_text("notes")
    path.symlink_to(path.parent / "notes.txt")


def a_link_to_nothing(path):
    path.symlink_to(path.parent / "nowhere")


def a_link_to_a_folder(path):
    (path.parent / "elsewhere").mkdir()
    path.symlink_to(path.parent / "elsewhere")


def a_folder(path):
    path.mkdir()


@pytest.mark.parametrize(
    "there", [a_file, a_link_to_a_file, a_link_to_nothing, a_link_to_a_folder, a_folder]
)
def test_what_is_there_is_replaced_if_asked_to(saved, tmp_path, there):
    """The remedy of the error is pasted."""
    save, loads = saved
    path = tmp_path / "place"
    there(path)
    with pytest.raises(FileError, match="place already exists") as raised:
        save(path)
    assert "`overwrite=True`" in raised.value.remedy
    save(path, overwrite=True)
    assert path.is_dir()
    assert loads(path)
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".")]
    if there is a_link_to_a_file:
        assert (tmp_path / "notes.txt").read_text() == "notes"
    if there is a_link_to_a_folder:
        assert path.is_symlink()


def test_what_was_there_stays_if_saving_fails(tmp_path, monkeypatch):
    path = tmp_path / "place"
    a_file(path)
    replace = os.replace

    def full(source, target):
        if str(target) == str(path) and os.path.isdir(source):
            raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space"), written_whole(path, "main", True) as stage:
        (stage / "main").write_text("new")
    assert path.read_text() == "notes"
    assert os.listdir(tmp_path) == ["place"]


def test_folders_above_are_made(saved, tmp_path):
    save, loads = saved
    save(tmp_path / "a" / "b" / "c")
    assert loads(tmp_path / "a" / "b" / "c")


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_file_above(saved, tmp_path, overwrite):
    save, _ = saved
    a_file(tmp_path / "file")
    with pytest.raises(UnwritableError, match="file is a file") as raised:
        save(tmp_path / "file" / "model", overwrite=overwrite)
    assert isinstance(raised.value, OSError)  # which scripts may catch
    assert (tmp_path / "file").read_text() == "notes"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_to(saved, tmp_path):
    save, _ = saved
    (tmp_path / "closed").mkdir(mode=0o500)
    with pytest.raises(UnwritableError, match="Permission denied"):
        save(tmp_path / "closed" / "model")


def test_a_system_that_refuses(saved, tmp_path, monkeypatch):
    save, _ = saved

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.mkdir", refuse)
    with pytest.raises(UnwritableError, match="place cannot be written: Permission denied"):
        save(tmp_path / "place")


# h5py's, of a file that it cannot close
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("n_bytes", [0, 2_000, 8_000])
def test_a_disk_that_is_full(saved, tmp_path, n_bytes):
    """What was there before is there still, and can be loaded."""
    save, loads = saved
    save(tmp_path / "place")
    before = sorted(os.listdir(tmp_path / "place"))
    message = "place cannot be written: File too large"
    with pytest.raises(UnwritableError, match=message), files_of_at_most(n_bytes):
        save(tmp_path / "place", overwrite=True)
    assert sorted(os.listdir(tmp_path / "place")) == before
    assert os.listdir(tmp_path) == ["place"]
    assert loads(tmp_path / "place")


def test_the_home_of_the_user(saved, tmp_path, monkeypatch):
    save, loads = saved
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    save("~/place")
    assert os.listdir(tmp_path) == ["place"]
    assert loads("~/place")
    with pytest.raises(FileError, match="already exists"):
        save("~/place")


def test_a_report_never_takes_the_place_of_a_file_above(tmp_path):
    a_file(tmp_path / "file")
    with pytest.raises(FileError, match="cannot be written"):
        write_text(tmp_path / "file" / "report.json", ".json", "{}")
    assert (tmp_path / "file").read_text() == "notes"


def test_a_report_where_a_folder_is(tmp_path):
    (tmp_path / "report.html").mkdir()
    with pytest.raises(FileError, match="cannot be written"):
        write_text(tmp_path / "report.html", ".html", "")
    assert os.listdir(tmp_path / "report.html") == []


def test_a_demo_where_a_file_is(tmp_path):
    a_file(tmp_path / "file")
    with pytest.raises(UnwritableError, match="file is a file"):
        run_demo(tmp_path / "file")

"""Saved models: data only, whole or not there at all, and read by scvi-tools as well."""

import functools
import json
import os
import pickle
import re
import runpy
import shutil
import subprocess
import sys
import tarfile
import threading
from collections import OrderedDict, defaultdict
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import scvi.model
import torch
from anndata import read_h5ad

from lucidvi.data import align_genes
from lucidvi.errors import FileError, GeneMismatchError, LucidVIError, UntrustedFileError
from lucidvi.files import _atomic
from lucidvi.model import SCVI

SAVED = Path(__file__).parent / "saved"
WRITTEN = sorted(folder.name for folder in SAVED.glob("scvi-*"))
saved_adata = runpy.run_path(str(SAVED / "make.py"))["saved_adata"]
SETUP = {
    "batch_key": "batch",
    "labels_key": "label",
    "categorical_covariate_keys": ["donor"],
    "continuous_covariate_keys": ["age"],
}


def make_model(model_cls=SCVI, max_epochs=1, **kwargs):
    scvi.settings.seed = 0
    adata = saved_adata()
    model_cls.setup_anndata(adata, **SETUP)
    model = model_cls(adata, **{"n_latent": 2, "n_hidden": 4, **kwargs})
    if max_epochs:
        model.train(max_epochs, check_val_every_n_epoch=1, accelerator="cpu")
    return model


@pytest.fixture(scope="module")
def model():
    return make_model(max_epochs=2)


@pytest.fixture
def folder(model, tmp_path):
    model.save(str(tmp_path / "model"))
    return tmp_path / "model"


def read_all(file):
    return torch.load(file, weights_only=False)


def assert_equal(got, want):
    """Equal values of equal types, however deep."""
    if isinstance(want, dict):
        assert isinstance(got, dict)
        assert list(got) == list(want)
        for key in want:
            assert_equal(got[key], want[key])
    elif isinstance(want, np.ndarray):
        assert got.dtype == want.dtype
        np.testing.assert_array_equal(got, want)
    elif isinstance(want, pd.DataFrame):
        pd.testing.assert_frame_equal(got, want)
    else:
        assert type(got) is type(want)
        assert got == want


# -- what was saved comes back ----------------------------------------------------------------


@pytest.mark.parametrize("with_anndata", [True, False])
def test_everything_comes_back(model, tmp_path, with_anndata):
    model.save(str(tmp_path / "m"), save_anndata=with_anndata)
    loaded = SCVI.load(str(tmp_path / "m"), adata=None if with_anndata else saved_adata())
    np.testing.assert_array_equal(
        loaded.get_latent_representation(), model.get_latent_representation()
    )
    assert loaded.is_trained_
    assert loaded.init_params_ == model.init_params_
    assert_equal(loaded.history, model.history)
    for name in ("train_indices", "validation_indices", "test_indices"):
        assert_equal(getattr(loaded, name), getattr(model, name))
    got, want = dict(loaded.registry_), dict(model.registry_)
    for registry in (got, want):
        del registry["_scvi_uuid"]  # that of the AnnData, which may be another one
    assert_equal(got, want)
    assert_equal(SCVI.load_registry(str(tmp_path / "m")), dict(model.registry_))
    assert sorted(os.listdir(tmp_path)) == ["m"]


def test_training_goes_on_after_loading(folder):
    loaded = SCVI.load(str(folder), adata=saved_adata())
    loaded.train(2, accelerator="cpu", check_val_every_n_epoch=1)
    assert len(loaded.history["elbo_train"]) == 4


def test_untrained_and_with_prefix(tmp_path):
    untrained = make_model(max_epochs=0)
    for prefix in ("a_", "b_"):
        untrained.save(str(tmp_path), prefix=prefix, overwrite=True, save_anndata=True)
    assert sorted(os.listdir(tmp_path)) == [
        *("a_adata.h5ad", "a_model.pt", "b_adata.h5ad", "b_model.pt")
    ]
    loaded = SCVI.load(str(tmp_path), prefix="b_")
    assert not loaded.is_trained_
    assert loaded.history is None


@pytest.mark.parametrize(
    ("arguments", "argument"),
    [
        ({"var_activation": torch.nn.functional.softplus}, "var_activation"),
        ({"var_activation": torch.exp}, "var_activation"),
    ],
)
@pytest.mark.parametrize("writer", [SCVI, scvi.model.SCVI])
def test_known_activations_are_saved(tmp_path, writer, arguments, argument):
    make_model(writer, 0, **arguments).save(str(tmp_path / "m"))
    loaded = SCVI.load(str(tmp_path / "m"), adata=False)
    assert loaded.init_params_["kwargs"]["kwargs"][argument] is arguments[argument]


def test_other_functions_are_named_and_nothing_is_written(tmp_path):
    model = make_model(max_epochs=0, var_activation=lambda x: x.exp())
    with pytest.raises(
        FileError, match=r"(?s)var_activation.*saved by name: torch\.exp"
    ) as raised:
        model.save(str(tmp_path / "m"))
    assert "lambda" in str(raised.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "value", [object(), {"deep": [1, functools.partial(print)]}, np.array([object()])]
)
def test_attributes_that_are_no_data_are_named(model, tmp_path, value):
    model.remark_ = value
    try:
        with pytest.raises(FileError, match=r"`remark_.* of the model is a "):
            model.save(str(tmp_path / "m"))
    finally:
        del model.remark_
    assert not list(tmp_path.iterdir())


# -- only data is written ---------------------------------------------------------------------


def numpy_globals():
    dtypes = {type(np.dtype(code)) for code in ("O", "U1", "i8", "f4", "f8", "b1")}
    core = np._core.multiarray
    return [np.ndarray, np.dtype, core._reconstruct, core.scalar, bytes, *dtypes]


def test_torch_reads_the_file_as_weights_only(model, folder):
    with torch.serialization.safe_globals(numpy_globals()):
        found = torch.load(folder / "model.pt", weights_only=True)
    assert set(found) == {"model_state_dict", "var_names", "attr_dict", "lucidvi_layout"}
    assert_equal(found["var_names"], model.get_var_names())
    weights = found["model_state_dict"]
    assert weights.pop("pyro_param_store") == {"params": {}, "constraints": {}}
    for key, weight in model.module.state_dict().items():
        assert torch.equal(weights[key], weight)


def test_the_file_names_nothing_but_arrays_and_tensors(folder):
    named = torch.serialization.get_unsafe_globals_in_checkpoint(folder / "model.pt")
    assert {name.partition(".")[0] for name in named} <= {"numpy", "builtins"}


def test_scvi_tools_reads_it_and_trains_further(model, folder):
    theirs = scvi.model.SCVI.load(str(folder), adata=saved_adata())
    # Sparse counts are multiplied with the weights in another order, which rounds otherwise.
    np.testing.assert_allclose(
        theirs.get_latent_representation(),
        model.get_latent_representation(),
        rtol=1e-6,
        atol=1e-6,
    )
    assert theirs.history is None
    values = theirs.history_values_["elbo_train"]
    table = pd.DataFrame(values["columns"], index=values["index"])
    np.testing.assert_array_equal(table, model.history["elbo_train"])
    with pytest.warns(UserWarning, match="history cannot be updated"):
        theirs.train(1, accelerator="cpu")
    theirs.save(str(folder), overwrite=True)
    assert SCVI.load(str(folder), adata=False).is_trained_


def test_arguments_of_torch_save_that_make_the_file_unreadable(model, tmp_path):
    with pytest.raises(FileError, match=r"model.pt would not be readable.*pickle"):
        model.save(str(tmp_path / "m"), save_kwargs={"pickle_protocol": 5})
    assert not list(tmp_path.iterdir())
    model.save(str(tmp_path / "m"), save_kwargs={"_use_new_zipfile_serialization": False})
    assert SCVI.load(str(tmp_path / "m"), adata=False).is_trained_


# -- what scvi-tools wrote --------------------------------------------------------------------


@pytest.mark.parametrize("written", WRITTEN)
def test_models_of_scvi_tools_need_no_trust(written, tmp_path):
    """Written by other versions of scvi-tools, pandas, NumPy and Python than those in use."""
    expected = json.loads((SAVED / written / "expected.json").read_text())
    model = SCVI.load(str(SAVED / written), adata=saved_adata())
    np.testing.assert_allclose(model.get_latent_representation(), expected["latent"], rtol=1e-5)
    assert list(model.history) == list(expected["history"])
    for key, values in expected["history"].items():
        frame = model.history[key]
        assert list(frame.columns) == [key]
        assert frame.index.name == "epoch"
        assert frame[key].tolist() == values
    assert model.train_indices.tolist() == expected["train_indices"]
    assert model.registry_["setup_args"]["batch_key"] == "batch"
    # and our own file of it says the same
    model.save(str(tmp_path / "m"))
    assert_equal(SCVI.load(str(tmp_path / "m"), adata=False).history, model.history)


def test_the_fixtures_are_there():
    assert WRITTEN == ["scvi-1.4.2", "scvi-1.5.1", "scvi-1.5.1-pyarrow"]


def test_what_is_read_is_what_pickle_would_read(tmp_path):
    theirs = make_model(scvi.model.SCVI)
    theirs.save(str(tmp_path / "m"))
    attributes = read_all(tmp_path / "m" / "model.pt")["attr_dict"]
    ours = SCVI.load(str(tmp_path / "m"), adata=False)
    assert_equal(ours.history_, attributes["history_"])
    assert_equal(SCVI.load_registry(str(tmp_path / "m")), attributes["registry_"])


def test_trust_reads_the_same(folder, tmp_path):
    theirs = make_model(scvi.model.SCVI)
    theirs.save(str(tmp_path / "theirs"))
    for path in (folder, tmp_path / "theirs"):
        cautious, trusting = (
            SCVI.load(str(path), adata=False, trust=trust) for trust in (False, True)
        )
        assert_equal(trusting.history_, cautious.history_)
        assert_equal(trusting.registry_, cautious.registry_)


ARRAYS = {
    "integers": np.arange(6).reshape(2, 3),
    "by column": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "empty": np.zeros((0, 3), dtype=np.float32),
    "big-endian": np.arange(3, dtype=">i4"),
    "truth": np.array([True, False]),
    "text": np.array(["a", "bcd"]),
    "objects": np.array(["a", None, 1, 2.5, "x\0"], dtype=object),
    "matrix of objects": np.array([["a", "b"], ["c", "d"]], dtype=object),
    "complex": np.array([1 + 2j]),
}


@pytest.mark.parametrize("kind", ARRAYS)
@pytest.mark.parametrize("writer", [SCVI, scvi.model.SCVI])
def test_arrays(model, tmp_path, kind, writer):
    model = model if writer is SCVI else make_model(writer, 0)
    model.remark_ = {"array": ARRAYS[kind], "scalar": ARRAYS[kind].ravel()[:1].tolist()}
    try:
        model.save(str(tmp_path / "m"))
        assert_equal(SCVI.load(str(tmp_path / "m"), adata=False).remark_, model.remark_)
    finally:
        del model.remark_


def test_other_values(model, tmp_path):
    remark = {
        "scalar": np.float32(0.1),
        "number": 2**100,
        "text": np.str_("x"),
        "default": defaultdict(dict, {"a": {"b": (1, [2.5, None], {3})}}),
        "tensor": torch.arange(3),
        "index": pd.Index(["a", "b"]),
    }
    model.remark_ = remark
    try:
        model.save(str(tmp_path / "m"))
    finally:
        del model.remark_
    loaded = SCVI.load(str(tmp_path / "m"), adata=False).remark_
    assert loaded["scalar"] == remark["scalar"]
    assert loaded["scalar"].dtype == np.float32
    assert loaded["number"] == 2**100
    assert type(loaded["text"]) is str
    assert loaded["default"] == remark["default"]
    assert torch.equal(loaded["tensor"], remark["tensor"])
    assert list(loaded["index"]) == ["a", "b"]


# -- hostile files ----------------------------------------------------------------------------


class Calls:
    """Pickled as a call of a function."""

    def __init__(self, function, *arguments, state=None):
        self.reduced = (function, arguments) + ((state,) if state is not None else ())

    def __reduce__(self):
        return self.reduced

    def __call__(self):
        """Only so that the result of a call may be called in turn."""


class Frame(pd.DataFrame):
    """A table whose state holds something else than columns."""

    def __reduce__(self):
        return pd.DataFrame, (), {"_mgr": self.attrs["gadget"], "_typ": "dataframe"}


def with_gadget(gadget):
    frame = Frame()
    frame.attrs["gadget"] = gadget
    return frame


GADGETS = {
    "os.system": lambda command: Calls(os.system, command),
    "eval": lambda command: Calls(eval, f"__import__('os').system({command!r})"),
    "exec": lambda command: Calls(exec, f"import os; os.system({command!r})"),
    "getattr": lambda command: Calls(Calls(getattr, Calls(__import__, "os"), "system"), command),
    "partial": lambda command: Calls(functools.partial(os.system, command)),
    "popen": lambda command: Calls(subprocess.call, command.split()),
    "parse": lambda command: Calls(json.loads, "1"),
    "import": lambda command: Calls(__import__, "os"),
    "unpickle": lambda command: Calls(pickle.loads, pickle.dumps(Calls(os.system, command))),
    "objects": lambda command: np.array([Calls(os.system, command)], dtype=object),
    "state of an array": lambda command: Calls(
        np._core.multiarray._reconstruct, np.ndarray, (0,), b"b", state=Calls(os.system, command)
    ),
    "table": lambda command: pd.DataFrame({"a": [Calls(os.system, command)]}),
    "state of a table": lambda command: with_gadget(Calls(os.system, command)),
    "callable in a dtype": lambda command: Calls(np.dtype, Calls(os.system, command)),
    "default": lambda command: defaultdict(functools.partial(os.system, command)),
    "tensor": lambda command: Calls(
        torch._utils._rebuild_parameter, torch.zeros(1), True, Calls(os.system, command)
    ),
    "wrapper": lambda command: Calls(
        torch._tensor._rebuild_from_type_v2, os.system, torch.Tensor, (command,), {}
    ),
    "reading a file": lambda command: Calls(np.fromfile, "/etc/passwd"),
    "scvi": lambda command: Calls(scvi.model.SCVI.load, command),
}
PLACES = {
    "attribute": lambda file, gadget: file["attr_dict"].update(remark_=gadget),
    "weights": lambda file, gadget: file["model_state_dict"].update({"px_r": gadget}),
    "history": lambda file, gadget: file["attr_dict"].update(history_={"elbo": gadget}),
    "registry": lambda file, gadget: file["attr_dict"]["registry_"].update(x=[gadget]),
    "names": lambda file, gadget: file.update(var_names=gadget),
    "arguments": lambda file, gadget: file["attr_dict"]["init_params_"].update(x=gadget),
    "pyro": lambda file, gadget: file["model_state_dict"]["pyro_param_store"].update(x=gadget),
}


@pytest.fixture(scope="module")
def content(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("content") / "m"
    model.save(str(folder))
    return (folder / "model.pt").read_bytes()


@pytest.fixture
def hostile(content, tmp_path):
    """Return a function that puts a gadget into a saved model, and the gadget's trace."""
    trace = tmp_path / "trace"
    folder = tmp_path / "hostile"
    folder.mkdir()
    (folder / "model.pt").write_bytes(content)

    def write(gadget, place="attribute", **save_kwargs):
        file = read_all(folder / "model.pt")
        PLACES[place](file, GADGETS[gadget](f"touch {trace}"))
        torch.save(file, folder / "model.pt", **save_kwargs)
        return str(folder)

    return write, trace


def entrances(path):
    adata = saved_adata()
    yield lambda: SCVI.load(path, adata=False)
    yield lambda: SCVI.load(path, adata=adata)
    yield lambda: SCVI.load_registry(path)
    yield lambda: SCVI.view_setup_args(path)
    yield lambda: SCVI.load_query_data(adata, path)
    yield lambda: SCVI.prepare_query_anndata(adata, path)
    yield lambda: SCVI.prepare_query_mudata(adata, path)


@pytest.mark.parametrize("gadget", GADGETS)
def test_a_gadget_runs_nothing(hostile, gadget):
    write, trace = hostile
    with pytest.raises(LucidVIError, match=r"model\.pt") as raised:
        SCVI.load(write(gadget), adata=False)
    assert not trace.exists()
    assert "trust=True" in raised.value.remedy or "damaged" in raised.value.remedy


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("zipped", [True, False])
def test_no_place_lets_a_gadget_in(hostile, place, zipped):
    write, trace = hostile
    path = write("os.system", place, _use_new_zipfile_serialization=zipped)
    for enter in entrances(path):
        with pytest.raises(UntrustedFileError, match=r"asks for `(posix|nt)\.system`"):
            enter()
    assert not trace.exists()
    # The gadget is real: with trust it runs.
    with pytest.raises(Exception):  # noqa: B017, PT011 (what is left of the model is no model)
        SCVI.load(path, adata=False, trust=True).get_latent_representation()
    assert trace.exists()


@pytest.mark.parametrize("protocol", range(6))
def test_bare_pickles(tmp_path, protocol):
    trace = tmp_path / "trace"
    (tmp_path / "model.pt").write_bytes(
        pickle.dumps(Calls(os.system, f"touch {trace}"), protocol=protocol)
    )
    with pytest.raises(FileError, match=r"model\.pt"):
        SCVI.load(str(tmp_path), adata=False)
    assert not trace.exists()


def test_pickles_in_a_tar(tmp_path):
    trace = tmp_path / "trace"
    with tarfile.open(tmp_path / "model.pt", "w") as tar:
        for name in ("storages", "tensors", "pickle"):
            (tmp_path / name).write_bytes(pickle.dumps(Calls(os.system, f"touch {trace}"), 2))
            tar.add(tmp_path / name, name)
    with pytest.raises(FileError, match=r"model\.pt"):
        SCVI.load(str(tmp_path), adata=False)
    assert not trace.exists()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"registry_.setup_method_name": "convert_legacy_save"}, "asks for the methods"),
        ({"get_normalized_function_name_": "save"}, "asks for the methods"),
        ({"_validate_anndata": 1}, "sets `_validate_anndata`"),
        ({"__class__": 1}, "sets `__class__`"),
        ({"module": 1}, "sets `module`"),
    ],
)
def test_data_do_not_choose_methods(content, tmp_path, change, says):
    (tmp_path / "model.pt").write_bytes(content)
    file = read_all(tmp_path / "model.pt")
    for name, value in change.items():
        target = file["attr_dict"]
        *path, last = name.split(".")
        for part in path:
            target = target[part]
        target[last] = value
    torch.save(file, tmp_path / "model.pt")
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(UntrustedFileError, match=says):
        SCVI.load(str(tmp_path), adata=saved_adata())
    assert sorted(os.listdir(tmp_path)) == before


def test_what_others_allow_is_set_aside_and_kept(hostile, folder):
    write, trace = hostile
    path = write("parse")
    before = torch.serialization.get_safe_globals()
    torch.serialization.add_safe_globals([json.loads])
    try:
        with pytest.raises(UntrustedFileError, match=r"json\.loads"):
            SCVI.load(path, adata=False)
        SCVI.load(str(folder), adata=False)
        assert set(torch.serialization.get_safe_globals()) == {*before, json.loads}
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(before)
    assert not trace.exists()


def test_threads_load_at_once(folder):
    failures, before = [], set(torch.serialization.get_safe_globals())

    def load():
        try:
            SCVI.load_registry(str(folder))
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=load) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert set(torch.serialization.get_safe_globals()) == before


def test_a_nested_bomb_is_read_in_no_time(content, tmp_path):
    (tmp_path / "model.pt").write_bytes(content)
    file = read_all(tmp_path / "model.pt")
    bomb = ["x"]
    for _ in range(60):
        bomb = [bomb, bomb]
    file["attr_dict"]["bomb_"] = bomb
    torch.save(file, tmp_path / "model.pt")
    assert len(SCVI.load(str(tmp_path), adata=False).bomb_) == 2


def test_the_source_unpickles_in_one_place():
    source = Path(sys.modules["lucidvi"].__file__).parent
    texts = {file: file.read_text() for file in source.rglob("*.py")}
    assert sum(text.count("weights_only=False") for text in texts.values()) == 1
    for file, text in texts.items():
        assert not re.search(r"^\s*(import|from) (pickle|dill|cloudpickle)", text, re.M), file
        # joblib starts processes too, which is another thing than to read a file.
        assert not re.search(r"^\s*import joblib|from joblib import.*\bload\b", text, re.M), file
        assert (
            not re.search(r"read_pickle\(|pickle\.loads?\(", text) or file.parent.name == "files"
        )


# -- files that are no model ------------------------------------------------------------------


def cut(content):
    return content[: len(content) // 2]


def h5ad(tmp_path):
    saved_adata().write_h5ad(tmp_path / "x.h5ad")
    return (tmp_path / "x.h5ad").read_bytes()


def torch_bytes(value, tmp_path):
    torch.save(value, tmp_path / "x.pt")
    return (tmp_path / "x.pt").read_bytes()


FOREIGN = {
    "truncated": (lambda content, _: cut(content), "incomplete or foreign zip archive"),
    "empty": (lambda content, _: b"", "empty, 0 bytes"),
    "text": (lambda content, _: b"Not a model.", "it is text"),
    "noise": (lambda content, _: bytes(range(129, 256)) * 9, "no model file"),
    "h5ad": (lambda content, path: h5ad(path), "HDF5"),
    "weights": (
        lambda content, path: torch_bytes(OrderedDict(weight=torch.ones(2)), path),
        "a dictionary with the keys 'weight'",
    ),
    "tensor": (lambda content, path: torch_bytes(torch.ones(2), path), "a Tensor"),
    "newer": (
        lambda content, path: torch_bytes({"lucidvi_layout": 2}, path),
        "has layout 2; this version of LucidVI reads 1",
    ),
    "no registry": (
        lambda content, path: torch_bytes(
            {"model_state_dict": {}, "var_names": {}, "attr_dict": {"init_params_": {}}}, path
        ),
        "lacks registry_",
    ),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_foreign_files_are_described(content, tmp_path, kind):
    write, says = FOREIGN[kind]
    (tmp_path / "model.pt").write_bytes(write(content, tmp_path))
    with pytest.raises(FileError, match=says) as raised:
        SCVI.load(str(tmp_path), adata=False)
    assert str(tmp_path / "model.pt") in str(raised.value)
    assert raised.value.remedy


def test_no_file(tmp_path):
    with pytest.raises(FileError, match="no saved model at"):
        SCVI.load(str(tmp_path), adata=False)


def test_legacy_files_are_not_unpickled(tmp_path):
    trace = tmp_path / "trace"
    old = tmp_path / "old"
    old.mkdir()
    for name in ("model_params.pt", "attr.pkl"):
        (old / name).write_bytes(pickle.dumps(Calls(os.system, f"touch {trace}")))
    (old / "var_names.csv").write_text("a\nb\n")
    with pytest.raises(FileError, match=r"before 0\.15") as raised:
        SCVI.load(str(old), adata=False)
    assert "convert_legacy_save" in raised.value.remedy
    with pytest.raises(UntrustedFileError, match="can only be unpickled"):
        SCVI.convert_legacy_save(str(old), str(tmp_path / "new"))
    assert not (tmp_path / "new").exists()
    assert not trace.exists()


def test_legacy_files_are_converted_with_trust(model, tmp_path):
    old = tmp_path / "old"
    old.mkdir()
    torch.save(model.module.state_dict(), old / "model_params.pt")
    (old / "var_names.csv").write_text("\n".join(model.get_var_names()))
    attributes = {name: value for name, value in model._get_user_attributes() if name[-1] == "_"}
    (old / "attr.pkl").write_bytes(pickle.dumps(attributes))
    SCVI.convert_legacy_save(str(old), str(tmp_path / "new"), trust=True)
    loaded = SCVI.load(str(tmp_path / "new"), adata=saved_adata())
    np.testing.assert_array_equal(
        loaded.get_latent_representation(), model.get_latent_representation()
    )


# -- genes ------------------------------------------------------------------------------------


def test_missing_genes_are_found_first(model, folder):
    query = saved_adata()[:, 2:].copy()
    before = list(query.obs.columns)
    with pytest.raises(GeneMismatchError, match="'gene0', 'gene1'"):
        SCVI.load(str(folder), adata=query)
    assert list(query.obs.columns) == before


@pytest.mark.parametrize("change", ["genes in another order", "a flipped bit"])
def test_saved_data_that_were_changed_are_not_taken_for_the_saved_ones(model, tmp_path, change):
    model.save(str(tmp_path / "m"), save_anndata=True)
    file = tmp_path / "m" / "adata.h5ad"
    if change == "a flipped bit":
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    else:
        read_h5ad(file)[:, ::-1].copy().write_h5ad(file)
    with pytest.raises(FileError, match=r"adata\.h5ad is not the file that was saved") as raised:
        SCVI.load(str(tmp_path / "m"))
    if change == "a flipped bit":
        return
    code = raised.value.remedy.partition("give it: ")[2].rstrip(".")
    loaded = eval(code, {"SCVI": SCVI, "anndata": anndata})
    np.testing.assert_array_equal(
        loaded.get_latent_representation(), model.get_latent_representation()
    )
    assert align_genes(loaded.adata, model.get_var_names()) is loaded.adata


def test_saved_data_without_a_digest_are_read(model, tmp_path):
    """As models of scvi-tools and of older versions are."""
    model.save(str(tmp_path / "m"), save_anndata=True)
    saved = read_all(tmp_path / "m" / "model.pt")
    assert len(saved.pop("lucidvi_adata_sha256")) == 64
    torch.save(saved, tmp_path / "m" / "model.pt")
    adata = read_h5ad(tmp_path / "m" / "adata.h5ad")
    adata[:, ::-1].copy().write_h5ad(tmp_path / "m" / "adata.h5ad")
    loaded = SCVI.load(str(tmp_path / "m"))
    np.testing.assert_array_equal(
        loaded.get_latent_representation(), model.get_latent_representation()
    )


# -- whole or not at all ----------------------------------------------------------------------


def test_a_folder_that_exists_is_kept(model, folder):
    before = (folder / "model.pt").read_bytes()
    with pytest.raises(FileError, match="already exists"):
        model.save(str(folder))
    assert (folder / "model.pt").read_bytes() == before


def versions(folder):
    """Which save the model, and the data beside it, are of."""
    loaded = SCVI.load(str(folder))
    return float(loaded.module.px_r[0].detach()), float(loaded.adata.obs["version"].iloc[0])


@pytest.fixture(scope="module")
def two_saves(tmp_path_factory):
    """A model that saves itself as version 1 and is then changed to be version 2."""
    model = make_model(max_epochs=0)
    root = tmp_path_factory.mktemp("saves")
    for version in (2, 1):
        model.adata.obs["version"] = float(version)
        with torch.no_grad():
            model.module.px_r[:] = float(version)
        model.save(str(root / str(version)), save_anndata=True)
    (root / "1" / "notes.txt").write_text("mine")
    model.adata.obs["version"] = 2.0
    with torch.no_grad():
        model.module.px_r[:] = 2.0
    return model, root


CALLS = ("replace", "fsync", "mkdir")


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("is_new", [True, False])
def test_a_failure_leaves_the_old_files_and_no_others(
    two_saves, tmp_path, monkeypatch, call, is_new
):
    model, root = two_saves
    real, counts = getattr(os, call), []

    def failing(*args, **kwargs):
        counts.append(args)
        if len(counts) == failing.at:
            raise OSError(28, "No space left on device")
        return real(*args, **kwargs)

    failing.at, failures = 0, 0
    monkeypatch.setattr(os, call, failing)
    for at in range(1, 99):
        target = tmp_path / str(at)
        failing.at = 0
        if not is_new:
            shutil.copytree(root / "1", target)
        before = sorted(os.listdir(target)) if not is_new else None
        counts.clear()
        failing.at = at
        try:
            model.save(str(target), overwrite=True, save_anndata=True)
        except OSError:
            failing.at, failures = 0, failures + 1
            if target.exists():
                seen = versions(target)
                assert seen in {(1.0, 1.0), (2.0, 2.0)}
                assert seen == (2.0, 2.0) or sorted(os.listdir(target)) == before
            assert not [name for name in os.listdir(tmp_path) if name.startswith(".")]
        if len(counts) < at:
            break
    assert failures
    assert versions(target) == (2.0, 2.0)
    assert (target / "notes.txt").exists() != is_new


@pytest.mark.parametrize("fails", ["h5ad", "torch"])
def test_a_disk_that_fills_up_while_writing(two_saves, tmp_path, monkeypatch, fails):
    model, root = two_saves
    shutil.copytree(root / "1", tmp_path / "m")

    def full(file, *args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(
        *((torch, "save") if fails == "torch" else (type(model.adata), "write")), full
    )
    with pytest.raises(OSError, match="No space left"):
        model.save(str(tmp_path / "m"), overwrite=True, save_anndata=True)
    monkeypatch.undo()
    assert sorted(os.listdir(tmp_path / "m")) == ["adata.h5ad", "model.pt", "notes.txt"]
    assert versions(tmp_path / "m") == (1.0, 1.0)


KILLED = """
import os, shutil, signal, sys, warnings
warnings.simplefilter("ignore")
import torch
from lucidvi.model import SCVI

root, out = sys.argv[1:]
model = SCVI.load(os.path.join(root, "2"))
for at in range(99):
    target = os.path.join(out, str(at))
    shutil.copytree(os.path.join(root, "1"), target)
    child = os.fork()
    if not child:
        count = 0
        def dying(real):
            def call(*args, **kwargs):
                global count
                if count == at:
                    os.kill(os.getpid(), signal.SIGKILL)
                count += 1
                result = real(*args, **kwargs)
                if count == at:
                    os.kill(os.getpid(), signal.SIGKILL)
                count += 1
                return result
            return call
        for name in ("replace", "fsync", "mkdir", "rmdir", "unlink"):
            setattr(os, name, dying(getattr(os, name)))
        model.save(target, overwrite=True, save_anndata=True)
        os._exit(0)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0:
        print(at)
        break
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_kill_at_any_point_leaves_one_of_the_two(two_saves, tmp_path):
    _, root = two_saves
    child = subprocess.run(
        [sys.executable, "-c", KILLED, str(root), str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    points = int(child.stdout.split()[-1])
    assert points > 10
    seen = [versions(tmp_path / str(at)) for at in range(points + 1)]
    assert set(seen) == {(1.0, 1.0), (2.0, 2.0)}
    assert seen == sorted(seen)  # first the old one, then for good the new one
    for at in range(points + 1):
        assert (tmp_path / str(at) / "notes.txt").read_text() == "mine"


def test_a_save_cut_short_is_finished_by_the_next(two_saves, tmp_path):
    _, root = two_saves
    shutil.copytree(root / "1", tmp_path / "m")
    waiting = tmp_path / "m" / ".model.pt.complete"
    shutil.copytree(root / "2", waiting)
    for file in waiting.iterdir():
        file.touch()
    assert versions(tmp_path / "m") == (2.0, 2.0)
    _atomic.finish(tmp_path / "m", "model.pt")
    assert sorted(os.listdir(tmp_path / "m")) == ["adata.h5ad", "model.pt", "notes.txt"]
    assert versions(tmp_path / "m") == (2.0, 2.0)


def test_a_save_cut_short_gives_way_to_newer_files(two_saves, tmp_path):
    _, root = two_saves
    shutil.copytree(root / "2", tmp_path / "m")
    waiting = tmp_path / "m" / ".model.pt.complete"
    shutil.copytree(root / "1", waiting)
    for file in waiting.iterdir():
        os.utime(file, ns=(0, 0))
    assert versions(tmp_path / "m") == (2.0, 2.0)
    _atomic.finish(tmp_path / "m", "model.pt")
    assert sorted(os.listdir(tmp_path / "m")) == ["adata.h5ad", "model.pt"]
    assert versions(tmp_path / "m") == (2.0, 2.0)


@pytest.mark.skipif(os.name == "nt", reason="permissions of POSIX")
def test_permissions_are_those_of_the_folder_and_of_the_old_file(model, tmp_path):
    model.save(str(tmp_path / "m"))
    umask = os.umask(0)
    os.umask(umask)
    assert (tmp_path / "m").stat().st_mode & 0o777 == 0o777 & ~umask
    (tmp_path / "m" / "model.pt").chmod(0o640)
    model.save(str(tmp_path / "m"), overwrite=True)
    assert (tmp_path / "m" / "model.pt").stat().st_mode & 0o777 == 0o640


def test_backed_data_are_saved_and_stay_usable(tmp_path):
    saved_adata().write_h5ad(tmp_path / "cells.h5ad")
    backed = read_h5ad(tmp_path / "cells.h5ad", backed="r")
    SCVI.setup_anndata(backed, batch_key="batch")
    model = SCVI(backed, n_latent=2, n_hidden=4)
    model.save(str(tmp_path / "m"), save_anndata=True)
    assert Path(model.adata.filename).exists()
    assert SCVI.load(str(tmp_path / "m")).adata.n_obs == 20

"""``help`` of every method of a model: each parameter, what is returned, code that runs."""

import doctest
import inspect
import logging
import re
import warnings

import pytest
import scvi.model

from lucidvi.data import pbmc68k
from lucidvi.model import MOSAICVI, SCVI
from lucidvi.model._documentation import ADDITIONS, TEXTS, docstring, documented
from lucidvi.model._documentation._text import SHARED

#: Of scvi-tools from 1.5 on, and of a package that is not needed.
NOT_HERE = {"setup_annbatch"}


def methods_of(cls):
    return sorted(
        name
        for name, member in inspect.getmembers(cls)
        if not name.startswith("_") and callable(member) and name not in NOT_HERE
    )


METHODS = methods_of(SCVI)
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE | doctest.IGNORE_EXCEPTION_DETAIL


def sections(name, cls=SCVI):
    """Return the sections of a docstring by title; the summary has none."""
    text = inspect.getdoc(getattr(cls, name))
    parts = re.split(r"^(\w[\w ]*)\n-{3,}\n", text, flags=re.MULTILINE)
    titles = parts[1::2]
    assert len(titles) == len(set(titles))
    return {"": parts[0], **dict(zip(titles, parts[2::2], strict=True))}


def described(name, cls=SCVI):
    """Return the descriptions of the parameters, by name."""
    entries = re.split(r"^(?=\S)", sections(name, cls).get("Parameters", ""), flags=re.MULTILINE)
    found = {}
    for entry in filter(str.strip, entries):
        names, _, text = entry.partition("\n")
        for parameter in names.partition(" : ")[0].split(","):
            found[parameter.strip().lstrip("*")] = inspect.cleandoc(text)
    return found


OF_EACH = [
    pytest.param(cls, name, id=f"{cls.__name__}.{name}")
    for cls in (SCVI, MOSAICVI)
    for name in methods_of(cls)
]


@pytest.mark.parametrize(("cls", "name"), OF_EACH)
def test_every_parameter_is_described(cls, name):
    parameters = [p for p in inspect.signature(getattr(cls, name)).parameters if p != "self"]
    texts = described(name, cls)
    assert set(texts) == set(parameters)
    for parameter, text in texts.items():
        assert text[:1].isupper() or text[:1] in "`'", (parameter, text)
        assert text.rstrip().endswith("."), (parameter, text)
        assert "%(" not in text
        assert not text.startswith("See :meth:`scvi."), (parameter, text)


@pytest.mark.parametrize("name", METHODS)
def test_what_is_returned_is_said(name):
    returned = inspect.signature(getattr(SCVI, name)).return_annotation
    if returned not in (None, "None", inspect.Signature.empty):
        assert sections(name)["Returns"].strip()


@pytest.mark.parametrize("name", METHODS)
def test_defaults_are_those_of_the_signature(name):
    """Of numbers and texts, which the description ends with."""
    texts = described(name)
    for parameter in inspect.signature(getattr(SCVI, name)).parameters.values():
        text = texts.get(parameter.name, "")
        form = {bool: "True|False", int: r"[\d,]+", float: r"[\d.]*\d"}
        kind = form.get(type(parameter.default), "^$")
        said = re.findall(rf"[Bb]y default\s+({kind})\b", text)
        if said:
            assert float(eval(said[-1].replace(",", ""))) == parameter.default


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A model of 300 cells in two batches, as the examples have it."""
    adata = pbmc68k()[:300].copy()
    adata.obs["batch"] = ["a", "b"] * 150
    SCVI.setup_anndata(adata, batch_key="batch")
    model = SCVI(adata)
    model.train(max_epochs=1, preset="scvi", enable_progress_bar=False)
    folder = str(tmp_path_factory.mktemp("documented") / "model")
    model.save(folder)
    return folder, adata


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.filterwarnings("ignore:.*carry information:UserWarning")
@pytest.mark.filterwarnings("ignore:.*the posterior collapsed:UserWarning")
def test_example_runs(saved, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(logging.getLogger("scvi"), "level", logging.WARNING)
    folder, cells = saved
    adata = cells.copy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = SCVI.load(folder, adata=adata)
    text = inspect.getdoc(getattr(SCVI, name))
    test = doctest.DocTestParser().get_doctest(
        text, {"model": model, "adata": adata, "SCVI": SCVI}, name, None, 0
    )
    assert test.examples, "no example"
    said = []
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    runner.run(test, out=said.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(said)


# -- how it is done ---------------------------------------------------------------------------


def test_texts_are_of_methods():
    assert not set(TEXTS) & set(ADDITIONS)
    assert set(TEXTS) | set(ADDITIONS) == set(METHODS)


def test_texts_of_scvi_tools_stay_as_they_are():
    assert "Compute the latent representation" in scvi.model.SCVI.get_latent_representation.__doc__
    assert scvi.model.SCVI.get_elbo.__doc__ != SCVI.get_elbo.__doc__


def test_signatures_are_those_of_scvi_tools():
    for name in (
        "get_reconstruction_error",
        "transfer_fields",
        "register_manager",
        "get_var_names",
    ):
        ours, theirs = getattr(SCVI, name), getattr(scvi.model.SCVI, name)
        assert inspect.signature(ours) == inspect.signature(theirs)
        assert ours.__name__ == theirs.__name__ == name


def test_differences_and_errors_are_kept():
    before = """Summary.

    Differs from scvi-tools: it
    works.

    Another paragraph.

    Parameters
    ----------
    *args
        See elsewhere.

    Raises
    ------
    ValueError
        Always.
    """
    text = docstring("get_elbo", before)
    assert "Differs from scvi-tools: it\nworks." in text
    assert "Raises\n------\nValueError\n    Always." in text
    assert "See elsewhere" not in text
    assert "Another paragraph" not in text
    assert docstring("get_elbo", text) == text  # a second time changes nothing


def test_a_subclass_answers_for_itself():
    @documented
    class Own(SCVI):
        def get_elbo(self, *args, **kwargs):
            """Own text."""
            return "own"

    assert Own.get_elbo(None) == "own"
    assert "evidence lower bound" in Own.get_elbo.__doc__


def test_shared_descriptions_are_used():
    names = {name for text in TEXTS.values() for name, own in text.parameters.items() if not own}
    assert {name.strip("*") for name in names} == set(SHARED)

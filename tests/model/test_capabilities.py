"""Every public method of scvi-tools' SCVI, and each of its arguments, is used in some test."""

import ast
import inspect
from collections import defaultdict
from pathlib import Path

import pytest
import scvi.model

from lucidvi.model import SCVI

HERE = Path(__file__).resolve().parent
FILES = sorted(HERE.rglob("test_*.py"))
SOURCE = "\n".join(file.read_text() for file in FILES if file != Path(__file__).resolve())
PUBLIC = {
    name: inspect.getattr_static(model_cls, name)
    for model_cls in (scvi.model.SCVI, SCVI)
    for name in dir(model_cls)
    if not name.startswith("_")
}
METHODS = sorted(name for name in PUBLIC if callable(getattr(SCVI, name)))

#: Arguments that no test can use, and why.
UNUSED = {
    ("load", "datamodule"): "scvi-tools hands it to the constructor, where SCVI has none",
    ("load_query_data", "datamodule"): "scvi-tools hands it to the constructor, as in load",
    ("load_query_data", "registry"): "goes with datamodule",
    ("setup_annbatch", "*"): "scvi-tools' loader, not a model's; one test runs it",
}


def calls(source):
    """Arguments in the calls of each method: by keyword, by place, by ``both("method", ...)``."""
    positional, keywords = defaultdict(int), defaultdict(set)
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name, arguments = getattr(node.func, "attr", getattr(node.func, "id", "")), node.args
        if name in ("both", "seeded") and arguments:
            first, arguments = arguments[0], []
            name = getattr(first, "attr", getattr(first, "value", None))
        positional[name] = max(positional[name], len(arguments))
        for keyword in node.keywords:
            if keyword.arg is not None:
                keywords[name].add(keyword.arg)
    return positional, keywords


def parameters(name):
    return [
        parameter
        for parameter in inspect.signature(getattr(SCVI, name)).parameters.values()
        if parameter.name != "self"
        and parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
    ]


POSITIONAL, KEYWORDS = calls(SOURCE)
NODES = list(ast.walk(ast.parse(SOURCE)))
WORDS = {node.value for node in NODES if isinstance(node, ast.Constant)} | {
    node.attr for node in NODES if isinstance(node, ast.Attribute)
}
#: Arguments on their way to a method that a test names elsewhere: in a dictionary, or given to
#: a function that is no public method.
INDIRECT = {
    key.value
    for node in NODES
    if isinstance(node, ast.Dict)
    for key in node.keys
    if isinstance(key, ast.Constant)
}.union(*(found for name, found in KEYWORDS.items() if name not in PUBLIC))


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_it_is_used(name):
    assert name in WORDS, f"no test in tests/model uses SCVI.{name}"


@pytest.mark.parametrize("name", METHODS)
def test_its_arguments_are_used(name):
    """Arguments that reach it in a dictionary, or in a loop over methods, count as used."""
    unused = [
        parameter.name
        for place, parameter in enumerate(parameters(name))
        if place >= POSITIONAL[name]
        and parameter.name not in KEYWORDS[name] | INDIRECT
        and (name, parameter.name) not in UNUSED
        and (name, "*") not in UNUSED
    ]
    assert not unused, f"no test in tests/model uses {unused} of SCVI.{name}"


def test_the_exceptions_exist():
    for name, argument in UNUSED:
        if hasattr(SCVI, name) and argument != "*":
            assert argument in [parameter.name for parameter in parameters(name)]

"""The interface is scvi-tools': same methods, same parameters, same defaults."""

import inspect

import pytest
import scvi.model

from lucidvi.model import SCVI

PUBLIC = [
    name
    for name, member in inspect.getmembers(scvi.model.SCVI)
    if not name.startswith("_") and callable(member)
]


#: Defaults that are not scvi-tools', and why.
DEFAULTS = {("train", "batch_size"): None}  # that of the preset


def parameters(function):
    return list(inspect.signature(function).parameters.values())


@pytest.mark.parametrize("name", ["__init__", *PUBLIC])
def test_method_has_the_parameters_of_scvi_tools(name):
    theirs = parameters(getattr(scvi.model.SCVI, name))
    ours = parameters(getattr(SCVI, name))
    known = {p.name for p in theirs}
    shared = [p for p in ours if p.name in known]
    assert [(p.name, p.kind, p.default) for p in shared] == [
        (p.name, p.kind, DEFAULTS.get((name, p.name), p.default)) for p in theirs
    ]
    for addition in (p for p in ours if p.name not in known):
        assert addition.kind is inspect.Parameter.KEYWORD_ONLY, addition
        assert addition.default is not inspect.Parameter.empty, addition


def test_the_list_of_methods_is_not_empty():
    assert {"train", "get_elbo", "setup_anndata", "load", "minify_adata"} < set(PUBLIC)


@pytest.mark.parametrize(
    "name",
    [
        name
        for name, member in inspect.getmembers(scvi.model.SCVI)
        if not name.startswith("_") and isinstance(member, property)
    ],
)
def test_property_exists(name):
    assert isinstance(getattr(SCVI, name), property)


def test_class_hooks_of_scvi_tools_exist():
    hooks = ("_module_cls", "_data_splitter_cls", "_training_plan_cls", "_train_runner_cls")
    assert all(hasattr(SCVI, hook) for hook in hooks)

"""The table of differences from scvi-tools is that of the code."""

import importlib.util
import re
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "comparison.md"
PINNED = re.search(r"^scvi-tools==(\S+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE)[1]


@pytest.fixture(scope="module")
def script():
    file = ROOT / "scripts" / "compare_with_scvi_tools.py"
    spec = importlib.util.spec_from_file_location(file.stem, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.skipif(version("scvi-tools") != PINNED, reason="made with the pinned scvi-tools")
def test_page_is_up_to_date(script):
    assert PAGE.read_text() == script.page(), "run scripts/compare_with_scvi_tools.py"


def test_every_method_has_its_row(script):
    rows = {name: columns for name, *columns in script.rows()}
    for name in script.public_names(script.scvi.model.SCVI):
        assert any(row.startswith(f"`{name}`") for row in rows)
    assert rows["`get_setup_arg`"] == ["`BaseModelClass`", "the same code", ""]
    _, code, difference = rows["`get_marginal_ll`"]
    assert code == "own code, and `method`, `return_diagnostics`"
    assert difference.startswith("The mean is over cells")
    assert all(len(columns) == 3 and "\n" not in "".join(columns) for columns in rows.values())


def test_every_own_method_says_how_it_differs(script):
    silent = [name for name, _, code, text in script.rows() if text == "not stated"]
    assert not silent, f"a paragraph `{script.MARK} ...` is missing in the docstrings of {silent}"


def test_own_methods_are_listed(script):
    page = script.page()
    assert "| `from_scvi_model` | Make a model from one of scvi-tools" in page
    assert "| `to_scvi_model` | Make a `scvi.model.SCVI` from this model" in page

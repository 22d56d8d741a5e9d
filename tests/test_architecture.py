"""Rules of the house that no other tool checks."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
import scvi

from lucidvi.model import MODELS

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "lucidvi"
FILES = sorted(SOURCE.rglob("*.py"))
LONGEST = 400
TENSORS_ONLY = ("kernels", "distributions", "nn", "inference")
ANNDATA = {"anndata", "mudata", "scanpy"}
#: Folders whose files ask a model for what it can do.
USES = [
    "atlas",
    "audit",
    "cli",
    "simulate",
]
#: Classes of models, of LucidVI and of scvi-tools.
MODEL_CLASSES = {*MODELS, *scvi.model.__all__} - {"utils"}
#: Files that compare with scvi-tools' own training: a peer, and no kind of our models.
PEERS = {SOURCE / "atlas" / "integration" / "_baselines.py"}


def imported_names(source: str) -> Iterator[tuple[int, str]]:
    """Yield the line and the dotted path of every absolute import."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield from ((alias.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def private_scvi_names(source: str) -> list[tuple[int, str]]:
    """Return the line and path of every import of a name that is private to scvi."""

    def is_private(path: str) -> bool:
        package, *parts = path.split(".")
        return package == "scvi" and any(part.startswith("_") for part in parts)

    return [(line, path) for line, path in imported_names(source) if is_private(path)]


def model_classes(source: str) -> list[tuple[int, str]]:
    """Return the line and the name of every class of a model that is imported or used."""
    names = [(line, path.rpartition(".")[2]) for line, path in imported_names(source)]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Name):
            names.append((node.lineno, node.id))
        elif isinstance(node, ast.Attribute):
            names.append((node.lineno, node.attr))
    return sorted({(line, name) for line, name in names if name in MODEL_CLASSES})


def place(file: Path, line: int) -> str:
    return f"{file.relative_to(ROOT)}:{line}"


@pytest.mark.parametrize(
    ("source", "private"),
    [
        (
            "from scvi.model._utils import parse_device_args",
            ["scvi.model._utils.parse_device_args"],
        ),
        ("from scvi.module import (\n    VAE,\n    _vae,\n)", ["scvi.module._vae"]),
        ("def f():\n    import scvi._settings", ["scvi._settings"]),
        ("import scvi.model\nfrom scvi import settings", []),
        ("from lucidvi._compat import scvi\nimport scvitools._x", []),
    ],
)
def test_private_names_are_recognised(source: str, private: list[str]):
    assert [path for _, path in private_scvi_names(source)] == private


def test_only_compat_imports_private_scvi_names():
    strays = [
        f"{place(file, line)} imports {path}"
        for file in FILES
        if file != SOURCE / "_compat.py"
        for line, path in private_scvi_names(file.read_text())
    ]
    assert not strays, "private to scvi, so only src/lucidvi/_compat.py may import it:\n" + (
        "\n".join(strays)
    )


def test_between_data_and_model_there_are_tensors_only():
    strays = [
        f"{place(file, line)} imports {path}"
        for folder in TENSORS_ONLY
        for file in sorted((SOURCE / folder).rglob("*.py"))
        for line, path in imported_names(file.read_text())
        if path.partition(".")[0] in ANNDATA
    ]
    assert not strays, "AnnData stays in data and model:\n" + "\n".join(strays)


def test_no_source_file_is_too_long():
    lengths = {file: len(file.read_text().splitlines()) for file in FILES}
    strays = [place(file, length) for file, length in lengths.items() if length > LONGEST]
    assert not strays, f"files over {LONGEST} lines:\n" + "\n".join(strays)


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("from lucidvi.model import SCVI as Model", ["SCVI"]),
        ("def f(model: scvi.model.SCANVI): ...", ["SCANVI"]),
        ('def f():\n    """Of a SCVI."""\n    return scvi.model.TOTALVI()', ["TOTALVI"]),
        ('"""An SCVI."""\nname = "SCVI"\nfrom lucidvi.model import MODELS', []),
    ],
)
def test_classes_of_models_are_recognised(source: str, names: list[str]):
    assert [name for _, name in model_classes(source)] == names


@pytest.mark.parametrize("folder", USES)
def test_no_use_names_a_class_of_models(folder: str):
    strays = [
        f"{place(file, line)} names {name}"
        for file in sorted((SOURCE / folder).rglob("*.py"))
        if file not in PEERS
        for line, name in model_classes(file.read_text())
    ]
    assert not strays, "ask for a capability, or read lucidvi.model.MODELS:\n" + "\n".join(strays)

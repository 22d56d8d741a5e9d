"""Rules of the house that no other tool checks."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import scvi

from lucidvi.distributions import LIKELIHOODS
from lucidvi.model import MODELS

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "lucidvi"
FILES = sorted(SOURCE.rglob("*.py"))
LONGEST = 400
TENSORS_ONLY = ("kernels", "distributions", "nn", "inference")
ANNDATA = {"anndata", "mudata", "scanpy"}
#: Folders whose files ask a model for what it can do.
USES = ("atlas", "audit", "cli", "dynamics", "simulate")
#: Classes of models, of LucidVI and of scvi-tools.
MODEL_CLASSES = {*MODELS, *scvi.model.__all__} - {"utils"}
#: Files that compare with scvi-tools' own training: a peer, and no kind of our models.
PEERS = {SOURCE / "atlas" / "integration" / "_baselines.py"}

#: Where a family of likelihoods may be asked for by name: where it is, and where one is chosen.
FAMILY_PLACES = (
    "distributions/",
    "kernels/",
    "module/_architecture.py",
    "module/mosaic/_kinds.py",
    "data/_development.py",  # draws counts by that name of numpy
    "model/_flowvi.py",
    "model/_scvi.py",
    "cli/_train.py",
)
#: Names of families and of their classes, without those that are the names of other things too.
FAMILIES = {*LIKELIHOODS, *(cls.__name__ for cls in LIKELIHOODS.values())} - {"normal", "Normal"}
#: Where scvi-tools' names of what a module returns are used.
SCVI_DICTIONARIES = (
    "_compat.py",
    "module/_vae.py",
    "module/_architecture.py",
    "inference/_scvi.py",
)
#: Where states are taken apart.
STATE_PLACES = ("inference/", "nn/", "module/")
#: Where loaders of scvi-tools are made: of cells, and for methods of scvi-tools.
LOADER_PLACES = ("model/_cells.py", "model/_minified.py", "model/queries/_query.py")
#: Ways to set the state of a generator that all share.
SHARED_GENERATORS = {
    "fork_rng",
    "manual_seed",
    "manual_seed_all",
    "seed_everything",
    "set_rng_state",
    "set_state",
    "setstate",
}


def outside(places: tuple[str, ...]) -> list[Path]:
    """Return the files of the source that are not in some places."""
    return [file for file in FILES if not str(file.relative_to(SOURCE)).startswith(places)]


def family_names(source: str) -> list[tuple[int, str]]:
    """Return the line and the name of every family that is imported, or compared with."""
    tree = ast.parse(source)
    names = [
        (line, path.rpartition(".")[2])
        for line, path in imported_names(source)
        if path.startswith("lucidvi.distributions")
    ]
    names += [
        (node.lineno, node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    names += [
        (node.lineno, node.attr) for node in ast.walk(tree) if isinstance(node, ast.Attribute)
    ]
    return sorted({(line, name) for line, name in names if name in FAMILIES})


def slices_of_states(source: str) -> list[tuple[int, str]]:
    """Return the line and the code of every slice up to, or from, the length of a state."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Slice):
            ends = [ast.unparse(end) for end in (node.lower, node.upper) if end is not None]
            if any(end.rpartition(".")[2] in ("n_latent", "n_state") for end in ends):
                found.append((node.lower or node.upper, ast.unparse(node)))
    return [(node.lineno, code) for node, code in found if node is not None]


def called(source: str) -> list[tuple[int, str]]:
    """Return the line and the name of every function or method that is called."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    names = [(c.lineno, getattr(c.func, "attr", getattr(c.func, "id", ""))) for c in calls]
    return [(line, name) for line, name in names if name]


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


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ('if name == "zinb": ...', ["zinb"]),
        ("from lucidvi.distributions import Poisson, adopt", ["Poisson"]),
        ("px = distributions.NegativeBinomial(mu)", ["NegativeBinomial"]),
        ('weight = "normal"\nx = torch.distributions.Normal(0, 1)', []),
        ('def f():\n    """Draws of a nb, or of a Poisson."""', []),
    ],
)
def test_names_of_families_are_recognised(source: str, names: list[str]):
    assert [name for _, name in family_names(source)] == names


def test_nobody_asks_for_a_family_of_likelihoods_by_name():
    strays = [
        f"{place(file, line)} names {name}"
        for file in outside(FAMILY_PLACES)
        for line, name in family_names(file.read_text())
    ]
    assert not strays, "ask the likelihood itself:\n" + "\n".join(strays)


def test_dictionaries_of_scvi_tools_are_those_of_one_module_and_one_adapter():
    strays = [
        place(file, line)
        for file in outside(SCVI_DICTIONARIES)
        for line, path in imported_names(file.read_text())
        if path.rpartition(".")[2] == "MODULE_KEYS"
    ]
    assert not strays, "ask a module through its contract:\n" + "\n".join(strays)


@pytest.mark.parametrize(
    ("source", "slices"),
    [
        ("z = state[..., : self.n_latent]", [":self.n_latent"]),
        ("rest = state[:, n_latent:]", ["n_latent:"]),
        ("some = state[:n_cells]; z = np.zeros((n_cells, n_latent))", []),
    ],
)
def test_slices_of_states_are_recognised(source: str, slices: list[str]):
    assert [code for _, code in slices_of_states(source)] == slices


def test_states_are_taken_apart_by_their_target_alone():
    strays = [
        f"{place(file, line)} takes [{code}]"
        for file in outside(STATE_PLACES)
        for line, code in slices_of_states(file.read_text())
    ]
    assert not strays, "ask the target: latent, with_latent, exposure:\n" + "\n".join(strays)


def test_cells_become_minibatches_in_one_way():
    strays = [
        place(file, line)
        for file in outside(LOADER_PLACES)
        for line, name in called(file.read_text())
        if name == "_make_data_loader"
    ]
    assert not strays, "use lucidvi.model.Cells:\n" + "\n".join(strays)


def test_generators_that_all_share_are_isolated_in_one_way():
    strays = [
        f"{place(file, line)} calls {name}"
        for file in outside(("_random.py",))
        for line, name in called(file.read_text())
        if name in SHARED_GENERATORS
    ]
    assert not strays, "use lucidvi._random.isolated:\n" + "\n".join(strays)


def test_kernels_load_nothing_but_torch_and_numba():
    others = {"anndata", "lightning", "mudata", "pandas", "scanpy", "scvi"}
    code = f"import lucidvi.kernels, sys; print(*sorted({others} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert run.stdout.split() == []


@pytest.mark.parametrize(
    "folder",
    sorted(
        str(path.relative_to(SOURCE))
        for path in SOURCE.rglob("*")
        if path.is_dir() and list(path.glob("*.py"))
    ),
)
def test_every_folder_has_its_tests(folder: str):
    mirror = ROOT / "tests" / folder.replace("/_", "/")
    assert list(mirror.rglob("test_*.py")), f"no tests in {mirror.relative_to(ROOT)}"

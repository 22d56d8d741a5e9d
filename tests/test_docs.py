"""The docs build without a warning and have a page for everything."""

import os
import pkgutil
import re
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

import lucidvi

ROOT = Path(__file__).resolve().parent.parent
TUTORIALS = sorted((ROOT / "tutorials").glob("*.md"))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the docs, tutorials not run, from a copy: the build writes beside its sources."""
    folder = tmp_path_factory.mktemp("docs")
    made = shutil.ignore_patterns("_build", "generated", "tutorials")
    shutil.copytree(ROOT / "docs", folder / "docs", ignore=made)
    if TUTORIALS:
        shutil.copytree(ROOT / "tutorials", folder / "tutorials")
    html = folder / "html"
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-n", "-q", "-b", "html"]
    build = subprocess.run(
        [*command, str(folder / "docs"), str(html)],
        env={**os.environ, "LUCIDVI_DOCS_EXECUTE": "0"},
        capture_output=True,
        text=True,
    )
    assert build.returncode == 0, build.stderr
    return html


@pytest.mark.slow
@pytest.mark.parametrize("page", ["index", "api", "tutorials", "generated/lucidvi.model.SCVI"])
def test_page_exists(site: Path, page: str):
    assert (site / f"{page}.html").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("tutorial", TUTORIALS, ids=lambda tutorial: tutorial.stem)
def test_tutorial_has_a_page(site: Path, tutorial: Path):
    assert (site / "tutorials" / f"{tutorial.stem}.html").is_file()


def test_reference_lists_every_public_module():
    modules = {module.name for module in pkgutil.iter_modules(lucidvi.__path__)}
    commands = {"cli", "demo"}
    public = {f"lucidvi.{name}" for name in modules - commands if not name.startswith("_")}
    listed = set((ROOT / "docs" / "api.md").read_text().split())
    assert public <= listed, f"missing in docs/api.md: {sorted(public - listed)}"


@pytest.mark.slow
@pytest.mark.parametrize("part", sorted(lucidvi._PARTS))
def test_every_public_name_is_in_the_reference(site: Path, part: str):
    """Under its part or, of what another part makes, under that; as a page or an entry of one."""
    pages = (site / "generated").glob("lucidvi.*.html")
    known = {
        anchor
        for page in pages
        for anchor in re.findall(r'id="(lucidvi\.[\w.]+)"', page.read_text())
    }
    module = import_module(f"lucidvi.{part}")
    names = getattr(module, "__all__", ())
    missing = []
    for name in names:
        value = getattr(module, name)
        home = getattr(value, "__module__", "").split(".")[1:2] or [part]
        if isinstance(value, ModuleType) or {f"lucidvi.{p}.{name}" for p in (part, *home)} & known:
            continue
        missing.append(name)
    assert not missing

"""How the docs are built: offline, with every warning an error.

The tutorials are run unless LUCIDVI_DOCS_EXECUTE=0.
"""

import os
import re
import shutil
from importlib import import_module
from importlib.metadata import version as installed_version
from pathlib import Path
from pkgutil import walk_packages
from types import ModuleType

from sphinx.application import Sphinx
from sphinx.pycode import ModuleAnalyzer

DOCS = Path(__file__).resolve().parent
TUTORIALS = DOCS.parent / "tutorials"

project = "LucidVI"
author = "LucidVI developers"
copyright = f"2026, {author}"
version = release = installed_version("lucidvi")

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
exclude_patterns = ["_build", "_templates"]
templates_path = ["_templates"]

# -- tutorials

nb_execution_mode = "off" if os.environ.get("LUCIDVI_DOCS_EXECUTE") == "0" else "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 900
nb_merge_streams = True
nb_output_stderr = "remove"  # what libraries log
os.environ["TQDM_DISABLE"] = "1"  # a page cannot redraw a progress bar
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3


def copy_tutorials(app: Sphinx) -> None:
    """Bring the tutorials, which lie beside the docs, to where Sphinx looks for pages."""
    pages = Path(app.srcdir) / "tutorials"
    shutil.rmtree(pages, ignore_errors=True)
    pages.mkdir()
    for tutorial in TUTORIALS.glob("*.md"):
        shutil.copy(tutorial, pages)


# -- API reference

autosummary_generate = True
autosummary_ignore_module_all = False
autodoc_class_signature = "mixed"
autodoc_member_order = "bysource"
autodoc_typehints = "none"
napoleon_google_docstring = False
napoleon_use_rtype = False

PARTS = re.findall(r"^ +(lucidvi\S+)$", (DOCS / "api.md").read_text(), flags=re.MULTILINE)


def data_of(part: ModuleType) -> dict[str, str]:
    """Return the comments of what a part makes public besides classes and functions, by name.

    They stand where it is assigned, which is a file of the part.
    """
    files = [part.__name__]
    if hasattr(part, "__path__"):
        files += [file.name for file in walk_packages(part.__path__, f"{part.__name__}.")]
    comments = {}
    for file in files:
        found = ModuleAnalyzer.for_module(file).find_attr_docs()
        comments |= {name: " ".join(lines) for (owner, name), lines in found.items() if not owner}
    return {name: comments[name] for name in sorted(part.__all__) if name in comments}


def borrowed_by(part: ModuleType) -> set[str]:
    """Return the public classes of a part that have their page under another part."""
    homes = {name for name in PARTS if name != part.__name__}
    classes = {n: v for n in part.__all__ if isinstance(v := getattr(part, n), type)}
    return {
        name
        for name, cls in classes.items()
        if not cls.__module__.startswith(f"{part.__name__}.")
        and any(cls.__module__.startswith(f"{home}.") for home in homes)
    }


HAVE_LISTS = [part for part in map(import_module, PARTS) if hasattr(part, "__all__")]
autosummary_context = {
    "data": {part.__name__: data_of(part) for part in HAVE_LISTS},
    "borrowed": {part.__name__: borrowed_by(part) for part in HAVE_LISTS},
}

# Names of other packages cannot be looked up offline, private ones have no page; LucidVI's own
# public names must be found.
nitpick_ignore_regex = [("py:.*", r"(?!lucidvi\b).*|lucidvi\..*\b_.*")]

ROLE = re.compile(r":[\w:]+:`~?([^`<]+?)(?: <[^`]+>)?`")


def first_sentence(lines: list[str]) -> str:
    """Return the first sentence of a docstring, its cross references as plain code."""
    paragraph, _, _ = "\n".join(lines).strip().partition("\n\n")
    sentence = re.split(r"(?<=\.)\s", " ".join(paragraph.split()), maxsplit=1)[0]
    return ROLE.sub(r"``\1``", sentence)


def shorten_inherited(
    app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]
) -> None:
    """Keep one sentence of what is inherited: the rest refers to pages of other projects."""
    function = getattr(thing, "__func__", getattr(thing, "fget", thing))
    home = getattr(function, "__module__", None) or "lucidvi"
    if not home.startswith("lucidvi") and lines:
        package = home.partition(".")[0].replace("scvi", "scvi-tools")
        lines[:] = [first_sentence(lines), "", f"Inherited from {package}.", ""]


def setup(app: Sphinx) -> None:
    app.connect("builder-inited", copy_tutorials, priority=100)
    app.connect("autodoc-process-docstring", shorten_inherited, priority=100)


# -- looks

html_theme = "sphinx_book_theme"
html_static_path = ["_static"]
html_css_files = ["wrap.css"]
html_title = f"LucidVI {release}"
# Every page would else hold links to all others, and take a second to write.
html_theme_options = {"show_toc_level": 2, "collapse_navbar": True}
html_show_sphinx = False

"""Where the figures are seen: in a notebook once, by pyplot, and nowhere if nobody looks."""

import pickle
import subprocess
import sys

import matplotlib.pyplot as plt
import nbclient
import nbformat
import pytest
from matplotlib.figure import Figure

from lucidvi import pl
from lucidvi.audit import Report

NAMES = sorted(set(pl.__all__) - {"PLOTS"})
#: Plots of several panels, which are figures.
OF_PANELS = {"along_time", "design"}
#: Last lines of a cell, by whether they show the figure; each once.
ENDINGS = {
    "{call}": "the value is axes",
    "drawn = {call}": "there is no value",
    "{call}\nplt.show()": "pyplot shows it",
    "drawn = {call}\ngetattr(drawn, 'figure', drawn)": "the value is the figure itself",
}
START = """\
import pickle
import matplotlib.pyplot as plt
from lucidvi import pl
with open("results.pickle", "rb") as file:
    results = pickle.load(file)
"""


def figure_of(drawn):
    return drawn if isinstance(drawn, Figure) else drawn.figure


def test_every_function_has_a_result(results):
    assert sorted(results) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_the_figure_is_pyplots(results, name):
    before = plt.figure()
    figure = figure_of(getattr(pl, name)(*results[name]))
    assert figure is plt.gcf()
    assert figure is not before
    assert plt.get_fignums() == [before.number, figure.number]


@pytest.mark.parametrize("name", sorted(set(NAMES) - OF_PANELS))
def test_axes_of_the_user(results, name):
    """Nothing new is made where there are axes."""
    figure, axes = plt.subplots(1, 2)
    assert getattr(pl, name)(*results[name], ax=axes[0]) is axes[0]
    assert plt.get_fignums() == [figure.number]
    assert not axes[1].has_data()


def images_of(cells, results, folder):
    """Run cells in a notebook, and return the images that each shows."""
    (folder / "results.pickle").write_bytes(pickle.dumps(results))
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [nbformat.v4.new_code_cell(cell) for cell in (START, *cells)]
    resources = {"metadata": {"path": str(folder)}}
    nbclient.NotebookClient(notebook, timeout=120, resources=resources).execute()
    shown = [[output.get("data", {}) for output in cell.outputs] for cell in notebook.cells[1:]]
    return [[data["image/png"] for data in cell if "image/png" in data] for cell in shown]


def test_a_notebook_shows_each_figure_once(results, tmp_path, monkeypatch):
    monkeypatch.delenv("MPLBACKEND", raising=False)  # which a notebook sets to its own
    calls = {name: f"pl.{name}(*results[{name!r}])" for name in NAMES}
    cells = list(calls.values())
    cells += [end.format(call=calls[name]) for name in ("fit", "design") for end in ENDINGS]
    cells += ["ax = pl.fit(*results['fit'])", "ax.figure", "plt.get_fignums()"]
    *images, after = images_of(cells, results, tmp_path)
    assert {cell: len(shown) for cell, shown in zip(cells, images, strict=False)} == dict.fromkeys(
        cells[:-1], 1
    )
    assert len({shown[0] for shown in images[: len(NAMES)]}) == len(NAMES)
    assert after == []  # nothing is left


def test_a_page_leaves_nothing_in_pyplot(findings, tmp_path):
    report = Report(findings, {"model": "lucidvi SCVI"})
    for _ in range(5):  # pyplot warns of 20 figures
        report.to_html(tmp_path / "report.html")
    assert plt.get_fignums() == []


SCRIPT = """\
import pickle, sys
class Result:
    pass
from lucidvi.pl._axes import axes_or_new
ax = axes_or_new(None)
assert "matplotlib.pyplot" not in sys.modules
assert type(ax.figure).__name__ == "Figure"
ax.figure.savefig(sys.argv[1])
"""


def test_a_script_without_pyplot_does_not_get_it(tmp_path):
    subprocess.run([sys.executable, "-c", SCRIPT, str(tmp_path / "a.png")], check=True)
    assert (tmp_path / "a.png").stat().st_size > 0

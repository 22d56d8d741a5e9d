"""The command line answers at once: help and refusals wait for no other package."""

import json
import subprocess
import sys

import pytest

from lucidvi.cli import _choices

HEAVY = ("torch", "scvi", "scanpy", "anndata", "numba", "pandas", "numpy", "scipy", "lightning")
RUN = f"""
import json, sys, time
from lucidvi.cli import main
code = None
try:
    main()
except SystemExit as end:
    code = end.code
seconds = time.process_time()
heavy = [name for name in {HEAVY} if name in sys.modules]
print("\\n" + json.dumps([code, heavy, seconds]))
"""

HELP = [
    "",
    "--help",
    "--version",
    "demo --help",
    "train --help",
    "audit --help",
    "reference --help",
    "reference build --help",
    "reference map --help",
]
WRONG = {
    "trian": "No such command",
    "train": "Missing argument",
    "train cells.h5ad": "Missing option",
    "train cells.h5ad -o model --epochs 3": "No such option",
    "train cells.h5ad -o model --n-latent 0": "--n-latent",
    "train nothing.h5ad -o model": "There is no file nothing.h5ad",
    "train cells.h5ad -o cells.h5ad": "cells.h5ad is the data",
    "train cells.h5ad -o model --gene-likelihood nbinom": "`gene_likelihood` is 'nbinom'",
    "train cells.h5ad -o model --preset fast": "`preset` is 'fast'",
    "train cells.h5ad -o model --kind scvi": "did you mean kind='SCVI'",
    "audit nothing cells.h5ad": "There is no folder nothing",
    "audit model nothing.h5ad": "There is no file nothing.h5ad",
    "audit folder cells.h5ad --html page.txt": "does not end in .html",
    "reference build folder nothing.h5ad -o atlas": "There is no file nothing.h5ad",
    "reference build nothing cells.h5ad -o atlas": "There is no folder nothing",
    "reference map nothing.h5ad --reference r -o o.h5ad": "There is no file nothing.h5ad",
    "reference map cells.h5ad --reference r -o o.csv": "does not end in .h5ad",
    "reference map cells.h5ad --reference r -o o.h5ad --posterior best": "`posterior` is 'best'",
    "reference map cells.h5ad --reference r -o o.h5ad --novelty-rate 2": "`novelty_rate` is 2.0",
}


def run(folder, words):
    """Return the exit code of a command in another process, what it imported, and what it said."""
    (folder / "cells.h5ad").touch()
    (folder / "folder").mkdir()
    command = [sys.executable, "-c", RUN, *words.split()]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr
    return *json.loads(done.stdout.splitlines()[-1]), done.stdout + done.stderr


@pytest.mark.parametrize("words", HELP)
def test_help_comes_at_once(tmp_path, words):
    code, heavy, seconds, said = run(tmp_path, words)
    assert code == (0 if words else 2)
    assert heavy == []
    assert "Usage" in said or "lucidvi 0" in said
    # A quarter of a second with compiled bytecode and an idle machine; torch alone takes more.
    assert seconds < 3


@pytest.mark.parametrize(("words", "says"), WRONG.items(), ids=WRONG)
def test_a_refusal_comes_at_once(tmp_path, words, says):
    code, heavy, _, said = run(tmp_path, words)
    assert code == 2
    assert heavy == []
    assert says in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cells.h5ad", "folder"]


def test_choices_are_those_of_the_tables(monkeypatch):
    from lucidvi.distributions import LIKELIHOODS
    from lucidvi.inference import POSTERIORS
    from lucidvi.model import MODELS
    from lucidvi.train import PRESETS

    tables = {
        _choices.likelihoods: LIKELIHOODS,
        _choices.presets: PRESETS,
        _choices.kinds: MODELS,
        _choices.posteriors: POSTERIORS,
    }
    for of_table, table in tables.items():
        assert of_table() == list(table)
    with monkeypatch.context() as patch:  # as if nothing had been imported
        patch.setattr("sys.modules", {})
        from_source = [of_table() for of_table in tables]
    assert from_source == [list(table) for table in tables.values()]


def test_a_row_added_at_run_time_is_a_choice(monkeypatch):
    from lucidvi.distributions import LIKELIHOODS

    monkeypatch.setitem(LIKELIHOODS, "another", LIKELIHOODS["nb"])
    assert _choices.likelihoods()[-1] == "another"


def test_a_table_that_is_not_there():
    with pytest.raises(LookupError, match="no table NOTHING"):
        _choices.names_in("NOTHING", "py.typed")

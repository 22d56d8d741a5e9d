"""A run that skips a test for an unknown reason fails, and names it."""

import subprocess
import sys
from pathlib import Path

import pytest
from tests import skips

FILE = """
import pytest

def test_runs():
    pass

@pytest.mark.skip(reason={reason!r})
def test_skipped():
    pass
"""


@pytest.mark.parametrize(
    ("reason", "code"), [(f"{skips.EXPECTED[0]} 'pbmc'", 0), ("could not import 'jax'", 1)]
)
def test_only_expected_reasons_pass(tmp_path, reason, code):
    (tmp_path / "conftest.py").write_text(Path(skips.__file__).read_text())
    (tmp_path / "test_it.py").write_text(FILE.format(reason=reason))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert run.returncode == code, run.stdout
    assert ("test_skipped: Skipped: could not import" in run.stdout) == bool(code)


def test_a_file_that_cannot_be_imported_is_named(tmp_path):
    (tmp_path / "conftest.py").write_text(Path(skips.__file__).read_text())
    (tmp_path / "test_it.py").write_text("import pytest\npytest.importorskip('no_such_package')")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert run.returncode not in (0, 2), run.stdout
    assert "no_such_package" in run.stdout

"""Write constraints.txt: what a fresh environment resolves to, under constraints.in.

Run by `make lock`, with the Python of that fresh environment.
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MARKER = 'python_version < "3.12"'
HEADER = """\
# The releases that the tests ran with on Python 3.11; newer Pythons take the newest releases.
# Made by `make lock` from constraints.in: do not edit.
"""


def frozen_releases() -> list[str]:
    """Return `name==version` for each installed package but this one, local tags stripped."""
    command = [sys.executable, "-m", "pip", "freeze", "--exclude-editable"]
    freeze = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    unpinned = [line for line in freeze.splitlines() if "==" not in line]
    if unpinned:
        raise SystemExit(f"make lock: pip freeze lists packages without a release: {unpinned}")
    return [line.partition("+")[0] for line in freeze.splitlines()]


def main() -> None:
    if sys.version_info[:2] != (3, 11):
        raise SystemExit("make lock: needs Python 3.11, e.g. make lock PYTHON=python3.11")
    pins = [f"{release} ; {MARKER}\n" for release in frozen_releases()]
    (ROOT / "constraints.txt").write_text(HEADER + "".join(pins))
    print(f"constraints.txt: {len(pins)} releases")


if __name__ == "__main__":
    main()

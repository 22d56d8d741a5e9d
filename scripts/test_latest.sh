#!/bin/sh
# Run the tests marked `seam`, where LucidVI meets scvi-tools, anndata, Lightning and torch, with the
# newest Python found here and the newest releases of everything. What holds of models in many
# trainings or draws (marked `slow`), and of LucidVI alone, `make test` checks.
# Says SKIPPED, and succeeds, where that cannot be had.
set -eu
cd "$(dirname "$0")/.."

skip() {
    echo "make test-latest SKIPPED: $1"
    exit 0
}

newest=$("${PYTHON:-python3}" scripts/newest_python.py 3.12 2>&1) || skip "$newest"
free_gb=$(df -Pk . | awk 'NR == 2 {print int($4 / 1024 / 1024)}')
[ "$free_gb" -ge 15 ] || skip "needs 15 GB of free disk, found $free_gb GB"

"$newest" -m venv --clear .venv-latest
python=.venv-latest/bin/python
"$python" -m pip install -qq --upgrade pip
"$python" -m pip install -qq --group test --editable .
"$python" -c '
import sys
from importlib.metadata import version
names = ["scvi-tools", "anndata", "scanpy", "torch", "numpy", "pandas"]
print("test-latest: Python", sys.version.split()[0], *(f"{name} {version(name)}" for name in names))
'
"$python" -m pytest -n auto --dist worksteal -m "seam and not slow"

#!/usr/bin/env bash
# Guess: `scipy.io.mmread` of the `matrix.mtx` that STARsolo before 2.7.8 wrote into `Velocyto/raw`,
# whose lines hold three counts (spliced, unspliced, ambiguous) in place of one, is an error, since
# no matrix of that format has them.
#
# Behaviour: the first count of each line is read and the others are left out without a word, so that
# a velocity data set comes out as a matrix of spliced counts that looks whole. `scanpy.read_mtx`
# reads through it.
#
# Versions: scipy 1.17.1.
# Source: scipy, scipy/io/_fast_matrix_market; STAR, release notes of 2.7.8a, which made three files.
#
# Output seen:
#   counts of the line: 5, 1, 7; read: 5
# What to do: read the columns yourself (`lucidvi.data.read_splicing` does).
set -euo pipefail
place="$(mktemp -d)"
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet --disable-pip-version-check numpy==2.4.6 scipy==1.17.1
cd "$place"
"$place/venv/bin/python" - <<'PYTHON' || { echo "the behaviour has changed"; exit 1; }
import io

from scipy.io import mmread

text = "%%MatrixMarket matrix coordinate integer general\n%\n3 5 1\n1 1 5 1 7\n"
read = mmread(io.BytesIO(text.encode())).toarray()[0, 0]
print(f"counts of the line: 5, 1, 7; read: {read}")
assert read == 5
PYTHON

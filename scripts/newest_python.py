"""Print the path of the newest Python that can make a virtual environment here.

`python3 newest_python.py 3.12` prints one path and exits 0, or says on stderr that there is no
such Python and exits 1. Looks at `python3.N` on PATH, at what uv has installed and at what a
pyenv on PATH has installed; an interpreter counts only if it runs (a shim may not).
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

Version = tuple[int, ...]

PROBE = """
import ensurepip, sys, venv
assert sys.version_info.releaselevel == "final"
print(*sys.version_info[:3])
"""


def output(*command: str) -> str:
    """Return what the command prints, or nothing where it is missing, fails or hangs."""
    try:
        run = subprocess.run(command, check=True, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return ""
    return run.stdout.strip()


def on_path() -> Iterator[Path]:
    """Yield each `python3` and `python3.N` in the folders of PATH."""
    for folder in map(Path, os.environ.get("PATH", "").split(os.pathsep)):
        if folder.is_dir():
            yield from (file for file in folder.iterdir() if is_python(file.name))


def is_python(name: str) -> bool:
    return re.fullmatch(r"python3(\.\d+)?", name) is not None


def from_uv() -> Iterator[Path]:
    """Yield the interpreters that uv knows on this machine."""
    if shutil.which("uv"):
        listing = output("uv", "python", "list", "--only-installed", "--no-python-downloads")
        for line in listing.splitlines():
            _, _, path = line.partition(" ")
            yield Path(path.strip().partition(" -> ")[0])


def from_pyenv() -> Iterator[Path]:
    """Yield the interpreters that pyenv has installed."""
    if shutil.which("pyenv"):
        for version in output("pyenv", "versions", "--bare").splitlines():
            if prefix := output("pyenv", "prefix", version.strip()):
                yield Path(prefix) / "bin" / "python3"


def version_of(python: Path) -> Version | None:
    """Return the version of an interpreter, or None where it fails to run or to make a venv."""
    printed = output(str(python), "-c", PROBE)
    return tuple(map(int, printed.split())) if printed else None


def newest(minimum: Version) -> Path | None:
    """Return the newest interpreter that works and is at least `minimum`."""
    candidates = dict.fromkeys([*on_path(), *from_uv(), *from_pyenv()])
    versions = {python: version for python in candidates if (version := version_of(python))}
    found = [python for python, version in versions.items() if version >= minimum]
    return max(found, key=versions.__getitem__, default=None)


def main() -> None:
    minimum = tuple(map(int, sys.argv[1].split(".")))
    python = newest(minimum)
    if python is None:
        sys.exit(f"no Python >= {sys.argv[1]} that can make a virtual environment was found")
    print(python)


if __name__ == "__main__":
    main()

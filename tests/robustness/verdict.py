"""What came of a damaged file: it is refused, or read as it was; anything else is a find."""

import hashlib
import shutil
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tests.robustness.damage import CONTENT, damaged, without_digests
from tests.robustness.saved import Saved, same

from lucidvi.errors import LucidVIError

#: Outcomes that are as they should be.
FINE = ("refused", "equal", "another", "the old whole", "the new whole")


@dataclass(frozen=True)
class Verdict:
    """A damage, and what came of it."""

    saved: str
    file: str
    kind: str
    outcome: str
    told: str = ""


def hashes(folder: Path) -> dict[str, str]:
    """Return a digest of every file in a folder, at any depth."""
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def compared(got: dict, want: dict, kind: str) -> str:
    """Say whether answers are the same ones; a file with other contents has others of its own."""
    if same(got, want):
        return "equal"
    if not kind.startswith(("archive", "content")):
        return "changed"
    numbers = {k: x for k, x in got.items() if isinstance(x, np.ndarray) and x.dtype.kind == "f"}
    if got.get("calibration") == "None":  # nor is it known then how new cells are
        numbers.pop("lucidvi_novelty", None)
    for name, one in numbers.items():
        two, bad = want.get(name), ~np.isfinite(one)
        if bad.any() and (two is None or two.shape != one.shape or np.isfinite(two[bad]).any()):
            return "not a number"
    return "another"


def judge_file(seed: int, all_saved: list[Saved], answers: dict, scratch: Path) -> Verdict:
    """Damage a file as a seed says, read it, and say what came of it."""
    rng = np.random.default_rng(seed)
    saved = all_saved[rng.integers(len(all_saved))]
    file = str(rng.choice(saved.files))
    place, marker = scratch / "damaged", scratch / "marker"
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(saved.folder, place)
    kind, content = damaged(rng, place / file, str(marker))
    if kind.startswith("content"):  # which digests would refuse before they are looked at
        without_digests(place)
        if file.endswith(".json"):
            kind, content = kind, CONTENT[".json"](rng, (place / file).read_bytes(), str(marker))
    (place / file).write_bytes(content)
    before = hashes(place)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            got = saved.ask(saved.read(place))
        except LucidVIError as error:
            outcome, told = "refused", str(error)
            if told.count("Remedy: ") != 1:
                outcome = "remedies: not one"
        except Exception as error:
            outcome, told = f"error: {type(error).__name__}", str(error)
        else:
            outcome, told = compared(got, answers[saved.name], kind), ""
    if outcome in FINE and warned:
        outcome, told = "warned", str(warned[0].message)
    if marker.exists():
        marker.unlink()
        outcome, told = "code was run", ""
    if hashes(place) != before:
        outcome = "files changed"
    return Verdict(saved.name, file, kind, outcome, told)

"""Bad input by the thousand: cells, arguments, damaged files, saves that are cut short.

Each case is drawn by its number, so that any of them can be tried again: `--only PART NUMBER`.
A process that crashes, takes more than 20 seconds for a case or a gigabyte is a find, as is every
outcome but a LucidVIError or the right answer. Writes `robustness.md`.
"""

import argparse
import contextlib
import json
import os
import resource
import select
import subprocess
import sys
import tempfile
import types
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
#: Parts, and how many cases of each.
PARTS = {"inputs": 10_000, "files": 6_000, "writes": 300}
SECONDS, BYTES = 20, 10**9
#: Outcomes that are as they should be, and what they mean.
FINE = {
    "refused": "a LucidVIError with one remedy; the cells, or the folder, as before",
    "right": "the answer of the same cells in plain form",
    "finite": "an answer of finite numbers, where there is no other one to compare it with",
    "equal": "exactly the answers from before the damage",
    "another": "other contents, well-formed and with checksums of their own; finite answers",
    "the old whole": "what was there before",
    "the new whole": "what was being saved",
}


def worker(part: str, first: int, last: int) -> None:
    """Try cases, and print a line before and after each."""
    tests = types.ModuleType("tests")  # whatever else is called so
    tests.__path__ = [str(ROOT / "tests")]
    sys.modules["tests"] = tests
    import logging

    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        judge = JUDGES[part](Path(folder))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for seed in range(first, last):
            print(json.dumps({"seed": seed}), file=sys.__stdout__, flush=True)
            said = asdict(judge(seed)) | {"seed": seed}
            most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            if (most - before) * 1024 > BYTES:
                said["outcome"], before = "more than a gigabyte", most
            print(json.dumps(said), file=sys.__stdout__, flush=True)


def judge_of_inputs(folder: Path) -> Any:
    """Return a function that uses LucidVI as a number says."""
    from tests.robustness.ask import Asked, judge_input

    asked = Asked()
    return lambda seed: judge_input(seed, asked)


def judge_of_files(folder: Path) -> Any:
    """Return a function that damages a file as a number says."""
    from tests.robustness.saved import all_saved
    from tests.robustness.verdict import judge_file

    saved = all_saved(folder)
    answers = {one.name: one.ask(one.read(one.folder)) for one in saved}
    return lambda seed: judge_file(seed, saved, answers, folder)


def judge_of_writes(folder: Path) -> Any:
    """Return a function that cuts a save short as a number says."""
    from tests.robustness.saved import all_saved
    from tests.robustness.writing import Writers, judge_write

    writers = Writers(all_saved(folder), folder)
    return lambda seed: judge_write(seed, writers, folder)


JUDGES = {"inputs": judge_of_inputs, "files": judge_of_files, "writes": judge_of_writes}


def tried(part: str, n: int) -> list[dict[str, Any]]:
    """Return what came of each case, in processes that may end or hang."""
    verdicts: list[dict[str, Any]] = []
    seed = 0
    while seed < n:
        command = [sys.executable, __file__, "--worker", part, str(seed), str(n)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as run:
            outcome, started = "the process ended", False
            while line := next_line(run, SECONDS if started else 300):
                said = json.loads(line)
                started, seed = True, said["seed"]
                if "outcome" in said:
                    verdicts.append(said)
                    seed += 1
            if run.poll() is None:
                outcome = f"more than {SECONDS} seconds"
                run.kill()
        if seed < n:
            verdicts.append({"seed": seed, "outcome": outcome})
            seed += 1
    return verdicts


def next_line(run: Any, seconds: float) -> bytes:
    """Return the next line of a process; nothing if it ends or takes too long."""
    ready, _, _ = select.select([run.stdout], [], [], seconds)
    return run.stdout.readline() if ready else b""


def table(title: str, verdicts: list[dict[str, Any]], key: str) -> list[str]:
    """Return a table of outcomes by something."""
    outcomes = sorted({v["outcome"] for v in verdicts}, key=lambda o: (o not in FINE, o))
    counts = Counter((v.get(key, "?"), v["outcome"]) for v in verdicts)
    names = sorted({v.get(key, "?") for v in verdicts})
    lines = [f"| {title} | {' | '.join(outcomes)} |", "|---" * (len(outcomes) + 1) + "|"]
    for name in names:
        cells = (f"{counts[name, outcome]:,}" for outcome in outcomes)
        lines.append(f"| {name} | {' | '.join(cells)} |")
    totals = Counter(v["outcome"] for v in verdicts)
    lines.append(f"| all | {' | '.join(f'{totals[outcome]:,}' for outcome in outcomes)} |")
    return [*lines, ""]


def page(results: dict[str, list[dict[str, Any]]]) -> str:
    """Return the report."""
    lines = [
        "# Bad input",
        "",
        "By `python benchmarks/robustness.py`. Cells and arguments of every kind, damaged files, "
        "and saves that are cut short, each drawn by its number. An outcome is",
        "",
        *(f"- **{name}**: {meaning}." for name, meaning in FINE.items()),
        "",
        "Whatever else is in a table below is a find.",
        "",
    ]
    titles = {
        "inputs": [("route", "what was asked")],
        "files": [("saved", "saved"), ("kind", "damage")],
        "writes": [("saved", "saved"), ("kind", "what happens")],
    }
    for part, verdicts in results.items():
        lines += [f"## {len(verdicts):,} {part}", ""]
        for key, title in titles[part]:
            lines += table(title, verdicts, key)
        finds = [v for v in verdicts if v["outcome"] not in FINE]
        lines += [f"- `{part}` {v['seed']}: {v['outcome']}" for v in finds[:50]]
        lines += [""] if finds else []
    return "\n".join(lines)


def main() -> None:
    """Try all cases, and write what came of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a hundredth of the cases")
    parser.add_argument("--only", nargs=2, metavar=("PART", "NUMBER"), help="try one case again")
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        part, first, last = arguments.worker
        worker(part, int(first), int(last))
        return
    if arguments.only:
        part, number = arguments.only
        worker(part, int(number), int(number) + 1)
        return
    numbers = [n // 100 if arguments.quick else n for n in PARTS.values()]
    with ThreadPoolExecutor() as pool:  # each waits for a process of its own
        results = dict(zip(PARTS, pool.map(tried, PARTS, numbers), strict=True))
    place = ROOT / ".cache" / "quick" if arguments.quick else HERE
    place.mkdir(parents=True, exist_ok=True)
    (place / "robustness.md").write_text(page(results))
    print(page(results))
    finds = [v for part in results.values() for v in part if v["outcome"] not in FINE]
    for find in finds:
        print(json.dumps(find), file=sys.stderr)


if __name__ == "__main__":
    os.environ.setdefault("TQDM_DISABLE", "1")
    main()

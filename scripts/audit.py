"""Look the pinned releases up among known vulnerabilities: `make audit`.

The advisories are on the internet, at PyPI or at osv.dev. Where neither is reached, or knows none
of the packages (a mirror that serves files only), this says SKIPPED and succeeds.
"""

import json
import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
#: Where pip-audit finds advisories.
SERVICES = ("pypi", "osv")
SECONDS = 120


def answer(service: str) -> list[dict[str, Any]]:
    """Return what a service says of each package; nothing where it is not reached."""
    options = ["--no-deps", "--disable-pip", "--progress-spinner", "off", "--timeout", "15"]
    # Whichever Python asks: these are the releases of the oldest one.
    pins = re.sub(r" ;.*", "", (ROOT / "constraints.txt").read_text())
    with TemporaryDirectory() as folder:
        file = Path(folder, "pins.txt")
        file.write_text(pins)
        command = [sys.executable, "-m", "pip_audit", "-r", str(file), *options]
        command += ["--vulnerability-service", service, "--format", "json"]
        try:
            run = subprocess.run(
                command, capture_output=True, text=True, timeout=SECONDS, check=False
            )
            return json.loads(run.stdout)["dependencies"]
        except (subprocess.TimeoutExpired, json.JSONDecodeError, KeyError):
            return []


def report(packages: list[dict[str, Any]]) -> tuple[str, int]:
    """Return what to say of the answers of a service, and the exit status."""
    known = [package for package in packages if "skip_reason" not in package]
    if not known:
        return "SKIPPED: no database of advisories was reached, so nothing was looked up.", 0
    found = [
        f"{package['name']} {package['version']}: {advisory['id']}"
        f" (mended in {', '.join(advisory['fix_versions']) or 'no release yet'})"
        for package in known
        for advisory in package["vulns"]
    ]
    unknown = len(packages) - len(known)
    lines = [*found, f"{len(known)} packages looked up, {unknown} not known there, "]
    lines[-1] += f"{len(found)} advisories."
    return "\n".join(lines), 1 if found else 0


def main() -> None:
    packages: list[dict[str, Any]] = []
    for service in SERVICES:
        packages = answer(service)
        if any("skip_reason" not in package for package in packages):
            break
    text, status = report(packages)
    print(f"make audit: {text}")
    raise SystemExit(status)


if __name__ == "__main__":
    main()

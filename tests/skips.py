"""A test that is skipped for a reason that nobody expects fails the run; none is lost unseen."""

import pytest

#: How reasons begin for which a test may be skipped.
EXPECTED = (
    "no data set",
    "no Chromium",
    "needs fork",
    "needs two cores",
    "root may write everywhere",
    "torch has no OpenMP runtime to share",
    "permissions of POSIX",
    "made with the pinned scvi-tools",
    "scvi-tools before 1.5",
    "scvi-tools 1.5.1 needs annbatch before 0.3",
    "scvi-tools makes sparse tensors of CSR counts only",
    "scvi.autotune needs ray",  # 200 MB for one test
    "the values of so deep cells do not tell",
)

unexpected: list[str] = []


def note(report):
    """Note a test, or a file of tests, that is skipped for another reason."""
    if not report.skipped or hasattr(report, "wasxfail"):
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    if not reason.removeprefix("Skipped: ").startswith(EXPECTED):
        unexpected.append(f"{report.nodeid}: {reason}")


def pytest_runtest_logreport(report):
    note(report)


def pytest_collectreport(report):
    note(report)


def pytest_terminal_summary(terminalreporter):
    if unexpected:
        terminalreporter.section("skipped, and nobody expects it (tests/skips.py)")
        for line in unexpected:
            terminalreporter.write_line(line)


def pytest_sessionfinish(session):
    if unexpected and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED

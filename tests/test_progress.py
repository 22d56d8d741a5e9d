"""Bars: none for two seconds, then one, by one switch, and nothing that a call would feel."""

import io
import re
import subprocess
import sys
import threading
import time

import pytest
import scvi

import lucidvi
from lucidvi import _progress
from lucidvi._progress import Progress, Settings, bars_are_shown, track, without_bars
from lucidvi.errors import LucidVIError


class Clock:
    """Stands still but for what is added."""

    now = 100.0

    def __call__(self):
        return self.now

    def pass_by(self, seconds):
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(_progress, "clock", clock)
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    return clock


@pytest.fixture
def drawn(monkeypatch):
    """What was drawn: of each bar, the texts and steps, and whether it was closed."""
    bars = []

    class Recorded:
        def __init__(self, description, total, seconds):
            self.total, self.seconds, self.drawings, self.closed = total, seconds, [], False
            bars.append(self)

        def draw(self, description, n_done):
            self.drawings.append((description, n_done))

        def close(self):
            self.closed = True

    monkeypatch.setitem(_progress.STYLES, "tqdm", Recorded)
    return bars


def run(clock, n, seconds, **kwargs):
    """Go through n items, each of so many seconds."""
    items = []
    for item in track(range(n), "Counting", **kwargs):
        clock.pass_by(seconds)
        items.append(item)
    assert items == list(range(n))


@pytest.mark.parametrize(("n", "seconds"), [(0, 1), (1, 60), (2, 0.9), (200, 0.009)])
def test_short_calls_have_no_bar(clock, drawn, n, seconds):
    run(clock, n, seconds)
    assert drawn == []


def test_a_bar_from_two_seconds_on(clock, drawn):
    run(clock, 10, 0.5)
    (bar,) = drawn
    assert bar.total == 10
    assert bar.seconds == 2.0  # it knows when the call began
    assert bar.drawings[0] == ("Counting", 4)
    assert bar.drawings[-1] == ("Counting", 10)
    assert bar.closed


def test_not_drawn_more_often_than_it_is_seen(clock, drawn):
    run(clock, 100_000, 0.001)
    seconds = 100 - 2
    assert 0.5 * seconds / _progress.INTERVAL < len(drawn[0].drawings)
    assert len(drawn[0].drawings) < 1.1 * seconds / _progress.INTERVAL


def test_of_an_unknown_length(clock, drawn):
    for _ in track(iter(range(5)), "Reading"):
        clock.pass_by(1)
    assert drawn[0].total is None
    for _ in track((i for i in range(5)), "Reading", total=5):
        clock.pass_by(1)
    assert drawn[1].total == 5


def test_bars_within_a_bar_do_not_double(clock, drawn):
    for _ in track(range(3), "Making"):
        run(clock, 5, 1)
    (bar,) = drawn
    assert ("Making (counting 3/5)", 0) in bar.drawings  # in time, though no step was done
    assert ("Making (counting 1/5)", 1) in bar.drawings
    assert bar.drawings[-1] == ("Making", 3)
    with Progress("Auditing", 2) as progress:
        progress.now("fit")
        run(clock, 5, 1)
        progress.advance()
    assert ("Auditing (fit, counting 3/5)", 0) in drawn[1].drawings
    assert ("Auditing (fit)", 1) in drawn[1].drawings or drawn[1].drawings[-1] == ("Auditing", 1)
    run(clock, 5, 1)
    assert len(drawn) == 3  # the next call has one of its own


def test_what_a_call_does(clock, drawn):
    with Progress("Auditing", 2) as progress:
        progress.now("collapse")
        clock.pass_by(3)
        progress.advance()
        progress.now("fit")
        clock.pass_by(3)
        progress.advance()
    assert [text for text, _ in drawn[0].drawings] == ["Auditing (collapse)", "Auditing"]
    assert drawn[0].drawings[0] == ("Auditing (collapse)", 1)


@pytest.mark.parametrize("end", ["break", "error", "next", "interrupt"])
def test_a_call_that_ends_early_closes_its_bar(clock, drawn, end):
    def go():
        for i in track(range(10), "Counting"):
            clock.pass_by(1)
            if i == 5 and end == "break":
                return
            if i == 5:
                raise KeyboardInterrupt if end == "interrupt" else ValueError

    if end == "next":
        iterator = track(range(10), "Counting")
        next(iterator)
        del iterator
    elif end == "break":
        go()
    else:
        with pytest.raises((ValueError, KeyboardInterrupt)):
            go()
    assert all(bar.closed for bar in drawn)
    n = len(drawn)
    run(clock, 5, 1)
    assert len(drawn) == n + 1  # nothing takes itself for the outer call


def test_threads_have_bars_of_their_own_and_none_of_the_others(clock, drawn):
    with Progress("Outer"):
        thread = threading.Thread(target=run, args=(clock, 5, 1))
        thread.start()
        thread.join()
    assert len(drawn) == 1
    assert drawn[0].drawings[0][0] == "Counting"


def test_slow_steps_are_seen_by_a_thread(monkeypatch, drawn):
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    monkeypatch.setattr(_progress, "PATIENCE", 0.05)
    monkeypatch.setattr(_progress, "LOOK", 0.01)
    before = threading.active_count()
    with Progress("Saving", slow_steps=True):
        time.sleep(0.5)
        assert drawn
    assert drawn[0].closed
    time.sleep(0.1)
    assert threading.active_count() == before


# -- the switch -------------------------------------------------------------------------------


def test_one_switch(clock, drawn, monkeypatch):
    monkeypatch.setattr(lucidvi.settings, "progress_bars", False)
    assert not bars_are_shown()
    run(clock, 10, 1)
    assert drawn == []
    monkeypatch.setattr(lucidvi.settings, "progress_bars", True)
    run(clock, 10, 1, show=False)
    with without_bars():
        run(clock, 10, 1)
    assert drawn == []
    run(clock, 10, 1)
    assert len(drawn) == 1


@pytest.mark.parametrize(
    ("value", "shown"), [("1", False), ("True", False), ("0", True), ("", True)]
)
def test_the_environment(clock, drawn, monkeypatch, value, shown):
    monkeypatch.setenv("TQDM_DISABLE", value)
    run(clock, 10, 1)
    assert bool(drawn) == shown


@pytest.mark.parametrize(
    "line", ["progress_bar = False", "progress_bars = 0", "progress_bars = None"]
)
def test_a_switch_that_is_misspelled(line):
    with pytest.raises(LucidVIError) as raised:
        exec(f"lucidvi.settings.{line}")
    settings = Settings()
    exec(raised.value.remedy, {"lucidvi": type("", (), {"settings": settings})})
    assert settings.progress_bars is False


def test_worker_processes_have_none(monkeypatch):
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    assert bars_are_shown()
    joblib = pytest.importorskip("joblib")
    with joblib.parallel_config(backend="loky"):
        (shown,) = joblib.Parallel(n_jobs=2)([joblib.delayed(bars_are_shown)()])
    assert not shown


# -- what is seen -----------------------------------------------------------------------------


@pytest.mark.parametrize("style", ["tqdm", "rich"])
def test_styles_of_scvi(clock, monkeypatch, style):
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(scvi.settings, "progress_bar_style", style)
    run(clock, 10, 0.5)
    assert re.search(r"Counting.*100%", out.getvalue())
    assert len(re.findall("Counting", out.getvalue().split("\r")[-1])) == 1


def test_of_what_has_no_steps(clock, monkeypatch):
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    with Progress("Saving") as progress:
        clock.pass_by(3)
        progress.now("cells")
    assert re.search(r"Saving \(cells\).*\[00:0\d\]", out.getvalue())


def test_costs():
    """A loop costs less than 100 microseconds, an item less than 10 (5 and 0.5 are usual)."""
    start = time.thread_time()
    for _ in range(1000):
        list(track(range(1), "Counting"))
    assert time.thread_time() - start < 0.1
    start = time.thread_time()
    list(track(range(10_000), "Counting"))
    assert time.thread_time() - start < 0.1


def test_no_private_use_of_other_bars():
    """Every bar goes through this one place."""
    root = next(iter(lucidvi.__path__))
    found = subprocess.run(
        ["grep", "-rlE", r"scvi.utils import .*track|tqdm|rich.progress", root, "--include=*.py"],
        capture_output=True,
        text=True,
    ).stdout.split()
    assert [file.rpartition("/")[2] for file in found] == ["_progress.py"]

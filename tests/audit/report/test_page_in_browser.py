"""The page in a real browser: headless Chromium, where there is one."""

import json
import os
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lucidvi.audit import Report
from lucidvi.audit.report._html import FIGURES
from lucidvi.results import Identifiability, Skipped

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: the page was not opened"),
]
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
    *("--disable-background-networking", "--remote-debugging-pipe", "--force-color-profile=srgb"),
)
#: Moves the two pipes to the descriptors 3 and 4, on which Chromium listens and speaks.
LAUNCH = """
import fcntl, os, sys
pipes = [fcntl.fcntl(int(number), fcntl.F_DUPFD, 10) for number in sys.argv[1:3]]
for pipe, place in zip(pipes, (3, 4)):
    os.dup2(pipe, place)
os.execv(sys.argv[3], sys.argv[3:])
"""
#: Seconds that an answer may take; a machine may be busy.
PATIENCE = 120
WIDTHS = {"phone": 390, "desktop": 1280}
#: Pixels of the smallest letters, of the text and of the figures.
LEGIBLE, LEGIBLE_IN_FIGURES = 13, 11
#: Pixels of the letters of a figure in its natural size: a point is 4/3 of a pixel.
LETTERS = FIGURES[-1]["font.size"] * 4 / 3
#: What the page is asked: how wide it is, its images, and the size of each piece of text.
LOOK = """(() => {
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const sizes = [];
  while (texts.nextNode())
    if (texts.currentNode.textContent.trim())
      sizes.push(parseFloat(getComputedStyle(texts.currentNode.parentElement).fontSize));
  const scrolling = [...document.querySelectorAll("body *")].filter(
    e => e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).display != "inline");
  return {
    width: document.documentElement.scrollWidth,
    smallest: Math.min(...sizes),
    scrolling: scrolling.map(e => e.tagName),
    images: [...document.querySelectorAll("img, svg")].map(
      i => ({alt: i.alt || "", width: i.clientWidth, natural: i.naturalWidth})),
  };
})()"""


class Chromium:
    """Chromium, spoken to in its DevTools protocol, JSON that ends in a zero byte."""

    def __init__(self, folder: Path) -> None:
        read, self.write = os.pipe()
        self.read, write = os.pipe()
        launch = [sys.executable, "-c", LAUNCH, str(read), str(write), str(CHROMIUM)]
        with (folder / "chromium.log").open("wb") as log:
            self.process = subprocess.Popen(
                [*launch, *FLAGS, f"--user-data-dir={folder / 'profile'}"],
                pass_fds=(read, write),
                stdout=log,
                stderr=log,
            )
        os.close(read)
        os.close(write)
        self.count, self.buffer, self.session = 0, b"", ""
        self.events: list[dict] = []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.ask("Target.attachToTarget", targetId=target, flatten=True)[
            "sessionId"
        ]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **params):
        """Send a command and return its result; events that come meanwhile are kept."""
        self.count += 1
        message = {"id": self.count, "method": method, "params": params}
        message |= {"sessionId": self.session} if self.session else {}
        os.write(self.write, json.dumps(message).encode() + b"\0")
        while (answer := self.next_message()).get("id") != self.count:
            self.events.append(answer)
        assert "error" not in answer, (method, answer)
        return answer["result"]

    def next_message(self) -> dict:
        end = time.monotonic() + PATIENCE
        while b"\0" not in self.buffer:
            ready = select.select([self.read], [], [], end - time.monotonic())[0]
            assert ready, "Chromium does not answer"
            more = os.read(self.read, 2**16)
            assert more, "Chromium has ended"
            self.buffer += more
        message, _, self.buffer = self.buffer.partition(b"\0")
        return json.loads(message)

    def open(self, file: Path, width: int) -> dict:
        """Open a file; return what :data:`LOOK` tells, requests to elsewhere and errors logged."""
        self.events.clear()
        screen = {"width": width, "height": 900, "deviceScaleFactor": 1}
        self.ask("Emulation.setDeviceMetricsOverride", mobile=width < 600, **screen)
        self.ask("Page.navigate", url=file.as_uri())
        while not self.happened("Page.loadEventFired"):
            self.events.append(self.next_message())
        seen = self.ask("Runtime.evaluate", expression=LOOK, returnByValue=True)["result"]["value"]
        sent = self.happened("Network.requestWillBeSent")
        logged = [entry["entry"] for entry in self.happened("Log.entryAdded")]
        called = self.happened("Runtime.consoleAPICalled")
        urls = [request["request"]["url"] for request in sent]
        seen["requests"] = [url for url in urls if not url.startswith("data:")]
        seen["errors"] = [entry["text"] for entry in logged if entry["level"] == "error"]
        seen["errors"] += [str(call["args"]) for call in called if call["type"] == "error"]
        seen["errors"] += [
            thrown["exceptionDetails"]["text"]
            for thrown in self.happened("Runtime.exceptionThrown")
        ]
        return seen

    def happened(self, method: str) -> list[dict]:
        return [event["params"] for event in self.events if event.get("method") == method]

    def close(self) -> None:
        self.session = ""
        self.ask("Browser.close")
        os.close(self.write)
        os.close(self.read)
        self.process.wait(PATIENCE)


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    browser = Chromium(tmp_path_factory.mktemp("browser"))
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def findings(make_findings):
    """All there is: problems, cures, figures, long names, a check left out."""
    findings = make_findings(names="-" + "long" * 20, shift=1.5)
    assert any(c.verdict == "skipped" for f in findings.values() for c in f.criteria)
    findings["identifiability"] = Skipped.of(Identifiability, "There is nothing to rotate.")
    return findings


@pytest.fixture(scope="module")
def page(findings, tmp_path_factory):
    about = {"model": "SCVI", "n_cells": 200, "n_obs": 10_000, "n_genes": 60, "versions": {}}
    file = tmp_path_factory.mktemp("page") / "report.html"
    Report(findings, about).to_html(file)
    return file


@pytest.fixture(scope="module")
def faulty(tmp_path_factory):
    """A page with each fault that is looked for."""
    file = tmp_path_factory.mktemp("faulty") / "page.html"
    file.write_text(
        "<meta name=viewport content='width=device-width'><p style='font-size:8px'>small</p>"
        "<img src='http://127.0.0.1:9/a.png'><pre style='width:2000px'>wide</pre>"
        "<script>console.error('told'); throw new Error('thrown')</script>"
    )
    return file


@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
def test_page(chromium, page, findings, width):
    seen = chromium.open(page, width)
    assert seen["errors"] == []
    assert seen["requests"] == [page.as_uri()]
    assert seen["width"] <= width
    assert seen["scrolling"] == []
    assert seen["smallest"] >= LEGIBLE
    drawn = [finding for finding in findings.values() if not isinstance(finding, Skipped)]
    for image, finding in zip(seen["images"], drawn, strict=True):
        assert finding.summary.replace("\n", " ") in image["alt"]
        assert len(image["alt"]) > 40
        assert LETTERS * image["width"] / image["natural"] >= LEGIBLE_IN_FIGURES


@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
def test_faults_are_seen(chromium, faulty, width):
    """What the page is asked would tell."""
    seen = chromium.open(faulty, width)
    assert len(seen["errors"]) >= 2
    assert any("told" in error for error in seen["errors"])
    assert any("Uncaught" in error for error in seen["errors"])
    assert "http://127.0.0.1:9/a.png" in seen["requests"]
    assert seen["width"] > width
    assert seen["smallest"] < LEGIBLE
    assert [image["alt"] for image in seen["images"]] == [""]


def test_scripts_in_the_page_do_not_run(chromium, page, tmp_path):
    """The policy that the page states holds, should anything ever slip in."""
    file = tmp_path / "page.html"
    file.write_text(page.read_text().replace("</main>", "<script>throw 1</script></main>"))
    errors = chromium.open(file, WIDTHS["desktop"])["errors"]
    assert any("Content Security Policy" in error for error in errors)
    assert not any("Uncaught" in error for error in errors)

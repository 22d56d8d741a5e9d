"""The page of a report: one file that holds everything, whatever names the data bring."""

import base64
import re
import tomllib
from html import unescape
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from xml.etree import ElementTree

import matplotlib.pyplot as plt
import pytest

from lucidvi import audit
from lucidvi.audit import Report
from lucidvi.audit.report._html import shown, thresholds
from lucidvi.results import Criterion, Identifiability, Skipped, judge

ROOT = Path(__file__).resolve().parents[3]
HOSTILE = "<script>alert(1)</script>\"'&<img src=x onerror=alert(1)>"
ABOUT = {
    "model": "lucidvi SCVI",
    "n_cells": 200,
    "n_obs": 12_000,
    "n_genes": 60,
    "n_held_out": 20,
    "seed": 0,
    "versions": {"lucidvi": "0.1", "scvi-tools": "1.4.2"},
    "seconds": {"fit": 12.5},
    "total_seconds": 61.25,
}
#: Tags without content.
VOID = {"meta", "link", "img", "br"}


class Page(HTMLParser):
    """The tags of a page with their attributes, and its text by section."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags, self.open, self.text, self.section = [], [], {}, ""
        self.feed(html)
        self.close()
        assert self.open == [], "a tag is not closed"

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag == "section":
            self.section = dict(attributes)["id"]
        self.handle_data(" ")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text[self.section] = self.text.get(self.section, "") + data

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def words(self):
        return {name: " ".join(text.split()) for name, text in self.text.items()}


def written(findings, folder, about=ABOUT):
    file = folder / "report.html"
    Report(findings, about).to_html(file)
    return Page(file.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def findings(make_findings):
    return make_findings(names=HOSTILE, shift=1.5)


@pytest.fixture(scope="module")
def page(findings, tmp_path_factory):
    return written(findings, tmp_path_factory.mktemp("page"))


def test_nothing_is_loaded_and_nothing_is_run(page):
    for tag, attributes in page.tags:
        assert tag not in {"script", "iframe", "object", "embed", "base", "form", "video", "audio"}
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href", "srcset", "data", "action", "poster"):
            assert attributes.get(name, "#").startswith(("#", "data:")), (tag, attributes)
    (policy,) = (a["content"] for a in page.all("meta") if "content" in a and "http-equiv" in a)
    assert policy.startswith("default-src 'none'")


def test_styles_load_nothing(findings, tmp_path):
    Report(findings, ABOUT).to_html(tmp_path / "report.html")
    style = re.findall(r"<style>(.*?)</style>", (tmp_path / "report.html").read_text(), re.DOTALL)
    assert len(style) == 1
    assert not re.search(r"url\(|@import|http", style[0])


def test_figures(page, findings):
    images = page.all("img")
    assert len(images) == len(findings) == 7
    for image, finding in zip(images, findings.values(), strict=True):
        kind, data = image["src"].split(",")
        assert kind == "data:image/svg+xml;base64"
        drawing = ElementTree.fromstring(base64.b64decode(data))
        assert drawing.tag.endswith("svg")
        links = {
            value
            for element in drawing.iter()
            for name, value in element.attrib.items()
            if name.endswith("href")
        }
        assert links
        assert all(link.startswith(("#", "data:")) for link in links)
        assert image["alt"].startswith("Plot: ")
        assert finding.summary in image["alt"]


def test_what_is_told(page, findings):
    top = page.words[""]
    assert top.startswith("LucidVI audit: warn Can this model be trusted? warn")
    assert "200 of 12,000 cells, 60 genes" in top
    assert [a["href"] for a in page.all("a")] == [f"#{name}" for name in findings]
    for name, finding in findings.items():
        assert finding.title in top
        assert " ".join(finding.summary.split()) in top
        words = page.words[name]
        for said in (finding.explanation, finding.reference, finding.cure):
            assert " ".join(said.split()) in words
        for criterion in finding.criteria:
            assert f"{criterion.verdict} {criterion.name.replace('_', ' ')}" in words
            assert " ".join(criterion.statement.split()) in words
    order = ["What was found", "What was checked", "What it means", "What to do"]
    places = [page.words["collapse"].lower().find(words.lower()) for words in order]
    assert places == sorted(places)
    assert min(places) > 0


def test_about(page):
    told = page.words["about"]
    for said in (
        "Model lucidvi SCVI",
        "Cells in the data 12,000",
        "Of these, held out 20",
        "Versions lucidvi 0.1, scvi-tools 1.4.2",
        "Seconds that the audit took 61.2",
    ):
        assert said in told
    assert "12.5" not in told  # what one check took would say little: checks share work


@pytest.mark.parametrize(
    ("value", "kwargs", "expected"),
    [
        (0.12345, {"warn": 0.1, "fail": 0.25}, ("0.123", "warn ≥ 0.1, fail ≥ 0.25")),
        (0.5, {"fail": 0.5, "worse": "lower"}, ("0.5", "fail ≤ 0.5")),
        (float("nan"), {}, ("-", "-")),
    ],
)
def test_values_and_thresholds(value, kwargs, expected):
    criterion = judge("a", value, "", **kwargs)
    assert (shown(criterion.value), thresholds(criterion).replace("\xa0", " ")) == expected
    assert shown(12_345) == "12,345"


def test_code_can_be_pasted(findings, tmp_path):
    """What is shown as code is the cure, line by line."""
    Report(findings, ABOUT).to_html(tmp_path / "report.html")
    html = (tmp_path / "report.html").read_text()
    shown = [unescape(code) for code in re.findall(r"<pre.*?><code>(.*?)</code>", html, re.DOTALL)]
    assert shown == [finding.cure for finding in findings.values() if finding.cure]
    assert shown


def test_names_from_the_data_are_text(findings, tmp_path):
    file = tmp_path / "report.html"
    Report(findings, ABOUT | {"model": HOSTILE}).to_html(file)
    html = file.read_text()
    assert HOSTILE in Page(html).text[""]  # as text it is whole
    assert "<script" not in html
    assert "onerror=alert" not in re.sub(r"&lt;img.*?&gt;", "", html)


def test_skipped(findings, tmp_path):
    found = findings | {"identifiability": Skipped.of(Identifiability, "There is one dimension.")}
    page = written(found, tmp_path)
    words = page.words["identifiability"]
    assert "Not checked: There is one dimension." in words
    assert "Thresholds" not in words
    assert "What to do" not in words
    assert Identifiability.explanation.split(".")[0] in words
    assert len(page.all("img")) == 6


def test_where_there_is_nothing_to_plot(make_findings, tmp_path):
    found = make_findings(scale=1.0)["amortization"]
    page = written({"amortization": found}, tmp_path)
    assert page.all("img") == []
    assert "The counts determine none of the latent axes." in page.words["amortization"]


def test_skipped_criterion(make_findings, tmp_path):
    found = {"confounding": make_findings(n_batches=1)["confounding"]}
    assert (
        "skipped batch The model knows of one batch only."
        in (written(found, tmp_path).words["confounding"])
    )


def test_nothing_was_checked(tmp_path):
    page = written({}, tmp_path, about={})
    assert "Can this model be trusted? skipped Nothing was checked." in page.words[""]


def test_problem_without_a_cure(findings, tmp_path):
    found = Skipped.of(Identifiability, "")
    object.__setattr__(found, "criteria", (Criterion("axes", "warn", "Odd."),))
    words = written({"identifiability": found}, tmp_path).words["identifiability"]
    assert "There is no ready cure" in words


def test_one_report_gives_one_file(findings, tmp_path):
    report = Report(findings, ABOUT)
    for name in ("a.html", "b.html"):
        report.to_html(tmp_path / name)
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_the_users_style_changes_nothing(findings, page, tmp_path):
    with plt.rc_context({"font.size": 3, "axes.facecolor": "black"}):
        assert written(findings, tmp_path).all("img") == page.all("img")


# -- the package ------------------------------------------------------------------------------


def test_template_and_styles_are_in_the_package():
    folder = files(audit) / "report"
    for name in ("_page.html.jinja", "_page.css"):
        assert folder.joinpath(name).is_file()
    built = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    # The wheel takes all of the folder, as git has it: no list of suffixes leaves them out.
    assert built["targets"]["wheel"] == {"packages": ["src/lucidvi"]}
    assert set(built) == {"targets"}

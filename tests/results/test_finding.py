"""Criteria, verdicts and their way to JSON."""

import json
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

from lucidvi.results import Criterion, Finding, Skipped, jsonable, judge


@dataclass(frozen=True, kw_only=True)
class Weight(Finding):
    name: ClassVar[str] = "weight"
    title: ClassVar[str] = "How heavy?"
    explanation: ClassVar[str] = "Weighed."
    reference: ClassVar[str] = "A scale."

    grams: float
    by_leg: np.ndarray
    is_wet: bool = False


def finding(*verdicts):
    criteria = tuple(Criterion(v, v, f"It is {v}.", cure=f"cure({v!r})") for v in verdicts)
    return Weight(criteria=criteria, grams=2.0, by_leg=np.array([1.0, np.nan]))


@pytest.mark.parametrize(
    ("value", "worse", "verdict"),
    [
        (0.0, "higher", "ok"),
        (1.0, "higher", "warn"),
        (1.9, "higher", "warn"),
        (2.0, "higher", "fail"),
        (np.nan, "higher", "fail"),
        (3.0, "lower", "ok"),
        (1.0, "lower", "fail"),
        (np.nan, "lower", "fail"),
    ],
)
def test_judge(value, worse, verdict):
    warn, fail = (1.0, 2.0) if worse == "higher" else (2.0, 1.0)
    found = judge("it", value, "Said.", warn=warn, fail=fail, worse=worse, cure="cure()")
    assert found.verdict == verdict
    assert found.cure == ("" if verdict == "ok" else "cure()")


def test_without_thresholds_all_is_well():
    assert judge("it", 1e9, "Said.").verdict == "ok"


@pytest.mark.parametrize(
    ("verdicts", "verdict", "summary"),
    [
        (("ok", "warn", "fail"), "fail", "It is fail."),
        (("ok", "skipped"), "ok", "It is ok."),
        (("skipped", "ok"), "ok", "It is ok."),
        (("skipped",), "skipped", "It is skipped."),
        (("ok", "warn"), "warn", "It is warn."),
    ],
)
def test_the_worst_decides(verdicts, verdict, summary):
    assert finding(*verdicts).verdict == verdict
    assert finding(*verdicts).summary == summary


def test_cures_of_problems_only_the_worst_first():
    found = finding("ok", "warn", "fail", "warn")
    assert [problem.verdict for problem in found.problems] == ["fail", "warn", "warn"]
    assert found.cure == "cure('fail')\n\ncure('warn')"
    assert finding("ok").cure == ""


def test_numbers_and_thresholds():
    assert finding("ok").numbers == {"grams": 2.0}
    criterion = judge("it", 0.0, "Said.", warn=1.0, fail=2.0)
    found = Weight(criteria=(criterion,), grams=1.0, by_leg=np.ones(4))
    assert found.thresholds == {"it.warn": 1.0, "it.fail": 2.0}


def test_all_of_it_is_json():
    told = json.loads(json.dumps(finding("ok", "warn").to_dict(), allow_nan=False))
    assert told["data"] == {"grams": 2.0, "by_leg": [1.0, None], "is_wet": False}
    assert told["title"] == "How heavy?"
    assert [criterion["verdict"] for criterion in told["criteria"]] == ["ok", "warn"]
    assert told["criteria"][0]["value"] is None


def test_jsonable():
    value = {"a": np.float32(1 / 3), "b": (np.int64(2), np.bool_(True)), 3: [np.inf, "x", None]}
    assert jsonable(value) == {"a": 0.333333, "b": [2, True], "3": [None, "x", None]}


def test_a_check_that_was_skipped_says_why():
    skipped = Skipped.of(Weight, "There is no scale.")
    assert (skipped.name, skipped.title) == ("weight", "How heavy?")
    assert (skipped.verdict, skipped.summary) == ("skipped", "There is no scale.")
    assert json.dumps(skipped.to_dict(), allow_nan=False)


# -- what one holds, in a few lines -----------------------------------------------------------


def test_repr_of_every_finding_is_a_few_lines(make_findings):
    for name, found in make_findings(n_genes=2000).items():
        lines = repr(found).splitlines()
        assert len(lines) <= 13
        assert max(map(len, lines)) <= 88
        assert lines[0].startswith(f"{type(found).__name__} ({name}): {found.verdict}.")
        for said in ("criteria: ", "numbers: ", "print(finding)", found.criteria[0].name):
            assert said in repr(found)
        assert "array(" not in repr(found)


def test_repr_of_a_finding_of_a_users_own():
    assert repr(finding("ok", "warn")).splitlines() == [
        "Weight (weight): warn. It is warn.",
        "    criteria: ok ok, warn warn",
        "    numbers: grams 2",
        "    arrays and others: by_leg, is_wet",
        "    print(finding) adds what each criterion says and what to do.",
    ]
    assert repr(Skipped.of(Weight, "There is no scale.")).startswith(
        "Skipped (weight): skipped. There is no scale."
    )


def test_repr_of_a_criterion():
    criterion = judge("it", 1.23456, "Said.", warn=1.0, fail=2.0, cure="cure()")
    assert repr(criterion) == "Criterion it: warn (value 1.235, warn from 1, fail from 2). Said."
    assert repr(Criterion.skipped("it", "No.")) == "Criterion it: skipped (value nan). No."


def test_a_finding_prints_what_each_criterion_says():
    text = str(finding("ok", "fail"))
    for said in ("How heavy? fail", "It is ok.", "It is fail.", "cure('fail')"):
        assert said in text


def test_a_finding_in_a_notebook():
    found = finding("fail")
    object.__setattr__(found.criteria[0], "statement", "<b>&")
    html = found._repr_html_()
    assert "&lt;b&gt;&amp;" in html
    assert "<pre>cure(&#x27;fail&#x27;)</pre>" in html

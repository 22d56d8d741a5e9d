"""Damaged files are refused with one clear error, or read as if nothing had happened.

500 cases here, the same each time; 6,000, and 300 saves that are cut short, by
``python benchmarks/robustness.py``, where a case that ends the process or hangs is a find, too.
"""

import logging
import os

import numpy as np
import pytest
from tests.robustness.damage import ARCHIVE, CONTENT, FOREIGN, RAW, Call, damaged
from tests.robustness.saved import all_saved, same
from tests.robustness.verdict import FINE, judge_file
from tests.robustness.writing import Writers, judge_write

N_CASES, N_WRITES = 500, 40


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    logging.disable(logging.WARNING)  # of trainings of two epochs
    yield all_saved(tmp_path_factory.mktemp("saved"))
    logging.disable(logging.NOTSET)


@pytest.mark.slow
def test_every_damage_is_refused_or_harmless(saved, tmp_path):
    answers = {one.name: one.ask(one.read(one.folder)) for one in saved}
    verdicts = {seed: judge_file(seed, saved, answers, tmp_path) for seed in range(N_CASES)}
    finds = {seed: verdict for seed, verdict in verdicts.items() if verdict.outcome not in FINE}
    assert not finds, "\n".join(f"{seed}: {verdict}" for seed, verdict in finds.items())
    assert {verdict.saved for verdict in verdicts.values()} == {one.name for one in saved}
    assert sum(verdict.outcome == "equal" for verdict in verdicts.values()) > N_CASES // 20


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_save_that_is_cut_short_leaves_the_old_or_the_new_whole(saved, tmp_path):
    writers = Writers(saved, tmp_path)
    outcomes = [judge_write(seed, writers, tmp_path).outcome for seed in range(N_WRITES)]
    assert set(outcomes) == {"the old whole", "the new whole"}


@pytest.mark.parametrize("way", [RAW, ARCHIVE, CONTENT, FOREIGN])
def test_every_damage_is_one(saved, way, tmp_path):
    """Something else comes out, and it is the same at the same seed."""
    archive = next(one for one in saved if one.name == "SCVI").folder / "model.pt"
    rng = np.random.default_rng(0)
    content = archive.read_bytes()
    for kind, change in way.items():
        if way is CONTENT and kind != ".pt":
            continue
        arguments = {id(RAW): (content,), id(ARCHIVE): (content,), id(FOREIGN): ("marker",)}
        changed = [change(rng, *arguments.get(id(way), (content, "marker"))) for _ in range(3)]
        assert any(one != content for one in changed), kind
    draws = [damaged(np.random.default_rng(3), archive, "marker") for _ in range(2)]
    assert draws[0] == draws[1]


def test_the_hostile_call_is_real_and_harmless(tmp_path):
    marker = tmp_path / "marker"
    function, arguments = Call(str(marker)).__reduce__()
    function(*arguments).close()
    assert marker.read_bytes() == b""


def test_answers_that_differ_in_anything_are_not_the_same():
    one = {"a": np.array([1.0, np.nan]), "b": "x"}
    assert same(one, {"a": np.array([1.0, np.nan]), "b": "x"})
    assert not same(one, {"a": np.array([1.0, 2.0]), "b": "x"})
    assert not same(one, {"a": np.array([1.0, np.nan]), "b": "y"})
    assert not same(one, {"b": "x"})

"""Cells and arguments of any kind are refused with one clear error, or answered rightly.

400 cases here, the same each time; 10,000 by ``python benchmarks/robustness.py``.
"""

import logging

import numpy as np
import pytest
from tests.robustness.ask import FINE, Asked, judge_input
from tests.robustness.inputs import CELLS, Odd, plain
from tests.robustness.unchanged import print_of

N_CASES = 400


@pytest.fixture(scope="module")
def asked():
    logging.disable(logging.WARNING)  # of trainings of two epochs
    yield Asked()
    logging.disable(logging.NOTSET)


@pytest.mark.slow
def test_every_case_is_refused_or_answered(asked):
    verdicts = {seed: judge_input(seed, asked) for seed in range(N_CASES)}
    finds = {seed: verdict for seed, verdict in verdicts.items() if verdict.outcome not in FINE}
    assert not finds, "\n".join(f"{seed}: {verdict}" for seed, verdict in finds.items())
    # Nothing would be shown if all were refused, or none.
    counts = {name: sum(v.outcome == name for v in verdicts.values()) for name in FINE}
    assert min(counts.values()) > N_CASES // 40


@pytest.mark.parametrize("kind", CELLS)
def test_odd_cells_are_made_and_judged_by_their_counts(kind):
    rng = np.random.default_rng(0)
    odd = CELLS[kind](rng, plain())
    adata = odd.make()
    assert adata.n_obs == len(odd.cells)
    named_bad = ("NaN", "infinite", "minus infinite", "negative", "fraction", "too large")
    assert odd.bad or kind not in (*named_bad, "an empty cell", "texts", "genes of one name")
    assert not (odd.bad and kind in ("nothing", "type", "layer", "an empty gene", "large"))


def test_a_change_is_seen():
    def cells():
        odd: Odd = plain(8, 4)
        return odd.make()

    one = cells()
    assert print_of(one) == print_of(cells())
    for change in (
        lambda a: a.obs.insert(0, "x", 1),
        lambda a: a.uns.update(x=1),
        lambda a: a.obsm.update(x=np.ones((8, 1))),
        lambda a: setattr(a, "X", a.X.astype(np.float64)),
        lambda a: a.X.data.__setitem__(0, 9),
        lambda a: setattr(a, "obs_names", [f"x{i}" for i in range(8)]),
        lambda a: setattr(a, "obs", a.obs.astype({"batch": "string"})),
    ):
        other = cells()
        change(other)
        assert print_of(one) != print_of(other)

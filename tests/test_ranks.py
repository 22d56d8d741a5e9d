"""What each of several processes has of a minibatch; what they tell each other is in
``tests/train/plan/test_together.py``."""

import pytest
import torch

from lucidvi._ranks import ALONE, Ranks, mean_of_all, ranks_of


@pytest.mark.parametrize("number", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("n_rows", [1, 2, 3, 5, 8, 9, 128])
def test_each_row_counts_in_one_process(number, n_rows):
    rows = list(range(100, 100 + n_rows))
    counted, weights = [], []
    for rank in range(number):
        ranks = Ranks(rank, number)
        own = ranks.share(rows)
        assert 0 < len(own) <= -(-n_rows // number)
        weights.append(ranks.weight(len(own), n_rows))
        assert weights[-1] in (0, len(own) / n_rows)
        counted += own if weights[-1] > 0 else []
    assert sorted(counted) == rows
    assert sum(weights) == pytest.approx(1)


def test_one_process_asks_nobody():
    assert not ALONE.are_several
    assert ALONE.is_first
    values = torch.arange(3.0)
    assert ALONE.add_up(values) is values
    assert ALONE.total([1.0, 2.0]) == [1.0, 2.0]
    assert ALONE.from_first("a") == "a"
    assert ALONE.of_all("a") == ["a"]
    assert mean_of_all(values, 2) is values
    before = torch.get_rng_state()
    with ALONE.draws_of_first():
        ALONE.draw_apart()
        ALONE.draw_alike()
    assert torch.equal(torch.get_rng_state(), before)


def test_a_trainer_that_has_started_no_processes_has_one():
    class Trainer:
        world_size = 2

    assert ranks_of(Trainer()) is ALONE
    assert ranks_of(None) is ALONE

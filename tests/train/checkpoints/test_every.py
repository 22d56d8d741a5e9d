"""Durations and numbers of updates between two checkpoints."""

import datetime

import numpy as np
import pandas as pd
import pytest

from lucidvi.errors import DataError
from lucidvi.train.checkpoints import _every
from lucidvi.train.checkpoints._every import Every

DURATIONS = {
    "10min": 600,
    "30s": 30,
    "2h": 7200,
    "1h30min": 5400,
    "00:01:30": 90,
    "0.5s": 0.5,
    pd.Timedelta("3min"): 180,
    datetime.timedelta(seconds=7): 7,
}


@pytest.mark.parametrize("value", DURATIONS, ids=str)
def test_a_duration(monkeypatch, value):
    now = [100.0]
    monkeypatch.setattr(_every.time, "monotonic", lambda: now[0])
    every = Every.of(value)
    every.restart(0)
    now[0] += DURATIONS[value] * 0.99
    assert not every.is_due(10**6)
    now[0] += DURATIONS[value] * 0.02
    assert every.is_due(0)
    every.restart(0)
    assert not every.is_due(0)


def test_a_number_of_updates():
    every = Every.of(25)
    assert not every.is_due(24)
    assert every.is_due(25)
    every.restart(30)
    assert not every.is_due(54)
    assert every.is_due(55)


@pytest.mark.parametrize(
    "value", ["30", "", "soon", "-5min", "0s", 0, -1, True, 1.5, np.nan, [10], {}], ids=str
)
def test_what_is_neither(value):
    with pytest.raises(DataError, match=r"`checkpoint_every` is .*a duration with its unit"):
        Every.of(value)

"""Shifts of latent states, against cases whose shift is known."""

import sys

import numpy as np
import pytest

from lucidvi.errors import MissingPackageError
from lucidvi.simulate.conditions._responses import METHODS, Seen, transport

FAR = np.array([30.0, 0.0, 0.0])


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def seen(rng):
    """Return two labels far apart, the second rarer, which are shifted differently."""
    first, second = rng.normal(size=(200, 3)), rng.normal(size=(60, 3)) + FAR
    target = {"a": first + np.array([0, 2, 0]), "b": rng.permutation(second) + np.array([0, 0, 1])}
    return Seen({"a": first, "b": second}, target)


def test_each_label_counts_the_same(seen):
    found = METHODS["shift"].shift(np.zeros((4, 3)), seen)
    np.testing.assert_allclose(found, np.tile([0, 1, 0.5], (4, 1)), atol=1e-12)


@pytest.mark.parametrize("method", ["nearest", "transport"])
def test_a_cell_is_shifted_as_its_neighbours(seen, rng, method):
    if method == "transport":
        pytest.importorskip("ot")
    z = np.concatenate([rng.normal(size=(5, 3)), rng.normal(size=(5, 3)) + FAR])
    truth = np.repeat([[0, 2.0, 0], [0, 0, 1.0]], 5, axis=0)
    np.testing.assert_allclose(METHODS[method].shift(z, seen), truth, atol=1e-6)


def test_the_decoder_alone_shifts_nothing(seen):
    assert not METHODS["decoder"].shift(np.ones((2, 3)), seen).any()


def test_transport_on_a_line_matches_the_order(rng):
    """Of the least squared distance, the smallest goes to the smallest, and so on."""
    pytest.importorskip("ot")
    control, target = rng.normal(size=(40, 1)), rng.normal(size=(40, 1)) ** 3
    moved = control + transport(control, target)
    order = np.argsort(control[:, 0])
    np.testing.assert_allclose(moved[order, 0], np.sort(target[:, 0]), atol=1e-9)


def test_transport_splits_a_cell_between_two(rng):
    pytest.importorskip("ot")
    moved = transport(np.array([[0.0]]), np.array([[1.0], [4.0]]))
    np.testing.assert_allclose(moved, [[2.5]])


def test_without_pot_it_says_what_to_install(seen, monkeypatch):
    monkeypatch.setitem(sys.modules, "ot", None)
    with pytest.raises(MissingPackageError, match=r"lucidvi\[simulate\]"):
        METHODS["transport"].shift(np.zeros((4, 3)), seen)

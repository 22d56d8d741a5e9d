"""Two processes train as one: the same minibatches, updates, means, and end."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.train.together import WAYS

SCRIPT = Path(__file__).parent.parent / "together.py"
LIKE_ONE = [*WAYS, "mosaic"]
TOGETHER = [*LIKE_ONE, "unseeded", "early", "saved", "infinite", "after", "stopped"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """What one process has after its trainings, what each of two has, and what they said."""
    folder = tmp_path_factory.mktemp("together")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    for name in ("LOCAL_RANK", "PL_GLOBAL_SEED", "MASTER_PORT", "NODE_RANK"):
        environment.pop(name, None)
    said = []
    for devices in (1, 2):
        command = [sys.executable, str(SCRIPT), str(folder), str(devices)]
        done = subprocess.run(
            command, capture_output=True, text=True, env=environment, timeout=900
        )
        assert done.returncode == 0, done.stderr
        said.append(done.stdout + done.stderr)
    found = [
        torch.load(folder / f"{name}.pt", weights_only=False) for name in ("1-0", "2-0", "2-1")
    ]
    return *found, said[1]


@pytest.mark.parametrize("way", TOGETHER)
def test_all_processes_end_with_the_same(run, way):
    _, first, second, _ = run
    first, second = first[way], second[way]
    assert first["weights"].keys() == second["weights"].keys()
    for name, weight in first["weights"].items():
        assert torch.equal(weight, second["weights"][name]), name
    assert first["history"].keys() == second["history"].keys()
    for name, values in first["history"].items():
        np.testing.assert_array_equal(values, second["history"][name])
    for one, other in zip(first["splits"], second["splits"], strict=True):
        np.testing.assert_array_equal(one, other)
    assert first["trained"]
    assert second["trained"]
    assert not first["mode"]
    assert not second["mode"]
    # What is drawn next, as for a bound, is the same too.
    assert torch.equal(first["draw"], second["draw"])
    assert first["error"] == second["error"]


@pytest.mark.parametrize("way", LIKE_ONE)
def test_two_processes_train_as_one(run, way):
    """Without draws only sums are in another order: gradients, norms, schedules are the same."""
    one, two, _, _ = run
    one, two = one[way], two[way]
    for name, weight in one["weights"].items():
        torch.testing.assert_close(two["weights"][name], weight, rtol=1e-4, atol=1e-4)
    assert one["history"].keys() == two["history"].keys()
    for name, values in one["history"].items():
        values = values.astype(float)
        np.testing.assert_allclose(two["history"][name].astype(float), values, rtol=1e-4)
    assert len(one["history"]["elbo_validation"]) == 2


@pytest.mark.parametrize("way", LIKE_ONE)
def test_minibatches_are_those_of_one_process(run, way):
    one, *two, _ = run
    for epoch, minibatches in enumerate(one[way]["epochs"]):
        parts = [rank[way]["epochs"][epoch] for rank in two]
        assert len(parts[0]) == len(parts[1]) == len(minibatches) == 6
        for whole, first, second in zip(minibatches, *parts, strict=True):
            assert (first, second) == (whole[::2], whole[1::2])


def test_every_cell_is_seen_once_an_epoch(run):
    _, *two, _ = run
    for way in ("plain", "unseeded", "early", "one_a_step"):
        n_epochs = len(two[0][way]["epochs"])
        for epoch in range(n_epochs):
            seen = [x for rank in two for batch in rank[way]["epochs"][epoch] for x in batch]
            # The first gene counts the cells from one.
            assert sorted(seen) == sorted(two[0][way]["splits"][0] + 1)


def test_processes_differ_in_draws(run):
    """With draws the losses of cells are those of draws of their own, and orders differ."""
    _, first, second, _ = run
    epochs = [rank["unseeded"]["epochs"] for rank in (first, second)]
    assert epochs[0][0] != epochs[0][1]


def test_early_stopping_stops_all_after_the_same_epoch(run):
    _, first, second, said = run
    assert len(first["early"]["epochs"]) == len(second["early"]["epochs"]) == 3
    assert said.count("Monitored metric elbo_validation did not improve") == 1


def test_the_first_process_saves(run):
    _, *two, _ = run
    for rank in two:
        trained, loaded = rank["latent"]
        np.testing.assert_allclose(loaded, trained, rtol=1e-5)
    np.testing.assert_array_equal(two[0]["latent"][1], two[1]["latent"][1])


def test_a_loss_that_is_infinite_in_one_process_ends_all_with_one_error(run):
    _, first, second, _ = run
    for rank in (first, second):
        assert (
            "TrainingError: The loss is NaN or infinite at step 6, epoch 1"
            in (rank["infinite"]["error"])
        )
        assert all(w.isfinite().all() for w in rank["infinite"]["weights"].values())
        assert rank["after"]["error"] == ""


def test_ctrl_c_in_one_process_stops_all_after_the_same_step(run):
    _, first, second, said = run
    assert len(first["stopped"]["history"]["elbo_train"]) == 2
    assert len(first["stopped"]["epochs"][2]) == len(second["stopped"]["epochs"][2])
    assert said.count("The training was stopped after 2 of 500 epochs") == 1


def test_an_error_in_one_process_ends_the_others(run):
    _, first, second, _ = run
    assert second["failed"]["error"] == "ValueError: a callback's own"
    assert "Another process of this training has ended" in first["failed"]["error"]


def test_the_first_process_alone_speaks(run):
    said = run[3]
    assert said.count("trains by preset='lucid'") == 1
    assert "sync_dist" not in said
    assert "early_stopping was automatically disabled" not in said

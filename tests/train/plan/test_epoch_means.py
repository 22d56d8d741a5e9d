"""Means over an epoch are those of scvi-tools' metric."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
import torch
from scvi.module.base import LossOutput
from scvi.train import TrainingPlan

from lucidvi._ranks import Ranks
from lucidvi.train.plan import _epoch_means
from lucidvi.train.plan._epoch_means import EpochMeans

SIZES = {"equal": [8] * 6, "unequal": [128, 1, 77, 128, 3], "one": [5]}


def losses_of(sizes, kl_global=None, seed=0):
    generator = torch.Generator().manual_seed(seed)
    for i, n in enumerate(sizes):
        # The scale of counts of some thousand genes.
        reconstruction = 500 + 50 * torch.randn(n, generator=generator)
        kl = {"kl_l": torch.rand(n, generator=generator), "kl_z": torch.rand(n) * 20}
        yield LossOutput(
            loss=(reconstruction + 0.3 * kl["kl_z"]).mean(),
            reconstruction_loss=reconstruction,
            kl_local=kl,
            kl_global=None if kl_global is None else torch.tensor(kl_global + i),
        )


def means_of_scvi(losses, mode, n_total):
    *_, metrics = TrainingPlan._create_elbo_metric_components(mode, n_total)
    for output in losses:
        metrics[f"elbo_{mode}"].update(
            reconstruction_loss=output.reconstruction_loss_sum,
            kl_local=output.kl_local_sum,
            kl_global=output.kl_global_sum,
            n_obs_minibatch=output.n_obs_minibatch,
        )
    return {name: float(metric.compute()) for name, metric in metrics.items()}


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("mode", ["train", "validation"])
@pytest.mark.parametrize("kl_global", [None, 30.0])
@pytest.mark.parametrize("n_total", [None, 0, 345])
def test_they_are_those_of_scvi_tools(sizes, mode, kl_global, n_total):
    losses = list(losses_of(SIZES[sizes], kl_global))
    means = EpochMeans(mode)
    for output in losses:
        means.add(output)
    got = means.take(n_total)
    want = means_of_scvi(losses, mode, n_total)
    loss = sum(output.loss * output.n_obs_minibatch for output in losses) / sum(SIZES[sizes])
    want[f"{mode}_loss"] = float(loss)
    assert got == pytest.approx(want, rel=1e-6)
    assert all(type(value) is float for value in got.values())


@pytest.mark.parametrize("n_kept", [4, 8, 12, 4096])
def test_it_does_not_matter_when_they_are_summed(monkeypatch, n_kept):
    losses = list(losses_of([3, 4, 5, 6, 7]))
    want = means_of_scvi(losses, "train", 25)
    monkeypatch.setattr(_epoch_means, "N_KEPT", n_kept)
    means = EpochMeans("train")
    for output in losses:
        means.add(output)
        assert len(means.terms) < n_kept
    got = means.take(25)
    assert {name: got[name] for name in want} == pytest.approx(want, rel=1e-6)


def test_an_epoch_knows_nothing_of_the_one_before():
    means = EpochMeans("train")
    assert means.take(10) == {}
    for output in losses_of([5, 6], seed=1):
        means.add(output)
    means.take(11)
    assert means.take(11) == {}
    second = list(losses_of([4, 9], seed=2))
    for output in second:
        means.add(output)
    assert means.take(13)["elbo_train"] == pytest.approx(
        means_of_scvi(second, "train", 13)["elbo_train"], rel=1e-6
    )


def test_many_cells_are_not_rounded_away():
    """In float32, as scvi-tools adds them up, 2**25 and one is 2**25."""
    means = EpochMeans("train")
    for n in (2**25, 1, 1):
        share = torch.ones(1) * n
        means.add(LossOutput(share[0], share, torch.zeros(1), n_obs_minibatch=n))
        means._sum()
    assert means.sums[1] == 2**25 + 2
    assert means.take(None)["reconstruction_loss_train"] == 1.0


def test_they_keep_no_graph():
    weight = torch.ones(3, requires_grad=True)
    means = EpochMeans("train")
    means.add(LossOutput(weight.mean(), weight * 2, weight * 3, kl_global=weight.sum()))
    assert not any(term.requires_grad for term in means.terms)


@pytest.mark.parametrize("n_kept", [4, 4096])
def test_they_go_on_where_they_were(monkeypatch, n_kept):
    """With the same bits as those of an epoch that was not interrupted."""
    monkeypatch.setattr(_epoch_means, "N_KEPT", n_kept)
    losses = list(losses_of([3, 4, 5, 6, 7]))
    whole, first, rest = (EpochMeans("train") for _ in range(3))
    for i, output in enumerate(losses):
        for means in (whole, first if i < 2 else rest):
            if means is rest and i == 2:
                means.load(first.state(), torch.device("cpu"))
            means.add(output)
            means.add_further("of_a_part", output.loss / 3, output.n_obs_minibatch)
    assert rest.take(25) == whole.take(25)


class Meeting(Ranks):
    """Processes that are threads, and tell each other what they have."""

    barrier, values = Barrier(2, timeout=60), [None, None]

    def of_all(self, value):
        self.values[self.rank] = value
        self.barrier.wait()
        found = list(self.values)
        self.barrier.wait()
        return found

    def total(self, values):
        return [sum(of_each) for of_each in zip(*self.of_all(values), strict=True)]


def part_of(output, rank):
    """What one of two processes has of the losses of a minibatch of as many cells each."""
    own = {name: values[rank::2] for name, values in output.kl_local.items()}
    reconstruction = output.reconstruction_loss["reconstruction_loss"][rank::2]
    loss = (reconstruction + 0.3 * own["kl_z"]).mean()
    kl_global = output.kl_global_sum
    return LossOutput(loss, reconstruction, own, kl_global, n_obs_minibatch=len(reconstruction))


def test_they_are_over_the_cells_of_all_processes():
    """Of the last minibatch, one cell, the second process has none, nor some further mean."""
    whole = EpochMeans("train")
    parts = [EpochMeans("train"), EpochMeans("train")]
    for i, output in enumerate(losses_of([8, 5, 1], kl_global=30.0)):
        whole.add(output)
        whole.add_further("rna", output.loss, output.n_obs_minibatch)
        for rank, means in enumerate(parts[: min(2, output.n_obs_minibatch)]):
            part = part_of(output, rank)
            means.add(part)
            means.add_further("rna", part.loss, part.n_obs_minibatch)
        if i == 2:
            whole.add_further("prot", 7.0, 1)
            parts[0].add_further("prot", 7.0, 1)
    with ThreadPoolExecutor(2) as threads:
        got = list(threads.map(lambda rank: parts[rank].take(14, Meeting(rank, 2)), range(2)))
    want = whole.take(14)
    assert want["prot_train"] == 7.0
    assert got[0] == got[1] == pytest.approx(want, rel=1e-6)
    assert parts[0].take(14) == parts[1].take(14) == {}


def test_what_some_minibatches_have_is_a_mean_over_their_cells():
    means = EpochMeans("validation")
    for output, mean in zip(losses_of([3, 4, 5]), (1.0, None, torch.tensor(2.0)), strict=True):
        means.add(output)
        if mean is not None:
            means.add_further("reconstruction_loss_prot", mean, output.n_obs_minibatch)
    got = means.take(12)["reconstruction_loss_prot_validation"]
    assert got == pytest.approx((3 * 1.0 + 5 * 2.0) / 8)
    assert means.take(12) == {}

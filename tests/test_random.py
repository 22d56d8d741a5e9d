"""Draws from a seed leave no trace in the generators that all share."""

import random
import warnings

import numpy as np
import pytest
import torch

from lucidvi._random import generator_states, isolated, put_generators_back


def draws() -> tuple[float, float, float]:
    return random.random(), np.random.random(), torch.rand(()).item()  # noqa: NPY002


@pytest.mark.parametrize("seed", [None, 0, 2**40 + 3])
def test_generators_go_on_where_they_were(seed: int | None):
    start = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    expected = draws()
    random.setstate(start[0])
    np.random.set_state(start[1])  # noqa: NPY002
    torch.set_rng_state(start[2])
    with pytest.raises(ZeroDivisionError), isolated(seed):
        1 / (sum(draws()) > 3)
    assert draws() == expected


def test_a_state_to_go_on_from():
    torch.rand(3)
    state = torch.get_rng_state()
    want = torch.rand(3)
    present = torch.get_rng_state()
    with isolated(state=state):
        assert torch.equal(torch.rand(3), want)
    assert torch.equal(torch.get_rng_state(), present)


def test_states_are_put_back():
    draws()
    states = generator_states()
    first = draws()
    draws()
    put_generators_back(states)
    assert draws() == first
    assert states["cuda"] == [] or torch.cuda.is_initialized()


def test_states_of_a_machine_with_other_devices():
    states = generator_states()
    here = [states["cuda"], states["mps"]]
    states |= {"cuda": [*here[0], torch.get_rng_state()], "mps": states["torch"]}
    if not torch.cuda.is_available() and not torch.backends.mps.is_available():
        put_generators_back(states)
        assert torch.equal(torch.get_rng_state(), states["torch"])


def test_a_seed_gives_the_same_draws():
    with isolated(7):
        first = draws()
    draws()
    with isolated(7):
        assert draws() == first
    with isolated(8):
        assert draws() != first


def test_a_cuda_that_nothing_has_used_is_left_alone(monkeypatch: pytest.MonkeyPatch):
    """``torch.manual_seed`` would queue a seed for when it starts."""
    queued = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", queued.append)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    with isolated(0):
        pass
    assert queued == []


def test_every_cuda_device_is_put_back(monkeypatch: pytest.MonkeyPatch):
    states = {0: torch.tensor([1]), 1: torch.tensor([2])}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: states[device])
    monkeypatch.setattr(
        torch.cuda, "set_rng_state", lambda state, device: states.update({device: state})
    )

    def seed_all(seed: int) -> None:
        states.update({0: torch.tensor([seed]), 1: torch.tensor([seed])})

    monkeypatch.setattr(torch.cuda, "manual_seed_all", seed_all)
    with isolated(5):
        assert [int(state) for state in states.values()] == [5, 5]
    assert [int(state) for state in states.values()] == [1, 2]


@pytest.fixture(scope="module")
def cells(make_adata):
    from lucidvi.model import SCVI

    adata = make_adata(60)
    SCVI.setup_anndata(adata, batch_key="batch")
    model = SCVI(adata, n_hidden=8, n_latent=2, gene_likelihood="nb")
    model.train(max_epochs=1, accelerator="cpu", enable_progress_bar=False)
    return model, adata


def mapped(model, adata):
    from lucidvi.atlas import Reference

    query = adata[:20].copy()
    query.obs["batch"] = ["new"] * 5 + ["0"] * 15
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        Reference.from_model(model, "label").map(query)


def perturbed(model, adata):
    from lucidvi import simulate

    simulate.perturb(model, genes={"gene0": 0.0}, indices=range(5), n_samples=2)


def switched(model, adata):
    from lucidvi import simulate

    simulate.switch_covariates(model, batch="0", indices=range(5))
    simulate.sample_cells(model, 5)
    simulate.resequence(model, depth_factor=2, indices=range(5))


def audited(model, adata):
    from lucidvi import audit

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        audit.run(model, max_cells=20)


def queried(model, adata):
    from lucidvi.model import SCVI

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        SCVI.from_scvi_model(model.to_scvi_model())


@pytest.mark.parametrize("ask", [mapped, perturbed, switched, audited, queried])
def test_whoever_draws_from_a_seed_leaves_the_generators(cells, ask, monkeypatch):
    """Also CUDA's, for which a seed would wait where nothing has used it yet."""
    monkeypatch.setattr("torch.cuda.manual_seed_all", lambda seed: pytest.fail("CUDA was seeded"))
    random.seed(5)
    np.random.seed(5)  # noqa: NPY002
    torch.default_generator.manual_seed(5)
    expected = draws()
    random.seed(5)
    np.random.seed(5)  # noqa: NPY002
    torch.default_generator.manual_seed(5)
    ask(*cells)
    assert draws() == expected

"""Models with a known fault, and healthy ones: what an audit has to tell apart."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import scvi
import torch
from anndata import AnnData
from scipy import sparse
from scipy.stats import ortho_group

from lucidvi.model import SCVI

N_LABELS, N_HIDDEN = 4, 32
CHECKS = ("collapse", "identifiability", "amortization", "fit", "confounding")
HEALTHY = dict.fromkeys(CHECKS, "ok")

#: What an audit is given: the model, and arguments of `audit.run`.
Audited = tuple[Any, dict[str, Any]]


@dataclass(frozen=True)
class Case:
    """A model to audit, and what has to come out.

    Parameters
    ----------
    make
        From a seed to the model and the arguments of the audit.
    expected
        Verdicts by check; what a fault does to the others is not asked.
    active_units
        Dimensions of the data, where they are to be found.
    """

    make: Callable[[int], Audited]
    expected: dict[str, str]
    active_units: int | None = None


@dataclass(frozen=True)
class World:
    """How counts are simulated.

    Cells of four types lie around centres in ``k`` dimensions, or are standard normal; their log
    expression is that state through a layer of 32 tanh units, or linear.
    """

    k: int = 5
    n_cells: int = 2000
    n_genes: int = 300
    depth: float = 1500.0
    depth_sd: float = 0.3
    theta: float = 3.0
    theta_by_batch: tuple[float, ...] | None = None
    poisson: bool = False
    zero_inflation: float = 0.0
    n_batches: int = 3
    batch_effect: float = 0.0
    one_batch_off: bool = False
    signal: float = 1.0
    linear: bool = False
    equal_strength: bool = False
    types: bool = True

    def cells(self, seed: int) -> AnnData:
        """Draw cells."""
        rng = np.random.default_rng((seed, 7))
        label = rng.integers(N_LABELS, size=self.n_cells)
        centres = rng.normal(0, 1.2, (N_LABELS, self.k))
        z = centres[label] + rng.normal(0, 0.6, (self.n_cells, self.k))
        if not self.types:
            z = rng.normal(size=(self.n_cells, self.k))
        batch = rng.integers(self.n_batches, size=self.n_cells)
        base = rng.normal(size=self.n_genes)
        shift = self.batch_effect * rng.normal(size=(self.n_batches, self.n_genes))
        if self.one_batch_off:
            shift[1:] = 0
        rate = np.exp(base + self.signal * self.expression(z, rng) + shift[batch])
        rate /= rate.sum(axis=1, keepdims=True)
        mu = self.depth * rng.lognormal(0, self.depth_sd, (self.n_cells, 1)) * rate
        theta = np.full((self.n_cells, 1), self.theta)
        if self.theta_by_batch is not None:
            theta = np.array(self.theta_by_batch)[batch][:, None]
        noisy = mu if self.poisson else mu * rng.gamma(np.broadcast_to(theta, mu.shape)) / theta
        x = rng.poisson(noisy) * (rng.random(mu.shape) >= self.zero_inflation)
        x[x.sum(axis=1) == 0, 0] = 1
        adata = AnnData(sparse.csr_matrix(x.astype(np.float32)))
        adata.obs_names = [f"cell{i}" for i in range(self.n_cells)]
        adata.var_names = [f"gene{i}" for i in range(self.n_genes)]
        adata.obs["batch"] = pd.Categorical(batch.astype(str))
        adata.obs["label"] = pd.Categorical(label.astype(str))
        adata.obs["one"] = 1.0
        return adata

    def expression(self, z: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Log expression of latent states, shape ``(n_cells, n_genes)``."""
        if self.equal_strength:
            # Orthogonal loadings of one length: no direction moves more than another.
            return z @ ortho_group.rvs(self.n_genes, random_state=rng)[: self.k] * 8
        if self.linear:
            return z @ rng.normal(size=(self.k, self.n_genes)) * 0.5
        hidden = np.tanh(
            z @ rng.normal(size=(self.k, N_HIDDEN)) / np.sqrt(self.k)
            + 0.3 * rng.normal(size=N_HIDDEN)
        )
        return hidden @ rng.normal(size=(N_HIDDEN, self.n_genes)) * 0.35


LABELLED, BATCHED = {"labels_key": "label"}, {"labels_key": "label", "batch_key": "batch"}


@dataclass(frozen=True)
class Trained:
    """Data, a model and its training; calling it with a seed gives the model."""

    world: World = World()
    setup: dict[str, Any] = field(default_factory=lambda: dict(LABELLED))
    model: dict[str, Any] = field(default_factory=dict)
    train: dict[str, Any] = field(default_factory=dict)
    audit: dict[str, Any] = field(default_factory=dict)
    library: Any = SCVI

    def __call__(self, seed: int) -> Audited:
        """Simulate and train."""
        scvi.settings.seed = seed
        adata = self.world.cells(seed)
        self.library.setup_anndata(adata, **self.setup)
        model = self.library(adata, **({"gene_likelihood": "nb"} | self.model))
        model.train(enable_progress_bar=False, **self.train)
        return model, self.audit


def planted(trained: Trained, fault: Callable[[Any], None]) -> Callable[[int], Audited]:
    """Return a case whose healthy model gets a fault after its training."""

    def make(seed: int) -> Audited:
        model, arguments = trained(seed)
        faulty = deepcopy(model)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            fault(faulty)
        faulty.module.eval()
        return faulty, arguments

    return make


def ignore_z(model: Any) -> None:
    """Let the decoder ignore the latent state."""
    decoder_input(model).data[:, : model.module.n_latent] = 0


def rotate(model: Any) -> None:
    """Turn the means of the posteriors at random, and the decoder back."""
    n = model.module.n_latent
    rotation = torch.tensor(ortho_group.rvs(n, random_state=0), dtype=torch.float32)
    head, weight = model.module.z_encoder.mean_encoder, decoder_input(model)
    head.weight.data = rotation.T @ head.weight.data
    head.bias.data = rotation.T @ head.bias.data
    weight.data[:, :n] = weight.data[:, :n] @ rotation


def decoder_input(model: Any) -> torch.nn.Parameter:
    """Weights of the decoder's first layer, shape ``(n_hidden, n_latent + ...)``."""
    return model.module.decoder.px_decoder.fc_layers[0][0].weight


def sharpen(model: Any) -> None:
    """Let the encoder be too sure of itself: an eighth of the standard deviations."""
    model.module.z_encoder.var_encoder.bias.data -= 2 * np.log(8)


def forget(n_steps: int) -> Callable[[Any], None]:
    """Start the encoder again, and train it for a few steps."""

    def fault(model: Any) -> None:
        module = model.module
        for part in module.z_encoder.modules():
            if hasattr(part, "reset_parameters"):
                part.reset_parameters()
        optimizer = torch.optim.Adam(module.z_encoder.parameters(), lr=1e-3)
        module.train()
        done = 0
        while done < n_steps:
            for tensors in model._make_data_loader(
                model.adata, indices=model.train_indices, batch_size=128, shuffle=True
            ):
                optimizer.zero_grad()
                module(tensors)[2].loss.backward()
                optimizer.step()
                done += 1
                if done == n_steps:
                    break

    return fault


def understate_noise(model: Any) -> None:
    """Let the likelihood expect ten times too little over-dispersion."""
    model.module.px_r.data += np.log(10)


def unseen_type(seed: int) -> Audited:
    """Train without one cell type, and audit with all."""
    scvi.settings.seed = seed
    adata = World(n_cells=3000).cells(seed)
    seen = adata[(adata.obs["label"] != "3").to_numpy()].copy()
    SCVI.setup_anndata(seen)
    model = SCVI(seen, gene_likelihood="nb")
    model.train(enable_progress_bar=False)
    return model, {"adata": adata, "labels_key": "label"}


def wide(k: int, n_latent: int, *, types: bool = False, linear: bool = False) -> Trained:
    """Return an over-wide model of data of ``k`` dimensions."""
    world = World(k, n_cells=3000, n_genes=500, types=types, linear=linear)
    return Trained(world, model={"n_latent": n_latent})


NARROW = Trained(model={"n_latent": 6})
BY_BATCH = Trained(World(batch_effect=0.3), BATCHED, {"n_latent": 6})
KNOWN_BATCH = {"batch_key": "batch"}

#: The healthy ones, the others by what is wrong.
CASES: dict[str, dict[str, Case]] = {
    "healthy": {
        "NB, three batches": Case(BY_BATCH, HEALTHY, 5),
        "NB, linear, four dimensions": Case(
            Trained(World(4, linear=True), model={"n_latent": 5}), HEALTHY, 4
        ),
        "Poisson": Case(
            Trained(World(poisson=True), model={"n_latent": 6, "gene_likelihood": "poisson"}),
            HEALTHY,
            5,
        ),
        "zero-inflated NB": Case(
            Trained(World(zero_inflation=0.2), model={"n_latent": 6, "gene_likelihood": "zinb"}),
            HEALTHY,
            5,
        ),
        "full covariance": Case(Trained(model={"n_latent": 6, "posterior": "full"}), HEALTHY, 5),
        "trained by scvi-tools": Case(
            Trained(model={"n_latent": 6}, train={"max_epochs": 300}, library=scvi.model.SCVI),
            HEALTHY,
            5,
        ),
    },
    "collapse": {
        "decoder ignores z": Case(planted(NARROW, ignore_z), {"collapse": "fail"}, 0),
        "nothing to learn": Case(Trained(World(signal=0.0)), {"collapse": "fail"}, 0),
        "weight of the KL term 100": Case(
            Trained(model={"n_latent": 6}, train={"plan_kwargs": {"max_kl_weight": 100.0}}),
            {"collapse": "fail"},
        ),
        "2 dimensions in 30": Case(wide(2, 30), {"collapse": "warn"}, 2),
        "4 dimensions in 30": Case(wide(4, 30), {"collapse": "warn"}, 4),
        "5 dimensions in 30": Case(wide(5, 30), {"collapse": "warn"}, 5),
        "10 dimensions in 30": Case(wide(10, 30), {"collapse": "warn"}, 10),
        "10 dimensions in 30, four cell types": Case(
            wide(10, 30, types=True), {"collapse": "warn"}, 10
        ),
        "4 dimensions in 50, linear": Case(wide(4, 50, linear=True), {"collapse": "warn"}, 4),
        "5 dimensions in 50": Case(wide(5, 50), {"collapse": "warn"}, 5),
    },
    "identifiability": {
        "turned axes": Case(planted(NARROW, rotate), {"identifiability": "warn"}),
        "directions of equal strength": Case(
            Trained(World(equal_strength=True, types=False), model={"n_latent": 6}),
            {"identifiability": "warn", "collapse": "ok"},
            5,
        ),
    },
    "amortization": {
        "encoder trained for 15 steps": Case(
            planted(NARROW, forget(15)), {"amortization": "fail"}
        ),
        "encoder trained for 45 steps": Case(
            planted(NARROW, forget(45)), {"amortization": "warn"}
        ),
        "encoder too sure": Case(planted(NARROW, sharpen), {"amortization": "warn"}),
        "a cell type not trained on": Case(unseen_type, {"amortization": "warn"}),
    },
    "fit": {
        "zero-inflated counts, Poisson": Case(
            Trained(World(zero_inflation=0.2), model={"gene_likelihood": "poisson"}),
            {"fit": "fail"},
        ),
        "over-dispersed counts, Poisson": Case(
            Trained(model={"gene_likelihood": "poisson"}), {"fit": "fail"}
        ),
        "zero-inflated counts, NB": Case(
            Trained(World(zero_inflation=0.2), model={"n_latent": 6}), {"fit": "warn"}
        ),
        "dispersion of each batch its own": Case(
            Trained(World(theta_by_batch=(0.5, 3.0, 20.0)), BATCHED, {"n_latent": 6}),
            {"fit": "warn"},
        ),
        "dispersion off by ten": Case(planted(NARROW, understate_noise), {"fit": "fail"}),
        "2 latent dimensions for 8": Case(
            Trained(World(8), model={"n_latent": 2}), {"fit": "warn", "collapse": "ok"}
        ),
        "300 cells, 600 epochs": Case(
            Trained(World(n_cells=300), train={"max_epochs": 600}), {"fit": "fail"}
        ),
        "one epoch": Case(Trained(train={"max_epochs": 1}), {"fit": "fail"}),
    },
    "confounding": {
        "batch unknown to the model": Case(
            Trained(World(batch_effect=0.3), audit=KNOWN_BATCH), {"confounding": "fail"}
        ),
        "one batch of five off, unknown": Case(
            Trained(World(n_batches=5, batch_effect=0.5, one_batch_off=True), audit=KNOWN_BATCH),
            {"confounding": "warn"},
        ),
        "batches unknown but alike": Case(Trained(audit=KNOWN_BATCH), {"confounding": "ok"}),
        "depth not given to the decoder": Case(
            Trained(World(depth_sd=0.5), LABELLED | {"size_factor_key": "one"}),
            {"confounding": "fail"},
        ),
    },
}

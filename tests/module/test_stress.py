"""Eight hundred random models on data that no one would wish for: not one NaN."""

import numpy as np
import pytest
import torch
from scvi import REGISTRY_KEYS

from lucidvi.module import VAE
from lucidvi.nn import frozen_batch_norm

N_CONFIGURATIONS = 800
N_PARTS = 20
LEARNING_RATE = 1e-2  # ten times scvi-tools' default
N_BATCH, N_LABELS, CATEGORIES = 3, 2, (4, 2)


def draw_counts(rng, n_cells, n_genes):
    """Cells from 1 to a million counts, with constant, absent and dominating genes."""
    depth = (
        10 ** rng.uniform(0, 6, size=(n_cells, 1))
        if rng.random() < 0.5
        else 10 ** rng.uniform(0, 6)
    )
    profile = rng.gamma(rng.choice([0.05, 1.0]), size=n_genes) + 1e-8
    if rng.random() < 0.3:
        profile[rng.integers(n_genes)] = 1e3 * profile.sum()  # one gene dominates
    x = rng.poisson(np.maximum(depth * profile / profile.sum(), 1e-12) * np.ones((n_cells, 1)))
    x = x.astype(np.float32)
    if rng.random() < 0.3:
        x[:, rng.integers(n_genes)] = rng.choice([0, 1, 1e5])  # a constant gene
    x[x.sum(1) == 0, rng.integers(n_genes)] = 1
    return torch.from_numpy(x)


def draw_minibatch(rng, n_genes, n_continuous):
    n_cells = int(rng.choice([1, 2, 3, 17, 40]))

    def integers(high, n=1):
        return torch.from_numpy(rng.integers(high, size=(n_cells, n)))

    tensors = {
        REGISTRY_KEYS.X_KEY: draw_counts(rng, n_cells, n_genes),
        REGISTRY_KEYS.BATCH_KEY: integers(N_BATCH),
        REGISTRY_KEYS.LABELS_KEY: integers(N_LABELS),
        REGISTRY_KEYS.CAT_COVS_KEY: torch.cat([integers(n) for n in CATEGORIES], dim=1),
        REGISTRY_KEYS.SIZE_FACTOR_KEY: torch.from_numpy(
            10 ** rng.uniform(-3, 3, size=(n_cells, 1))
        ).float(),
    }
    if n_continuous:
        wide = 10 ** rng.uniform(-2, 3)
        covariates = rng.normal(scale=wide, size=(n_cells, n_continuous))
        tensors[REGISTRY_KEYS.CONT_COVS_KEY] = torch.from_numpy(covariates).float()
    return tensors


def draw_module(rng, n_genes, n_continuous):
    def choose(*options):
        return options[rng.integers(len(options))]

    return VAE(
        n_genes,
        n_batch=N_BATCH,
        n_labels=N_LABELS,
        n_hidden=choose(4, 32, 128, 128, 1024) if rng.random() < 0.5 else 16,
        n_latent=choose(1, 2, 10, 50),
        n_layers=choose(1, 1, 2, 3, 4),
        n_continuous_cov=n_continuous,
        n_cats_per_cov=CATEGORIES,
        dropout_rate=choose(0.0, 0.1, 0.5),
        dispersion=choose("gene", "gene-batch", "gene-label", "gene-cell"),
        log_variational=choose(True, True, True, False),
        gene_likelihood=choose("zinb", "nb", "poisson", "normal"),
        latent_distribution=choose("normal", "ln"),
        encode_covariates=choose(True, False),
        deeply_inject_covariates=choose(True, False),
        batch_representation=choose("one-hot", "embedding"),
        use_batch_norm=choose("encoder", "decoder", "none", "both"),
        use_layer_norm=choose("encoder", "decoder", "none", "both"),
        use_size_factor_key=choose(True, False, False),
        use_observed_lib_size=choose(True, True, False),
        library_log_means=rng.uniform(0, 14, size=(1, N_BATCH)),
        library_log_vars=rng.choice([0.0, 0.5, 4.0], size=(1, N_BATCH)),
    )


def assert_finite(name, tensor):
    assert torch.isfinite(tensor).all(), name


def live(seed):
    """Train one random model for a few steps, and look at everything that comes out."""
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    n_genes, n_continuous = int(rng.choice([1, 2, 10, 100])), int(rng.choice([0, 2]))
    module = draw_module(rng, n_genes, n_continuous).train()
    optimizer = torch.optim.Adam(module.parameters(), lr=LEARNING_RATE, eps=0.01)
    for _ in range(3):
        tensors = draw_minibatch(rng, n_genes, n_continuous)
        with frozen_batch_norm(module) if len(tensors["X"]) == 1 else torch.enable_grad():
            loss = module(tensors)[2].loss
        assert_finite("loss", loss)
        optimizer.zero_grad()
        loss.backward()
        for name, weight in module.named_parameters():
            if weight.grad is not None:
                assert_finite(f"gradient of {name}", weight.grad)
        optimizer.step()
    module.eval()
    for name, weight in module.state_dict().items():
        assert_finite(name, weight)
    with torch.no_grad():
        losses = module(tensors)[2]
    for terms in (losses.reconstruction_loss, losses.kl_local):
        for name, term in terms.items():
            assert_finite(name, term)
    assert_finite("marginal likelihood", module.marginal_ll(tensors, n_mc_samples=3))
    assert_finite("sample", module.sample(tensors, n_samples=2))


@pytest.mark.slow
@pytest.mark.parametrize("part", range(N_PARTS))
def test_not_one_nan(part):
    for seed in range(part, N_CONFIGURATIONS, N_PARTS):
        try:
            live(seed)
        except (AssertionError, ValueError, RuntimeError) as error:
            raise AssertionError(f"configuration {seed}: {error}") from error

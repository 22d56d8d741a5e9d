"""Two tiny models: one that is trained, and one whose likelihood is known to the last digit."""

import numpy as np
import pandas as pd
import pytest
import scvi
import torch
from anndata import AnnData
from scipy import sparse
from scipy.special import logit

from lucidvi.model import SCVI

KEYS = {
    "batch_key": "batch",
    "categorical_covariate_keys": ["site"],
    "continuous_covariate_keys": ["age"],
}


@pytest.fixture(scope="session")
def model(make_adata):
    """Return a trained model with batches and covariates that no test changes."""
    scvi.settings.seed = 0
    adata = make_adata(150, seed=5)
    SCVI.setup_anndata(adata, **KEYS)
    model = SCVI(adata, n_hidden=16, n_latent=3, gene_likelihood="nb")
    model.train(max_epochs=40, batch_size=50, train_size=0.9, plan_kwargs={"lr": 1e-2})
    return model


@pytest.fixture(scope="session")
def make_known():
    """Return a function that makes a model whose decoder does not look at the state.

    Its counts are of mean ``mu`` times the size factor, inverse dispersion ``theta`` and zero
    inflation ``zi``, as are those of its cells. Weights are not trained.
    """

    def make(mu, theta=np.inf, zi=0.0, likelihood="nb", n_cells=2000, factor=1.0):
        rng = np.random.default_rng(3)
        mu, theta, zi = (np.broadcast_to(v, len(mu)).astype(float) for v in (mu, theta, zi))
        exposure = np.broadcast_to(factor, n_cells)
        spread = np.where(np.isinf(theta), 1e12, theta)
        gamma = rng.gamma(spread, 1 / spread, (n_cells, len(mu)))
        counts = rng.poisson(exposure[:, None] * mu * gamma)
        counts[rng.random(counts.shape) < zi] = 0
        # A cell has to have a count; this gene is of no interest.
        counts = np.column_stack([counts, np.ones(n_cells)])
        obs = pd.DataFrame({"exposure": exposure}, index=[f"cell{i}" for i in range(n_cells)])
        adata = AnnData(sparse.csr_matrix(np.float32(counts)), obs=obs)
        adata.var_names = [f"gene{i}" for i in range(adata.n_vars)]
        SCVI.setup_anndata(adata, size_factor_key="exposure")
        model = SCVI(adata, n_hidden=8, n_latent=2, gene_likelihood=likelihood)
        module, every = model.module, np.append(mu, 1.0)
        with torch.no_grad():
            head = module.decoder.px_scale_decoder[0]
            head.weight.zero_()
            head.bias.copy_(torch.tensor(np.log(np.expm1(every))))  # softplus of it is the mean
            if likelihood != "poisson":
                module.px_r.copy_(torch.tensor(np.log(np.append(theta, 1.0))))
            if likelihood == "zinb":
                head = module.decoder.px_dropout_decoder
                head.weight.zero_()
                head.bias.copy_(torch.tensor(logit(np.append(zi, 0.1))))
        module.eval()
        model.is_trained_ = True
        return model

    return make


@pytest.fixture(scope="session")
def scores():
    """Return a function: counts of an AnnData, standardized by the decoder's mean and variance.

    The decoder is given the states, covariates and exposures that the AnnData states.
    """

    def standardized(model, out, exposure):
        def column(name):
            categories = model.adata.obs[name].astype(str).astype("category").cat.categories
            return torch.tensor(categories.get_indexer(out.obs[name].astype(str)))[:, None]

        with torch.no_grad():
            px = model.module.generative(
                z=torch.tensor(out.obsm["X_lucidvi"]),
                library=torch.tensor(np.log(np.asarray(exposure)), dtype=torch.float32)[:, None],
                batch_index=column("batch"),
                cat_covs=column("site"),
                cont_covs=torch.tensor(out.obs[["age"]].to_numpy(np.float32)),
            )["px"]
        mean, variance = px.mean.numpy(), px.variance.numpy()
        return (out.X.toarray() - mean) / np.sqrt(variance)

    return standardized


@pytest.fixture(scope="session")
def check_standard():
    """Return a function that checks mean and variance of scores, to four standard errors."""

    def check(scores):
        n = scores.size
        assert abs(scores.mean()) < 4 / np.sqrt(n)
        fourth = np.mean((scores**2 - 1) ** 2)
        assert abs(np.mean(scores**2) - 1) < 4 * np.sqrt(fourth / n)

    return check

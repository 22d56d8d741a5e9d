"""What refinement is compared with: naive optimisers, known answers, label accuracy."""

from __future__ import annotations

import math

import numpy as np
import torch
from anndata import AnnData
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor
from torch.distributions import Independent, Normal

from lucidvi.inference import LinearGaussianTarget, NormalPosterior, PosteriorTarget
from lucidvi.model import SCVI

NOISE = 0.5
#: What an encoder makes of the best diagonal normal: mean and standard deviation.
ENCODERS = {
    "exact": lambda loc, scale: (loc, scale),
    "biased": lambda loc, scale: (loc + scale, 1.3 * scale),
    "narrow": lambda loc, scale: (loc, 0.3 * scale),
}


def linear_gaussian(
    n_latent: int, condition: float, encoder: str, n_cells: int, n_features: int = 60
) -> LinearGaussianTarget:
    """Simulate cells of a linear-Gaussian model in float64.

    Parameters
    ----------
    n_latent, n_cells, n_features
        Sizes.
    condition
        Ratio of the largest to the smallest eigenvalue of the loadings' square.
    encoder
        How the first guess differs from the best diagonal normal, of :data:`ENCODERS`.
    """

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64)

    left = torch.linalg.qr(normal(n_features, n_latent))[0]
    right = torch.linalg.qr(normal(n_latent, n_latent))[0]
    sizes = torch.logspace(0, math.log10(condition) / 2, n_latent, dtype=torch.float64)
    loadings = 0.7 * left * sizes @ right.T
    x = normal(n_cells, n_latent) @ loadings.T + NOISE * normal(n_cells, n_features)
    best = LinearGaussianTarget(x, loadings, NOISE).q0.base_dist
    loc, scale = ENCODERS[encoder](best.loc, best.scale)
    return LinearGaussianTarget(x, loadings, NOISE, Independent(Normal(loc, scale), 1))


def naive_unfrozen(target: PosteriorTarget, n_steps: int, rate: float) -> NormalPosterior:
    """Ascend the ELBO by Adam, one draw of each cell a step."""
    loc = target.q0.base_dist.loc.clone().requires_grad_()
    log_scale = target.q0.base_dist.scale.log().requires_grad_()
    optimizer = torch.optim.Adam([loc, log_scale], lr=rate)
    for _ in range(n_steps):
        z = (loc + log_scale.exp() * torch.randn_like(loc)).unsqueeze(0)
        loss = -(target.log_joint(z).squeeze(0) + log_scale.sum(dim=-1)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return NormalPosterior(loc.detach(), log_scale.detach().exp().diag_embed())


def naive(target: PosteriorTarget, n_steps: int, rate: float) -> NormalPosterior:
    """Do the same without gradients of the weights."""
    weights = list(target.module.parameters())
    for weight in weights:
        weight.requires_grad_(False)
    try:
        return naive_unfrozen(target, n_steps, rate)
    finally:
        for weight in weights:
            weight.requires_grad_(True)


def accuracy(model: SCVI, query: AnnData, z: np.ndarray) -> float:
    """Share of cells whose label is that of most of the 15 nearest cells trained on."""
    cells = model.train_indices
    labels = model.adata.obs["cell_type"].astype(str).to_numpy()[cells]
    known = model.get_latent_representation(indices=cells)
    neighbours = KNeighborsClassifier(15).fit(known, labels)
    return float(np.mean(neighbours.predict(z) == query.obs["cell_type"].astype(str).to_numpy()))

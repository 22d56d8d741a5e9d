"""Densities and divergences of distributions over latent states."""

from __future__ import annotations

from torch import Tensor
from torch.distributions import Distribution, MultivariateNormal, Normal, kl_divergence


def log_density(distribution: Distribution, z: Tensor) -> Tensor:
    """Log density of whole latent states, shape ``(..., n_cells)``.

    Parameters
    ----------
    distribution
        Over latent states, or over each of their numbers.
    z
        Latent states, shape ``(..., n_cells, n_latent)``.
    """
    density = distribution.log_prob(z)
    return density if distribution.event_shape else density.sum(dim=-1)


def log_marginals(distribution: Distribution, z: Tensor) -> Tensor:
    """Log density of each number of a latent state by itself, shape ``(..., n_cells, n_latent)``.

    Parameters
    ----------
    distribution
        Over each number of a state; or over whole states, which has a method ``log_marginals`` or
        is taken for a normal of its means and variances.
    z
        Latent states, shape ``(..., n_cells, n_latent)``.
    """
    if not distribution.event_shape:
        return distribution.log_prob(z)
    if hasattr(distribution, "log_marginals"):
        return distribution.log_marginals(z)
    return Normal(distribution.mean, distribution.stddev, validate_args=False).log_prob(z)


def divergence(qz: Distribution, pz: Distribution, z: Tensor) -> Tensor:
    r"""Kullback-Leibler divergence of two distributions over latent states, in nats.

    Exact where there is a closed form, else :math:`\log q(z) - \log p(z)` at the draws, whose
    mean it is.

    Parameters
    ----------
    qz, pz
        Distributions over latent states, or over each of their numbers.
    z
        Draws from ``qz``, shape ``(..., n_cells, n_latent)``.

    Returns
    -------
    Shape ``(n_cells,)``, or that of the draws, ``(..., n_cells)``.
    """
    if isinstance(qz, MultivariateNormal) and isinstance(pz, Normal):
        return _full_from_independent(qz, pz)
    if qz.event_shape != pz.event_shape:
        return log_density(qz, z) - log_density(pz, z)
    try:
        exact = kl_divergence(qz, pz)
    except NotImplementedError:
        return log_density(qz, z) - log_density(pz, z)
    return exact if pz.event_shape else exact.sum(dim=-1)


def _full_from_independent(qz: MultivariateNormal, pz: Normal) -> Tensor:
    r"""Divergence of normals with a full covariance from independent ones.

    .. math::
        \tfrac{1}{2} \sum_k \left(
            \frac{(L L^\top)_{kk} + (\mu_k - m_k)^2}{s_k^2} - 1\right)
        + \sum_k \log \frac{s_k}{L_{kk}}
    """
    factor = qz.scale_tril
    squares = factor.square().sum(dim=-1) + (qz.loc - pz.loc).square()
    log_ratio = pz.scale.log() - factor.diagonal(dim1=-2, dim2=-1).log()
    return ((squares / pz.scale.square() - 1) / 2 + log_ratio).sum(dim=-1)

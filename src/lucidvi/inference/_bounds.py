"""Bounds of log p(x) from below by draws of a proposal: ELBO and IWAE."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Distribution

from lucidvi.inference._estimate import Estimate
from lucidvi.inference._normal import standardized
from lucidvi.inference._target import Target


def weighted_draws(
    target: Target,
    n_samples: int,
    proposal: Distribution | None = None,
    n_per_pass: int | None = None,
) -> tuple[Tensor, Tensor]:
    r"""Draws :math:`z_k \sim q` and their log weights :math:`\log p(x, z_k) - \log q(z_k)`.

    Parameters
    ----------
    target
        The cells.
    n_samples
        Draws of each cell.
    proposal
        The distribution :math:`q`, of batch shape ``(n_cells,)``; by default ``target.q0``.
    n_per_pass
        See :meth:`Target.evaluate`.

    Returns
    -------
    The draws, shape ``(n_samples, n_cells, n_latent)``, and the log weights in nats, shape
    ``(n_samples, n_cells)``.
    """
    q = target.q0 if proposal is None else proposal
    with torch.no_grad():
        z = q.sample((n_samples,))
        return z, target.evaluate(z, n_per_pass) - q.log_prob(z)


def elbo(
    target: Target, n_samples: int = 100, proposal: Distribution | None = None
) -> tuple[Tensor, Tensor]:
    r"""Evidence lower bound :math:`\mathrm{E}_q[\log p(x, z) - \log q(z)]` and its error, in nats.

    Parameters
    ----------
    target, n_samples, proposal
        See :func:`weighted_draws`.

    Returns
    -------
    The bound and its Monte Carlo standard error, each of shape ``(n_cells,)``.
    """
    weights = weighted_draws(target, n_samples, proposal)[1].double()
    error = weights.std(dim=0) / n_samples**0.5
    return weights.mean(dim=0), error


def iwae(
    target: Target,
    n_samples: int = 1000,
    proposal: Distribution | None = None,
    *,
    n_per_pass: int | None = None,
) -> Estimate:
    r"""Importance-weighted bound, with its diagnostics.

    .. math:: \log \frac{1}{K} \sum_{k=1}^{K} \frac{p(x, z_k)}{q(z_k)}, \quad z_k \sim q

    Parameters
    ----------
    target, n_samples, proposal, n_per_pass
        See :func:`weighted_draws`.

    References
    ----------
    Burda et al., ICLR (2016), Importance weighted autoencoders.
    """
    z, log_weights = weighted_draws(target, n_samples, proposal, n_per_pass)
    draws = standardized(target.q0 if proposal is None else proposal, z)
    return Estimate.from_log_weights(log_weights, draws)

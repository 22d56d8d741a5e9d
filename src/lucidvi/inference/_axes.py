"""The axes of a latent space that do not depend on how it was turned."""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from typing import Any

import numpy as np
import torch

from lucidvi.inference._normal import NormalPosterior
from lucidvi.inference._posterior import PosteriorTarget


def canonical_axes(targets: Iterable[PosteriorTarget]) -> tuple[np.ndarray, np.ndarray]:
    r"""Directions of a latent space along which expression varies most, and how much.

    They are the left singular vectors of the covariance, over cells, of the posterior mean
    :math:`m` with the decoded log expression :math:`\eta_g = \log \rho_g(m, s)`,

    .. math::
        \operatorname{Cov}(m, \eta) \operatorname{diag}(\sqrt w), \quad
        w_g = \mathrm{E} \, \frac{\mu_g^2}{\operatorname{Var} x_g}

    where :math:`w` is the information of a cell's counts about :math:`\eta`, so that genes count
    by what the data say of them. A rotation of the latent space turns the directions with it.
    Dimensions that are not in use come last, and directions with equal singular values are any
    mixture of each other. Axes of two trainings agree better so than by the eigenvectors of the
    mean :func:`information_metric`, which do not ask how far cells lie apart along a direction
    (``benchmarks/canonical_axes.md``). The sign is that with which the cubed effects on the genes,
    :math:`\operatorname{Cov}(v^\top m, \eta_g)^3`, have a positive sum.

    Parameters
    ----------
    targets
        Minibatches of cells.

    Returns
    -------
    directions
        Orthonormal columns, shape ``(n_latent, n_latent)``.
    strength
        Squared singular values, falling, shape ``(n_latent,)``.

    References
    ----------
    Tucker, Psychometrika 23 (1958), An inter-battery method of factor analysis.
    """
    sums = reduce(
        lambda total, part: [a + b for a, b in zip(total, part, strict=True)],
        map(_sums, targets),
    )
    n_cells, loc, expression, product, weight = sums
    covariance = product / n_cells - torch.outer(loc / n_cells, expression / n_cells)
    effects = covariance.cpu().numpy()
    weighted = effects * (weight / n_cells).sqrt().cpu().numpy()
    # Of the other side, with a row a gene, nothing is wanted; of this one, all directions are.
    few_genes = weighted.shape[1] < len(weighted)
    directions, values, _ = np.linalg.svd(weighted, full_matrices=few_genes)
    strength = np.zeros(len(directions))
    strength[: len(values)] = values**2
    signs = np.where(((directions.T @ effects) ** 3).sum(axis=1) < 0, -1.0, 1.0)
    return directions * signs, strength


def _sums(target: PosteriorTarget) -> list[Any]:
    """Sum over cells their number, means, log expression, products of both, information."""
    with torch.no_grad():
        state = NormalPosterior.from_distribution(target.q0).loc
        px = target.likelihood(state)
        loc = target.latent(state).double()
        expression = px.log_mean.double().log_softmax(dim=-1)
        weight = px.information.double()
    totals = (x.sum(dim=0) for x in (loc, expression))
    return [len(loc), *totals, loc.mT @ expression, weight.sum(dim=0)]

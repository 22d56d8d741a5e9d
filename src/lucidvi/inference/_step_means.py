"""A few cheap steps towards the best posterior, for a training that takes them at each update."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lucidvi.inference._normal import NormalPosterior
from lucidvi.inference._target import Target


def step_means(
    target: Target, first: NormalPosterior, n_steps: int = 1, n_pairs: int = 1
) -> NormalPosterior:
    r"""Take natural gradient steps of the means, the covariances kept.

    .. math:: m \leftarrow m + L L^\top \, \mathrm{E}[\nabla \log p(x, z)], \quad
        z = m \pm L \epsilon

    with the mean over fresh antithetic pairs. No step is longer than :math:`\sqrt{d}` standard
    deviations of the posterior, a typical draw's distance from the mean. Unlike
    :func:`refine`, which costs tens of draws a step and never returns a worse posterior, this
    only goes uphill on average.

    Parameters
    ----------
    target
        The cells.
    first
        Where they start.
    n_steps
        Number of steps.
    n_pairs
        Pairs of draws a step, on each of which the target and its gradient are evaluated.
    """
    loc, factor = first.loc, first.scale_tril
    longest = math.sqrt(target.n_state)
    for _ in range(n_steps):
        noise = torch.randn(n_pairs, *loc.shape, dtype=loc.dtype, device=loc.device)
        offsets = torch.einsum("nij,snj->sni", factor, noise)
        _, gradients = target.evaluate_with_gradient(loc + torch.cat([offsets, -offsets]))
        whitened = torch.einsum("nij,ni->nj", factor, gradients.mean(dim=0))
        loc = loc + torch.einsum("nij,nj->ni", factor, _shortened(whitened, longest))
    return NormalPosterior(loc, factor)


def _shortened(step: Tensor, longest: float) -> Tensor:
    length = step.norm(dim=-1, keepdim=True)
    return step * (longest / length.clamp(min=longest))

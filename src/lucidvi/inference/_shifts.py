"""How the log joint changes with shifts of the genes, for those who learn them."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from lucidvi import kernels
from lucidvi.inference._by_last_layer import Prepared
from lucidvi.inference._posterior import PosteriorTarget

#: Takes shifts, ``(n_features,)``, and returns slope and information.
Slopes = Callable[[Tensor], tuple[Tensor, Tensor]]


def shift_slopes(target: PosteriorTarget, state: Tensor) -> Slopes:
    r"""Return what says how the log joint changes with shifts of the main modality's features.

    Parameters
    ----------
    target
        The cells.
    state
        All that is latent in them, shape ``(n_cells, n_state)``.

    Returns
    -------
    A function of the shifts :math:`\delta`, see :meth:`PosteriorTarget.with_shift`. It returns
    :math:`\sum_c \partial \log p(x_c, z_c \mid \delta) / \partial \delta`, of all features,
    shape ``(n_features,)``, and the sum over the cells of the information about the log means of
    those that were measured, ``(n_measured,)``.
    """

    def slopes(shift: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            log_shift = shift.detach().clone().requires_grad_()
            shifted = target.with_shift(log_shift)
            value = shifted.log_joint(state[None]).sum()
        (slope,) = torch.autograd.grad(value, log_shift)
        with torch.no_grad():
            return slope, shifted.measured_likelihood(state).information.sum(dim=0)

    (main, *_) = target.module.modalities.values()
    unshifted = target.with_shift(state.new_zeros(main.n_features))
    prepared = unshifted.prepared
    return slopes if prepared is None else _compiled(unshifted, state, prepared, slopes)


def _compiled(
    target: PosteriorTarget, state: Tensor, prepared: Prepared, otherwise: Slopes
) -> Slopes:
    """By compiled code, from logits that are made once; ``otherwise`` where it does not apply."""
    with torch.no_grad():
        hidden = target.hidden(prepared, state)
        outputs = hidden @ prepared.weight.T + prepared.bias
        log_library = target.log_exposure(state)
    mask, library = target.observed[prepared.key].features, log_library.exp()
    n_genes = prepared.counts.n_genes
    theta = prepared.counts.theta[:, 1] if len(prepared.counts.theta) else 0.0

    def slopes(shift: Tensor) -> tuple[Tensor, Tensor]:
        shifted = outputs.clone()
        logits = shifted[:, :n_genes].add_(shift if mask is None else shift[mask])
        # One over the mean and the inverse dispersion, which add up to one over the information:
        # of what else a likelihood has, a shifted one has nothing.
        inverse = logits.softmax(dim=-1).mul_(library).reciprocal_().add_(theta)
        value, gradient = kernels.log_likelihood_of_logits(prepared.counts, shifted, log_library)
        if not math.isfinite(value.sum()):
            return otherwise(shift)
        slope = torch.zeros_like(shift)
        slope[... if mask is None else mask] = gradient[:, :n_genes].sum(dim=0)
        return slope, inverse.reciprocal_().sum(dim=0)

    return slopes

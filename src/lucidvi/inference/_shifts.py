"""How the log joint changes with shifts of the genes, for those who learn them."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from lucidvi import kernels
from lucidvi.inference._by_last_layer import Prepared
from lucidvi.inference._posterior import PosteriorTarget

#: Takes shifts, ``(n_features,)``, and returns a value and its slope.
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
    :math:`\sum_c \log p(x_c, z_c \mid \delta)` in nats, float64, and its slope by
    :math:`\delta`, of all features, shape ``(n_features,)``.
    """

    def slopes(shift: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            log_shift = shift.detach().clone().requires_grad_()
            value = target.with_shift(log_shift).log_joint(state[None]).double().sum()
        (slope,) = torch.autograd.grad(value, log_shift)
        return value.detach(), slope

    unshifted = _unshifted(target, state)
    prepared = unshifted.prepared
    return slopes if prepared is None else _compiled(unshifted, state, prepared, slopes)


def shift_information(target: PosteriorTarget, state: Tensor) -> Tensor:
    """Return the information about the log means of the features that were measured.

    Parameters
    ----------
    target, state
        See :func:`shift_slopes`.

    Returns
    -------
    Sum over the cells, where nothing is shifted, shape ``(n_measured,)``.
    """
    with torch.no_grad():
        return _unshifted(target, state).measured_likelihood(state).information.sum(dim=0)


def _unshifted(target: PosteriorTarget, state: Tensor) -> PosteriorTarget:
    (main, *_) = target.module.modalities.values()
    return target.with_shift(state.new_zeros(main.n_features))


def _compiled(
    target: PosteriorTarget, state: Tensor, prepared: Prepared, otherwise: Slopes
) -> Slopes:
    """By compiled code, from logits that are made once; ``otherwise`` where it does not apply."""
    with torch.no_grad():
        hidden = target.hidden(prepared, state)
        outputs = hidden @ prepared.weight.T + prepared.bias
        log_library = target.log_exposure(state)
        log_prior = target._log_prior(state[None]).double().sum()
    mask, n_genes = target.observed[prepared.key].features, prepared.counts.n_genes
    room = torch.empty_like(outputs)

    def slopes(shift: Tensor) -> tuple[Tensor, Tensor]:
        shifted = room.copy_(outputs)
        shifted[:, :n_genes].add_(shift if mask is None else shift[mask])
        value, gradient = kernels.log_likelihood_of_logits(prepared.counts, shifted, log_library)
        total = value.double().sum()
        if not math.isfinite(total):
            return otherwise(shift)
        slope = torch.zeros_like(shift)
        slope[... if mask is None else mask] = gradient[:, :n_genes].sum(dim=0)
        return total + log_prior, slope

    return slopes

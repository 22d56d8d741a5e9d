"""Turning the latent space, in the middle of a training, to axes that the prior prefers.

A prior such as :class:`lucidvi.nn.ConditionalNormal` fits on some axes better than on others, but
gradient steps hardly ever turn a latent space: all weights of encoder and decoder that meet at an
axis would have to move together, and half a turn gains little. So the model stays near
the axes of its random start. The best axes given the posteriors are a small problem of their own,
which is solved here; the rest of the training starts from there.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from lucidvi._random import in_evaluation
from lucidvi.data import CellSplitter
from lucidvi.module import VAE
from lucidvi.nn import Covariates
from lucidvi.train.practices._start import covariates_of


def align_axes(module: VAE, data: CellSplitter, device: torch.device) -> None:
    """Turn a latent space to the axes on which the prior fits the posteriors best.

    The prior is fitted to them at the same time. Not for a logistic normal, whose axes are the
    corners of a simplex and cannot be turned.

    Parameters
    ----------
    module
        In training.
    data
        Its training cells, of which the prior says how many it looks at.
    device
        Where the module is.
    """
    n_cells = module.prior.n_aligning_cells
    if n_cells == 0 or module.latent_distribution == "ln":
        return
    turn(module, module.prior.align(*posteriors(module, data, n_cells, device)))


@torch.no_grad()
def posteriors(
    module: VAE, data: CellSplitter, n_cells: int, device: torch.device
) -> tuple[Tensor, Tensor, Covariates]:
    """Means, standard deviations and covariates of the first training cells."""
    loc, scale, covariates = [], [], []
    with in_evaluation(module):
        for minibatch in data.some_training_cells(n_cells):
            tensors = data.transfer_batch_to_device(minibatch, device, 0)
            qz = module.inference(**module._get_inference_input(tensors))["qz"]
            loc.append(qz.loc)
            scale.append(qz.scale)
            covariates.append(covariates_of(tensors))
    known: dict[str, Tensor | None] = {}
    for name, first in covariates[0].items():
        values = [cast(Tensor, chunk[name]) for chunk in covariates if first is not None]
        known[name] = torch.cat(values) if values else None
    return torch.cat(loc), torch.cat(scale), known


@torch.no_grad()
def turn(module: VAE, matrix: Tensor) -> None:
    r"""Replace the latent state :math:`z` by :math:`A z`, and leave the decoded means as they are.

    The encoder's head of the means is multiplied by :math:`A`, the decoder's first layer by its
    inverse. Log variances, of which independent axes cannot hold the turned ones, become averages
    weighted by :math:`A_{kj}^2`; the training goes on from there.

    Parameters
    ----------
    module
        To be changed.
    matrix
        :math:`A`, shape ``(n_latent, n_latent)``.
    """
    mean, spread = module.z_encoder.mean_encoder, module.z_encoder.var_encoder
    mean.weight.copy_(matrix @ mean.weight)
    mean.bias.copy_(matrix @ mean.bias)
    squares = matrix.square()
    total = squares.sum(dim=1)
    shares = squares / total.unsqueeze(-1)
    spread.weight.copy_(shares @ spread.weight)
    spread.bias.copy_(shares @ spread.bias + total.log())
    first = cast(nn.Linear, module.decoder.px_decoder.fc_layers[0][0])
    own = first.weight[:, : module.n_latent]
    own.copy_(torch.linalg.solve(matrix, own, left=False))

"""Turning the latent space, in the middle of a training, to axes that the prior prefers.

A prior such as :class:`lucidvi.nn.ConditionalNormal` fits on some axes better than on others, but
gradient steps hardly ever turn a latent space: all weights of encoder and decoder that meet at an
axis would have to move together, and half a turn gains little. So the model stays near
the axes of its random start. The best axes given the posteriors are a small problem of their own,
which is solved here; the rest of the training starts from there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from lucidvi._random import in_evaluation
from lucidvi.data import CellSplitter
from lucidvi.errors import DataError
from lucidvi.module import Alignable, encoded, offers
from lucidvi.nn import Covariates
from lucidvi.train.practices._practice import Practice, Training

#: Shares of the training between which axes are aligned.
SHARES = (0.3, 0.5)


@dataclass(eq=False)
class AlignAxes(Practice):
    """Turn of the latent space of a new module, before epochs, to the axes that its prior prefers.

    Nothing changes with a prior to which all axes are alike, for a module that was trained before,
    one that is not :class:`lucidvi.module.Alignable`, or whose cells come from a ``datamodule``.

    Parameters
    ----------
    align_axes
        From which to which share of the training the latent space of a new module is turned,
        before each epoch, to the axes that its prior fits best; (0.3, 0.5) by default, None for
        never. The first should not be before the KL term has its weight: posteriors are nothing
        to go by until then. Not with a ``datamodule``.
    """

    align_axes: tuple[float, float] | None = SHARES

    def __post_init__(self) -> None:
        """Check the shares."""
        if self.align_axes is not None and not _are_shares(self.align_axes):
            raise DataError(
                f"`align_axes` is {self.align_axes}; it must be two shares of the training, "
                "between 0 and 1, the smaller one first, or None.",
                remedy=f'model.train(plan_kwargs={{"align_axes": {SHARES}}})',
            )

    def on_epoch_start(self, training: Training) -> None:
        """Turn the latent space of a new module, in the part of the training that is for it."""
        module, data = training.plain_module, training.data
        if data is None or not training.is_from_scratch or not offers(module, Alignable):
            return
        first, last = self.align_axes or SHARES
        if first <= training.progress <= last:
            self.is_pending = True
            align_axes(module, data, training.device)
            self.is_pending = False


def _are_shares(pair: Any) -> bool:
    return len(pair) == 2 and 0 <= pair[0] <= pair[1] <= 1


def align_axes(module: Alignable, data: CellSplitter, device: torch.device) -> None:
    """Turn a latent space to the axes on which the prior fits the posteriors best.

    The prior is fitted to them at the same time.

    Parameters
    ----------
    module
        In training.
    data
        Its training cells, of which the module says how many it looks at.
    device
        Where the module is.
    """
    n_cells = module.n_aligning_cells
    if n_cells > 0:
        module.turn(module.align(*posteriors(module, data, n_cells, device)))


@torch.no_grad()
def posteriors(
    module: Any, data: CellSplitter, n_cells: int, device: torch.device
) -> tuple[Tensor, Tensor, Covariates]:
    """Means, standard deviations and covariates of the first training cells."""
    loc, scale, covariates = [], [], []
    with in_evaluation(module):
        for minibatch in data.some_training_cells(n_cells):
            tensors = data.transfer_batch_to_device(minibatch, device, 0)
            s = module.covariates(tensors)
            qz: Any = encoded(module, module.observe(tensors), s).latent
            loc.append(qz.loc)
            scale.append(qz.scale)
            covariates.append(s)
    joined: dict[str, Tensor | None] = {}
    for name, first in covariates[0].items():
        values = [cast(Tensor, chunk[name]) for chunk in covariates if first is not None]
        joined[name] = torch.cat(values) if values else None
    return torch.cat(loc), torch.cat(scale), joined

"""A warning when the latent space says almost nothing of the cells."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lucidvi._random import in_evaluation
from lucidvi.data import Minibatch
from lucidvi.train._presets import LUCID_STEPS
from lucidvi.train.practices._practice import Practice, Training

logger = logging.getLogger(__name__)

#: Training cells that are looked at: a variance over them errs by 6 %.
N_CELLS = 500
#: Nats from which on a dimension carries information.
INFORMATION_MIN = 0.1
#: Updates before which a model that says nothing may only have begun; see the preset "lucid".
N_STEPS = LUCID_STEPS
#: Dimensions that carry information in any model that is of use.
N_LEAST = 3


@dataclass(eq=False)
class CollapseWarning(Practice):
    r"""Warns in one line, once, if almost no latent dimension carries information.

    It looks at some training cells when half of the training is done and the KL term has its
    full weight, and at the end. What dimension :math:`k` says of a cell is

    .. math::
        I_k = \tfrac{1}{2} \log\left(1 +
            \frac{\mathrm{Var}_x[\mu_k(x)]}{\mathrm{E}_x[\sigma_k^2(x)]}\right)

    in nats, the mutual information of a normal signal and normal noise, with the means
    :math:`\mu_k` and variances :math:`\sigma_k^2` of the posteriors. It is at most the KL where
    the prior is the standard normal, and means the same with other priors.

    It speaks when fewer than three dimensions (or than all, of one or two) have more than 0.1
    nats. Of an over-wide latent space most dimensions have less, and nothing is wrong with it;
    but counts of cells that differ at all differ in more than two ways. How many dimensions the
    data have is what :func:`lucidvi.audit.run` tells. A model that has only begun to learn says as
    little; after fewer than 300 updates the line says that this is too short to tell.

    No random number is drawn, so that a training is the same with it and without.

    Parameters
    ----------
    warn_collapse
        Warn if almost no latent dimension carries information; True by default.
    """

    warn_collapse: bool = True

    def __post_init__(self) -> None:
        """Begin without having looked."""
        self.has_looked = self.has_spoken = False

    def on_epoch_end(self, training: Training) -> None:
        """Look once in the second half."""
        is_early = training.progress < 0.5 or training.kl_weight < training.max_kl_weight
        is_early = is_early or training.global_step < N_STEPS
        if not is_early and not self.has_looked:
            self.has_looked = True
            self._look(training)

    def on_end(self, training: Training) -> None:
        """Look at what came out."""
        if not self.has_spoken:
            self._look(training)

    def _look(self, training: Training) -> None:
        if training.data is None or training.global_rank != 0:
            return
        if len(training.data.train_idx) < 2:
            return
        cells = next(training.data.some_training_cells(N_CELLS, chunk=N_CELLS))
        nats = information(training.plain_module, cells)
        n_used, n_latent = int((nats > INFORMATION_MIN).sum()), len(nats)
        if n_used < min(N_LEAST, n_latent):
            self.has_spoken = True
            warning = COLLAPSED if training.global_step >= N_STEPS else TOO_SHORT
            what = FEW.format(n_used, n_latent, INFORMATION_MIN, float(nats.sum()))
            logger.warning(what + warning.format(training.global_step, N_STEPS))


@torch.no_grad()
def information(module: Any, cells: Minibatch) -> Tensor:
    """Return what each dimension says of a cell, nats, shape ``(n_latent,)``.

    See :class:`CollapseWarning` for the formula.

    Parameters
    ----------
    module
        A :class:`lucidvi.module.Generative`.
    cells
        A minibatch of at least two cells.
    """
    cells = {name: tensor.to(module.device) for name, tensor in cells.items()}
    with in_evaluation(module):  # or dropout would draw, and batch norm would follow these cells
        qz: Any = module.encode(module.observe(cells), module.covariates(cells)).latent
    return (qz.loc.var(dim=0) / qz.scale.square().mean(dim=0)).log1p() / 2


#: In one line, with what to do.
FEW = "{} of {} latent dimensions carry information (above {} nats a cell; all carry {:.2f})"
COLLAPSED = (
    ": the posterior collapsed. Train a new model with "
    "model.train(plan_kwargs={{'free_bits': 0.5}}), and see lucidvi.audit.run(model)."
)
TOO_SHORT = (
    " at update {}: a training of fewer than {} updates does not tell whether the posterior "
    "collapses. Train longer; if it then does, a new model with "
    "model.train(plan_kwargs={{'free_bits': 0.5}})."
)

"""The Lightning plan: scvi-tools', with a schedule that ends and losses that stay numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import scvi.train
import torch
from scvi import REGISTRY_KEYS
from scvi.module.base import BaseModuleClass
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import get_total_norm

from lucidvi.train._schedules import linear_warmup


class NonFiniteLoss(ArithmeticError):
    """A loss or a gradient that is not a number; :class:`TrainRunner` turns it into an error.

    Parameters
    ----------
    what
        What was not finite: ``"loss"``, or the name of the weight whose gradient was not.
    step, epoch
        When, counted from zero.
    counts
        Counts of the first cell at fault, shape ``(n_genes,)``.
    gene
        Index of its first gene at fault, if it is the likelihood that is.
    """

    def __init__(
        self,
        what: str,
        step: int,
        epoch: int,
        counts: Tensor | None = None,
        gene: int | None = None,
    ) -> None:
        super().__init__(f"{what} is not finite at step {step} of epoch {epoch}")
        self.what, self.step, self.epoch, self.counts, self.gene = what, step, epoch, counts, gene


class TrainingPlan(scvi.train.TrainingPlan):
    """Training plan of scvi-tools, mended in three places.

    - The weight of the KL term rises over a fraction of the training and always arrives.
      scvi-tools' rises over 400 epochs however long the training is: with a million cells, which
      get eight epochs, it ends at 0.02.
    - A minibatch of one cell is fine: batch norm then uses its running statistics.
    - A loss or a gradient that is not finite stops the training, and the last good weights are
      kept.

    Parameters
    ----------
    module
        Module to train.
    kl_warmup
        Share of the training's steps over which the weight of the KL term rises from
        ``min_kl_weight`` to ``max_kl_weight``. Not used if one of scvi-tools'
        ``n_epochs_kl_warmup`` and ``n_steps_kl_warmup`` is given, which then holds (a
        ``plan_config`` of scvi-tools gives both).
    **kwargs
        See :class:`scvi.train.TrainingPlan`.

    Raises
    ------
    ValueError
        If ``kl_warmup`` is not between 0 and 1.
    """

    #: None while scvi-tools' own schedule holds.
    kl_warmup: float | None = None

    def __init__(self, module: BaseModuleClass, *, kl_warmup: float = 0.5, **kwargs: Any) -> None:
        if not 0 <= kl_warmup <= 1:
            raise ValueError(
                f"`kl_warmup` is {kl_warmup}; it is a share of the training, between 0 and 1."
            )
        super().__init__(module, **kwargs)
        if not {"n_epochs_kl_warmup", "n_steps_kl_warmup"} & set(kwargs):
            self.kl_warmup = kl_warmup
        self._n_steps = math.inf
        self._outputs: tuple[dict, dict, Any] | None = None
        self.good_weights: dict[str, Tensor] = {}
        self.good_epoch = 0

    # -- the schedule

    @property
    def kl_weight(self) -> Tensor:
        """Weight of the KL term at the present step."""
        if self.kl_warmup is None or math.isinf(self._n_steps):
            return super().kl_weight
        weight = linear_warmup((self.global_step + 1) / self._n_steps, self.kl_warmup)
        rise = self.max_kl_weight - self.min_kl_weight
        return torch.tensor(self.min_kl_weight + rise * weight, device=self.device)

    def on_train_start(self) -> None:
        """Read how many steps there will be; infinitely many leave scvi-tools' schedule."""
        self._n_steps = self.trainer.estimated_stepping_batches

    # -- a step

    def forward(self, *args: Any, **kwargs: Any) -> tuple[dict, dict, Any]:
        """Pass through to the module, and keep what it returned until the step is judged."""
        outputs = super().forward(*args, **kwargs)
        self._outputs = outputs if self.training else None
        return outputs

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """Return the loss of a minibatch."""
        one_cell = len(batch[REGISTRY_KEYS.X_KEY]) == 1
        with frozen_batch_norm(self.module) if one_cell else nullcontext():
            loss = super().training_step(batch, batch_idx)
        outputs, self._outputs = self._outputs, None
        if not torch.isfinite(loss):
            raise self._locate(batch[REGISTRY_KEYS.X_KEY], outputs)
        if batch_idx == 0:
            # These weights have just given a finite loss, which those after an update have not.
            self.good_epoch = self.current_epoch
            weights = self._plain_module.state_dict()
            self.good_weights = {name: w.detach().clone() for name, w in weights.items()}
        return loss

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Stop before a gradient that is not finite spoils the weights."""
        if getattr(self.trainer.precision_plugin, "scaler", None) is not None:
            return  # in mixed precision it skips such a step, and lowers its scale
        weights = dict(self._plain_module.named_parameters())
        gradients = {name: w.grad for name, w in weights.items() if w.grad is not None}
        if torch.isfinite(get_total_norm(gradients.values())):
            return
        for name, gradient in gradients.items():
            if not torch.isfinite(gradient).all():
                raise NonFiniteLoss(f"gradient of {name}", self.global_step, self.current_epoch)

    @property
    def _plain_module(self) -> nn.Module:
        """The module itself, also where it was compiled."""
        compiled: Any = self.module
        return getattr(compiled, "_orig_mod", compiled)

    def _locate(self, x: Tensor, outputs: Any) -> NonFiniteLoss:
        """Find the first cell, and its first gene, that make the loss not finite."""
        _, generative_outputs, losses = outputs
        terms = [*losses.reconstruction_loss.values(), *losses.kl_local.values()]
        cells = (~torch.isfinite(sum(terms))).nonzero().flatten().tolist()
        when = {"step": self.global_step, "epoch": self.current_epoch}
        if not cells or len(cells) == len(x) > 1:  # nothing that one cell could explain
            return NonFiniteLoss("loss", **when)
        cell = cells[0]
        log_prob = generative_outputs["px"].log_prob(x)[cell]
        genes = (~torch.isfinite(log_prob)).nonzero().flatten().tolist()
        gene = genes[0] if genes else None
        return NonFiniteLoss("loss", **when, counts=x[cell].detach().cpu(), gene=gene)


@contextmanager
def frozen_batch_norm(module: nn.Module) -> Iterator[None]:
    """Let batch norm use its running statistics: one cell has no variance of its own."""
    layers = [m for m in module.modules() if isinstance(m, _BatchNorm) and m.training]
    for layer in layers:
        layer.eval()
    try:
        yield
    finally:
        for layer in layers:
            layer.train()

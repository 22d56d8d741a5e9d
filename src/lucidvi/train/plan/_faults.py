"""Losses and gradients that are not numbers: where they come from."""

from __future__ import annotations

import math
from typing import Any

import torch
from scvi import REGISTRY_KEYS
from scvi.module.base import LossOutput
from torch import Tensor, nn

from lucidvi.data import Minibatch
from lucidvi.kernels import to_dense


class NonFiniteLoss(ArithmeticError):
    """A loss or a gradient that is not a number; the runner turns it into an error.

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

    def __reduce__(self) -> tuple[type[NonFiniteLoss], tuple[Any, ...]]:
        # Exceptions pickle their message alone; the processes of a training tell each other.
        return type(self), (self.what, self.step, self.epoch, self.counts, self.gene)


class StoppedTogether(Exception):
    """The end of a training that one of its processes was asked to stop, in all of them."""


def first_fault(found: list[NonFiniteLoss | None], step: int, epoch: int) -> NonFiniteLoss:
    """Return what one of several processes found, rather one that names a cell."""
    faults = [fault for fault in found if fault is not None]
    of_cells = [fault for fault in faults if fault.counts is not None]
    return (of_cells or faults or [NonFiniteLoss("loss", step, epoch)])[0]


def locate(
    x: Tensor, generative_outputs: dict[str, Any], losses: LossOutput, step: int, epoch: int
) -> NonFiniteLoss:
    """Find the first cell, and its first gene, that make the loss of a minibatch not finite.

    Parameters
    ----------
    x
        Counts, CSR or dense, shape ``(n_cells, n_genes)``.
    generative_outputs, losses
        What the module returned for them.
    step, epoch
        When, counted from zero.
    """
    terms = [*losses.reconstruction_loss.values(), *losses.kl_local.values()]
    cells = (~torch.isfinite(sum(terms))).nonzero().flatten().tolist()
    if not cells or len(cells) == len(x) > 1:  # nothing that one cell could explain
        return NonFiniteLoss("loss", step, epoch)
    x, cell = to_dense(x), cells[0]
    log_prob = generative_outputs["px"].log_prob(x)[cell]
    genes = (~torch.isfinite(log_prob)).nonzero().flatten().tolist()
    gene = genes[0] if genes else None
    return NonFiniteLoss("loss", step, epoch, counts=x[cell].detach().cpu(), gene=gene)


def locate_in(plan: Any, group: list[Minibatch]) -> NonFiniteLoss:
    """Find with the last good weights what made the losses of several minibatches not finite.

    Parameters
    ----------
    plan
        Training plan, whose module then has the last good weights.
    group
        Minibatches of one step.
    """
    when = plan.global_step, plan.current_epoch
    plan.plain_module.load_state_dict(plan.good_weights)
    for minibatch in group:
        _, outputs, losses = plan.forward(minibatch, loss_kwargs=plan.loss_kwargs)
        if not math.isfinite(losses.loss.item()):
            return locate(minibatch[REGISTRY_KEYS.X_KEY], outputs, losses, *when)
    return NonFiniteLoss("loss", *when)


def non_finite_gradient(module: nn.Module) -> str | None:
    """Name of the first weight whose gradient is not finite, if there is one."""
    for name, weight in module.named_parameters():
        if weight.grad is not None and not torch.isfinite(weight.grad).all():
            return name
    return None


def check_gradients(plan: Any) -> None:
    """Raise :class:`NonFiniteLoss` if the last update was by a gradient that is not finite.

    Parameters
    ----------
    plan
        Training plan, of whose module the gradients of the last update are left.
    """
    if getattr(plan.trainer.precision_plugin, "scaler", None) is not None:
        return  # in mixed precision it skips such a step, and lowers its scale
    name = non_finite_gradient(plan.plain_module)
    if name is not None:
        raise NonFiniteLoss(f"gradient of {name}", plan.global_step - 1, plan.current_epoch)

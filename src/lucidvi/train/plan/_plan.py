"""The Lightning plan: scvi-tools', without its overhead, and with losses that stay numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from scvi import REGISTRY_KEYS
from scvi.module.base import BaseModuleClass, LossOutput
from torch import Tensor
from torch.optim import Optimizer

from lucidvi.data import Groups, Minibatch
from lucidvi.errors import TrainingError
from lucidvi.kernels import plain_torch, to_dense
from lucidvi.train.objectives import Objective, as_objective
from lucidvi.train.plan._cyclical import as_kl_schedule
from lucidvi.train.plan._faults import check_gradients, locate_in
from lucidvi.train.plan._optimizers import OPTIMIZERS, optimizer_creator
from lucidvi.train.plan._options import (
    OF_SCVI_SCHEDULE,
    check_of_scvi_tools,
    check_one_schedule,
    check_options,
)
from lucidvi.train.plan._parts import SMALLER, UNDIVIDED, Parts, mean_loss
from lucidvi.train.plan._schedules import LR_SCHEDULES
from lucidvi.train.plan._threads import ThreadChoice
from lucidvi.train.plan._together import PlanTogether
from lucidvi.train.practices import with_documented_options

#: Minibatches that share the overhead of one step of Lightning.
MINIBATCHES_PER_STEP = 10


class TrainingPlan(PlanTogether):
    """Training plan of scvi-tools, fast, and mended in three places.

    A step of Lightning gets several minibatches, each of which updates the weights, and metrics
    are logged once an epoch. What Lightning does of its own accord for each step (clipping or
    accumulating gradients, lower precision) needs one minibatch a step, which the runner then
    sets. Several processes share each minibatch, and train as one would.

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
        ``min_kl_weight`` to ``max_kl_weight``. scvi-tools' ``n_epochs_kl_warmup`` and
        ``n_steps_kl_warmup`` take its place (a ``plan_config`` of scvi-tools has both).
    kl_schedule
        How it rises: ``"linear"``, or ``"cyclical"`` (four times, each over the share
        ``kl_warmup`` of a quarter of the training), or one with settings of its own, such as
        ``Cyclical(n_cycles=2)``.
    betas
        Shares of the past in Adam's running means of gradients and of their squares, (0.9, 0.999)
        by default, as in torch; (0.8, 0.9) in the preset ``"lucid"`` for many cells.
    lr_schedule
        How the learning rate goes over the training, of which ``lr`` is the highest:
        ``"constant"``, ``"cosine"`` (falling to zero) or ``"one_cycle"`` (rising for a tenth
        of it, then falling to zero).
    objective
        What is maximized: ``"elbo"``, ``"iwae"`` (importance weighted), ``"semi_amortized"``
        (refined posteriors), ``"free_bits"``, or one of them with settings of its own, such as
        ``ImportanceWeighted(n_samples=16)``.
    refine_steps
        With a number above zero, short for ``objective=SemiAmortized(n_steps=refine_steps)``.
    free_bits
        With a number above zero, short for ``objective=FreeBits(nats=free_bits)``: KL in nats
        that each latent dimension has for nothing.
    minibatches_per_step
        Minibatches that share a step of Lightning; a callback sees them as one.
    **kwargs
        See :class:`scvi.train.TrainingPlan`.

    Raises
    ------
    lucidvi.errors.DataError
        If an option has a value that it cannot have, or two options do not go together, or one
        does not go with the module.
    """

    #: None while scvi-tools' own schedule holds.
    kl_warmup: float | None = None

    def __init__(
        self,
        module: BaseModuleClass,
        *,
        kl_warmup: float = 0.5,
        kl_schedule: str | Callable[[float, float], float] = "linear",
        betas: tuple[float, float] = (0.9, 0.999),
        lr_schedule: str = "constant",
        objective: str | Objective = "elbo",
        refine_steps: int = 0,
        free_bits: float = 0.0,
        minibatches_per_step: int = MINIBATCHES_PER_STEP,
        **kwargs: Any,
    ) -> None:
        check_options(kl_warmup, betas, lr_schedule, minibatches_per_step)
        check_of_scvi_tools(kwargs)
        super().__init__(module, **kwargs)
        self.kl_schedule = as_kl_schedule(kl_schedule)
        check_one_schedule(kl_schedule, kwargs)
        if not OF_SCVI_SCHEDULE & set(kwargs):
            self.kl_warmup = kl_warmup
        self.betas = betas
        self.lr_schedule = lr_schedule
        self.objective = as_objective(objective, refine_steps, free_bits)
        self.minibatches_per_step = minibatches_per_step
        self._n_steps = math.inf
        self.good_weights: dict[str, Tensor] = {}
        self.good_epoch = 0
        self.threads = ThreadChoice([torch.get_num_threads()])
        self.parts = Parts()
        self._n_cells = 0

    @property
    def automatic_optimization(self) -> bool:
        """Whether Lightning updates the weights, which it can for one minibatch a step."""
        return self.minibatches_per_step == 1

    @automatic_optimization.setter
    def automatic_optimization(self, automatic: bool) -> None:
        if automatic:
            self.minibatches_per_step = 1

    # -- the schedules

    @property
    def kl_weight(self) -> float:
        """Weight of the KL term at the present step."""
        if self.kl_warmup is None or math.isinf(self._n_steps):
            return float(super().kl_weight)
        rise = self.max_kl_weight - self.min_kl_weight
        return self.min_kl_weight + rise * self.kl_schedule(self.progress, self.kl_warmup)

    @property
    def progress(self) -> float:
        """Share of the training's steps done, the present one included."""
        return (self.global_step + 1) / self._n_steps

    def on_train_start(self) -> None:
        """Read how many steps there will be; infinitely many leave scvi-tools' schedule."""
        self._n_steps = self.trainer.estimated_stepping_batches
        loader = getattr(self.trainer, "train_dataloader", None)
        if isinstance(loader, Groups):
            self._n_steps = self._n_steps * loader.n_minibatches / len(loader)

    def _set_lr(self) -> None:
        if self.lr_schedule == "constant" or math.isinf(self._n_steps):
            return
        factor = LR_SCHEDULES[self.lr_schedule]((self.global_step + 0.5) / self._n_steps)
        for group in self.optimizers().param_groups:
            group["lr"] = factor * group.setdefault("initial_lr", group["lr"])

    # -- what a checkpoint holds of a process, besides the weights

    def training_state(self) -> dict[str, Any]:
        """Return what the plan keeps from one step to the next."""
        return {**super().training_state(), "n_at_once": self.parts.n_at_once}

    def load_training_state(self, state: dict[str, Any]) -> None:
        """Go on with what :meth:`training_state` returned."""
        super().load_training_state(state)
        self.parts.n_at_once = state["n_at_once"]

    # -- a step

    def training_step(self, batch: Minibatch | list[Minibatch], batch_idx: int) -> Tensor:
        """Return the loss of a minibatch, or of the last of several, each of which updated."""
        if isinstance(batch, dict):
            self._n_cells = len(batch[REGISTRY_KEYS.X_KEY])
            with self._enough_memory():
                losses = self._training_losses(batch)
            self._take_note(batch, [losses], first=batch_idx == 0)
            loss = self.share_of(batch) * losses.loss if self.ranks.are_several else losses.loss
        else:
            loss = self._update(batch, first=batch_idx == 0)
        if self.trainer.is_last_batch:
            self._log_means("train", self.n_obs_training)
        return loss

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Compute the gradient, where Lightning updates the weights."""
        with self._enough_memory():
            super().backward(loss, *args, **kwargs)

    @contextmanager
    def _enough_memory(self) -> Iterator[None]:
        """Explain that memory is short where Lightning has a minibatch, which cannot be halved."""
        try:
            yield
        except torch.OutOfMemoryError as error:
            half = max(1, self._n_cells // 2)
            raise TrainingError(
                UNDIVIDED.format(self._n_cells), remedy=SMALLER.format(half)
            ) from error

    def _update(self, group: list[Minibatch], *, first: bool) -> Tensor:
        optimizer = self.optimizers()
        weights = [weight for weight in self.module.parameters() if weight.requires_grad]
        losses = []
        for i, minibatch in enumerate(group):
            self.threads.begin()
            parts = self._parts(minibatch, partial(self._descend, weights))
            self._take_note(minibatch, parts, first=first and i == 0)
            self.add_up_gradients()
            # Lightning counts the step; what else it would do has been ruled out by the runner.
            optimizer._on_before_step()
            optimizer.optimizer.step()
            optimizer._on_after_step()
            losses.append(mean_loss(parts))
            self.threads.end()
        is_known = self.device.type == "cpu" or self.ranks.are_several
        if not is_known and not torch.stack(losses).isfinite().all():
            raise locate_in(self, group)
        return losses[-1]

    def _descend(self, weights: list[Tensor], parts: list[Minibatch]) -> list[LossOutput]:
        """Give weights the gradient of a minibatch: that of its parts, weighted by their cells."""
        n_cells = sum(len(part[REGISTRY_KEYS.X_KEY]) for part in parts)
        outputs: list[LossOutput] = []
        for part in parts:
            losses = self._training_losses(part)
            if not outputs:  # a loss that is no number is explained by the gradient before it
                for weight in weights:
                    weight.grad = None
            share = losses.n_obs_minibatch / n_cells
            if self.ranks.are_several:
                share = self.share_of(part)
            (losses.loss if share == 1 else share * losses.loss).backward()
            outputs.append(losses)
        return outputs

    def forward(self, minibatch: Minibatch, *args: Any, **kwargs: Any) -> Any:
        """Pass a minibatch through the module; one compiled by torch gets dense counts."""
        if self.module is self.plain_module:
            return super().forward(minibatch, *args, **kwargs)
        x = to_dense(minibatch[REGISTRY_KEYS.X_KEY])
        with plain_torch():
            return super().forward({**minibatch, REGISTRY_KEYS.X_KEY: x}, *args, **kwargs)

    def _training_losses(self, minibatch: Minibatch) -> LossOutput:
        x = minibatch[REGISTRY_KEYS.X_KEY]
        if "kl_weight" in self.loss_kwargs:
            self.loss_kwargs["kl_weight"] = self.kl_weight
        self._set_lr()
        with ExitStack() as stack:
            stack.enter_context(self.as_share(minibatch))
            for practice in self.practices:
                stack.enter_context(practice.around_minibatch(self))
            generative_outputs, losses = self.objective(self, minibatch)
        if self.ranks.are_several:
            self.note_share(losses, self.share_of(minibatch), x, generative_outputs)
            return losses
        # Another device would have to be waited for; it is asked once a group of minibatches.
        at_once = self.device.type == "cpu" or self.automatic_optimization
        if at_once and not math.isfinite(losses.loss.item()):
            raise self.fault_of(x, generative_outputs, losses)
        return losses

    def _parts(
        self, minibatch: Minibatch, act: Callable[[list[Minibatch]], list[LossOutput]]
    ) -> list[LossOutput]:
        """Return the losses of the parts of a minibatch, or of a share, which is not halved."""
        if not self.ranks.are_several:
            return self.parts.of(minibatch, act)
        self._n_cells = len(minibatch[REGISTRY_KEYS.X_KEY])
        with self._enough_memory():
            return act([minibatch])

    def _take_note(self, minibatch: Minibatch, parts: list[LossOutput], *, first: bool) -> None:
        """Record the losses of a minibatch; of the first in an epoch, keep the weights."""
        if first:
            self.note_first()
        if self.share_of(minibatch) > 0:
            for losses in parts:
                self._record(losses, "train")

    def validation_step(self, batch: Minibatch, batch_idx: int) -> None:
        """Add a minibatch of the validation cells to the means."""

        def losses_of(parts: list[Minibatch]) -> list[LossOutput]:
            return [self.forward(part, loss_kwargs=self.loss_kwargs)[2] for part in parts]

        for losses in self._parts(batch, losses_of) if self.share_of(batch) > 0 else ():
            self._record(losses, "validation")

    def on_train_end(self) -> None:
        """Look at what the last update left."""
        super().on_train_end()
        self.plain_module.is_fresh = False
        if not all(torch.isfinite(weight).all() for weight in self.module.parameters()):
            check_gradients(self)
        for practice in self.practices:
            practice.on_end(self)

    # -- the optimizer

    def get_optimizer_creator(self) -> Callable[[Iterable[Tensor]], Optimizer]:
        """Return what makes the optimizer of the weights; Adam and AdamW in their fused form."""
        if self.optimizer_name not in OPTIMIZERS:
            return super().get_optimizer_creator()
        fused = getattr(self, "fused_optimizer", True)
        names = ("lr", "betas", "eps", "weight_decay")
        settings = {name: getattr(self, name) for name in names}
        return optimizer_creator(self.optimizer_name, settings, fused=fused)


TrainingPlan.__doc__ = with_documented_options(TrainingPlan)

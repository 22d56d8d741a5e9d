"""The Lightning plan: scvi-tools', without its overhead, and with losses that stay numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import Any

import scvi.train
import torch
from scvi import REGISTRY_KEYS
from scvi.module.base import BaseModuleClass, LossOutput
from torch import Tensor
from torch.optim import Optimizer

from lucidvi.data import CellSplitter, Groups, Minibatch
from lucidvi.kernels import plain_torch, to_dense
from lucidvi.nn import frozen_batch_norm
from lucidvi.train._objective import Objective
from lucidvi.train._objectives import as_objective
from lucidvi.train.plan._cyclical import as_kl_schedule
from lucidvi.train.plan._epoch_means import EpochMeans
from lucidvi.train.plan._faults import NonFiniteLoss, locate, non_finite_gradient
from lucidvi.train.plan._optimizers import OPTIMIZERS, can_fuse
from lucidvi.train.plan._options import OF_SCVI_SCHEDULE, check_one_schedule, check_options
from lucidvi.train.plan._schedules import LR_SCHEDULES
from lucidvi.train.practices._axes import align_axes
from lucidvi.train.practices._encoder_first import EncoderFirst
from lucidvi.train.practices._mean_norm import MeanNorm
from lucidvi.train.practices._start import N_CELLS, GeneMoments, start_from, start_prior
from lucidvi.train.runner._threads import ThreadChoice

#: Minibatches that share the overhead of one step of Lightning.
MINIBATCHES_PER_STEP = 10
#: Shares of the training between which latent axes are aligned with the prior.
ALIGN_AXES = (0.3, 0.5)


class TrainingPlan(scvi.train.TrainingPlan):
    """Training plan of scvi-tools, fast, and mended in three places.

    A step of Lightning gets several minibatches, each of which updates the weights, and metrics
    are logged once an epoch. What Lightning does of its own accord for each step (clipping or
    accumulating gradients, lower precision, several devices) needs one minibatch a step, which
    the runner then sets.

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
    kl_schedule
        How it rises: ``"linear"``, or ``"cyclical"`` (four times, each over the share
        ``kl_warmup`` of a quarter of the training), or one with settings of its own, such as
        ``Cyclical(n_cycles=2)``.
    lr_schedule
        How the learning rate goes over the training, of which ``lr`` is the highest:
        ``"constant"``, ``"cosine"`` (falling to zero) or ``"one_cycle"`` (rising for a tenth
        of it, then falling to zero).
    start_from_data
        Start a fresh module at the mean and dispersion that each gene has in the training cells,
        and a prior that can at some of them. Not with a ``datamodule``.
    align_axes
        From which to which share of the training the latent space of a fresh module is turned,
        before each epoch, to the axes that its prior fits best, see
        ``practices._axes.align_axes``; None for never. The first should not be before the
        KL term has its weight: posteriors are nothing to go by until then. Changes nothing with a
        prior to which all axes are alike. Not with a ``datamodule``.
    objective
        What is maximized: ``"elbo"``, ``"iwae"`` (importance weighted), ``"semi_amortized"``
        (refined posteriors), ``"free_bits"``, or one of them with settings of its own, such as
        ``ImportanceWeighted(n_samples=16)``.
    refine_steps
        With a number above zero, short for ``objective=SemiAmortized(n_steps=refine_steps)``.
    free_bits
        With a number above zero, short for ``objective=FreeBits(nats=free_bits)``: KL in nats
        that each latent dimension has for nothing.
    encoder_steps, encoder_share
        Updates of the encoder alone before each of all weights, over a share of the training
        from its start; see :class:`EncoderFirst`.
    mean_norm
        Standard deviation that the posteriors' means are given over the cells, or None to leave
        them; see :class:`MeanNorm`.
    warn_collapse
        Warn if almost no latent dimension says anything; see :class:`CollapseWarning`.
    minibatches_per_step
        Minibatches that share a step of Lightning; a callback sees them as one.
    **kwargs
        See :class:`scvi.train.TrainingPlan`.

    Raises
    ------
    lucidvi.errors.DataError
        If ``kl_warmup`` or ``align_axes`` is not between 0 and 1, an option does not exist, or
        two do not go together.
    """

    #: None while scvi-tools' own schedule holds.
    kl_warmup: float | None = None

    def __init__(
        self,
        module: BaseModuleClass,
        *,
        kl_warmup: float = 0.5,
        kl_schedule: str | Callable[[float, float], float] = "linear",
        lr_schedule: str = "constant",
        start_from_data: bool = False,
        align_axes: tuple[float, float] | None = ALIGN_AXES,
        objective: str | Objective = "elbo",
        refine_steps: int = 0,
        free_bits: float = 0.0,
        encoder_steps: int = 0,
        encoder_share: float = 0.3,
        mean_norm: float | None = None,
        warn_collapse: bool = True,
        minibatches_per_step: int = MINIBATCHES_PER_STEP,
        **kwargs: Any,
    ) -> None:
        check_options(kl_warmup, lr_schedule, align_axes, minibatches_per_step)
        super().__init__(module, **kwargs)
        self.kl_schedule = as_kl_schedule(kl_schedule)
        check_one_schedule(kl_schedule, kwargs)
        if not OF_SCVI_SCHEDULE & set(kwargs):
            self.kl_warmup = kl_warmup
        self.lr_schedule = lr_schedule
        self.start_from_data = start_from_data
        self.objective = as_objective(objective, refine_steps, free_bits)
        self.encoder_first = EncoderFirst(encoder_steps, encoder_share)
        self.encoder_first.check(self.plain_module)
        self.mean_norm = None if mean_norm is None else MeanNorm(mean_norm, self.plain_module)
        self.warn_collapse = warn_collapse
        self.align_axes = align_axes
        self.minibatches_per_step = minibatches_per_step
        self._means = {"train": EpochMeans("train"), "validation": EpochMeans("validation")}
        self._n_steps = math.inf
        self.good_weights: dict[str, Tensor] = {}
        self.good_epoch = 0
        #: False while the weights are changed in several steps that belong together.
        self.is_whole = True
        self.threads = ThreadChoice([torch.get_num_threads()])

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

    @property
    def _data_of_fresh_module(self) -> CellSplitter | None:
        """The data, if a fresh module is trained on data that can be read besides."""
        data = getattr(self.trainer, "datamodule", None)
        is_fresh = getattr(self.plain_module, "is_fresh", False) and self.trainer.ckpt_path is None
        return data if isinstance(data, CellSplitter) and is_fresh else None

    def on_fit_start(self) -> None:
        """Give a fresh module its start."""
        module, data = self.plain_module, self._data_of_fresh_module
        if self.start_from_data and data is not None:
            cells = data.some_training_cells(N_CELLS)
            by_size_factor = module.use_size_factor_key
            start_from(module, GeneMoments.of(cells, by_size_factor=by_size_factor))
            start_prior(module, data)

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

    # -- a step

    def training_step(self, batch: Minibatch | list[Minibatch], batch_idx: int) -> Tensor:
        """Return the loss of a minibatch, or of the last of several, each of which updated."""
        if isinstance(batch, dict):
            loss = self._training_loss(batch, first=batch_idx == 0)
        else:
            loss = self._update(batch, first=batch_idx == 0)
        if self.trainer.is_last_batch:
            self._log_means("train", self.n_obs_training)
        return loss

    def _update(self, group: list[Minibatch], *, first: bool) -> Tensor:
        optimizer = self.optimizers()
        weights = [weight for weight in self.module.parameters() if weight.requires_grad]
        losses = []
        for i, minibatch in enumerate(group):
            self.threads.begin()
            loss = self._training_loss(minibatch, first=first and i == 0)
            for weight in weights:
                weight.grad = None
            loss.backward()
            # Lightning counts the step; what else it would do has been ruled out by the runner.
            optimizer._on_before_step()
            optimizer.optimizer.step()
            optimizer._on_after_step()
            losses.append(loss.detach())
            self.threads.end()
        if self.device.type != "cpu" and not torch.stack(losses).isfinite().all():
            raise self._locate_later(group)
        return losses[-1]

    def forward(self, minibatch: Minibatch, *args: Any, **kwargs: Any) -> Any:
        """Pass a minibatch through the module; one compiled by torch gets dense counts."""
        if self.module is self.plain_module:
            return super().forward(minibatch, *args, **kwargs)
        x = to_dense(minibatch[REGISTRY_KEYS.X_KEY])
        with plain_torch():
            return super().forward({**minibatch, REGISTRY_KEYS.X_KEY: x}, *args, **kwargs)

    def _training_loss(self, minibatch: Minibatch, *, first: bool) -> Tensor:
        x = minibatch[REGISTRY_KEYS.X_KEY]
        if "kl_weight" in self.loss_kwargs:
            self.loss_kwargs["kl_weight"] = self.kl_weight
        self._set_lr()
        with ExitStack() as stack:
            if len(x) == 1:
                stack.enter_context(frozen_batch_norm(self.module))
            if self.mean_norm is not None:
                stack.enter_context(self.mean_norm.in_place())
            step = self.global_step, self.progress
            stack.enter_context(self.encoder_first.hold(self.plain_module, *step))
            generative_outputs, losses = self.objective(self, minibatch)
        # Another device would have to be waited for; it is asked once a group of minibatches.
        at_once = self.device.type == "cpu" or self.automatic_optimization
        if at_once and not math.isfinite(losses.loss.item()):
            self._check_gradients(self.global_step - 1)
            raise locate(x, generative_outputs, losses, self.global_step, self.current_epoch)
        if first:
            # These weights have just given a finite loss, which those after an update have not.
            self.good_epoch = self.current_epoch
            weights = self.plain_module.state_dict()
            self.good_weights = {name: w.detach().clone() for name, w in weights.items()}
        self._record(losses, "train")
        return losses.loss

    def _locate_later(self, group: list[Minibatch]) -> NonFiniteLoss:
        """Look with the last good weights for what made the losses of a group not finite."""
        when = self.global_step, self.current_epoch
        self.plain_module.load_state_dict(self.good_weights)
        for minibatch in group:
            _, outputs, losses = self.forward(minibatch, loss_kwargs=self.loss_kwargs)
            if not math.isfinite(losses.loss.item()):
                return locate(minibatch[REGISTRY_KEYS.X_KEY], outputs, losses, *when)
        return NonFiniteLoss("loss", *when)

    def on_train_batch_start(self, *args: Any) -> None:
        """Note that a norm of the means is not part of the module until it is folded."""
        self.is_whole = self.mean_norm is None

    def on_train_batch_end(self, *args: Any) -> None:
        """Leave a module that needs no norm of its means."""
        if self.mean_norm is not None:
            self.mean_norm.fold()
        self.is_whole = True

    def on_train_epoch_start(self) -> None:
        """Turn the latent space of a fresh module to the axes that its prior fits best."""
        data, (first, last) = self._data_of_fresh_module, self.align_axes or (math.inf, 0)
        if data is not None and first <= self.progress <= last:
            self.is_whole = False
            align_axes(self.plain_module, data, self.device)
            self.is_whole = True

    def on_train_epoch_end(self) -> None:
        """Log the means of an epoch that ended early."""
        self._log_means("train", self.n_obs_training)

    def validation_step(self, batch: Minibatch, batch_idx: int) -> None:
        """Add a minibatch of the validation cells to the means."""
        _, _, losses = self.forward(batch, loss_kwargs=self.loss_kwargs)
        self._record(losses, "validation")

    def on_validation_epoch_end(self) -> None:
        """Log the means over the validation cells."""
        self._log_means("validation", self.n_obs_validation)

    def on_train_end(self) -> None:
        """Look at what the last update left."""
        super().on_train_end()
        self.plain_module.is_fresh = False
        if not all(torch.isfinite(weight).all() for weight in self.module.parameters()):
            self._check_gradients(self.global_step - 1)

    def _check_gradients(self, step: int) -> None:
        """Raise if the last update was by a gradient that is not finite."""
        if getattr(self.trainer.precision_plugin, "scaler", None) is not None:
            return  # in mixed precision it skips such a step, and lowers its scale
        name = non_finite_gradient(self.plain_module)
        if name is not None:
            raise NonFiniteLoss(f"gradient of {name}", step, self.current_epoch)

    @property
    def plain_module(self) -> Any:
        """The module itself, also where it was compiled."""
        return getattr(self.module, "_orig_mod", self.module)

    # -- what is logged

    def _record(self, losses: LossOutput, mode: str) -> None:
        if self.on_step:
            self._log_step(losses, mode)
        else:
            self._means[mode].add(losses)
        if not losses.extra_metrics:
            return
        for name, value in losses.extra_metrics.items():
            if not self.on_step and (not isinstance(value, Tensor) or value.ndim == 0):
                how = {"batch_size": losses.n_obs_minibatch, "sync_dist": self.use_sync_dist}
                self.log(f"{name}_{mode}", value, on_step=False, on_epoch=True, **how)
        if "z" in losses.extra_metrics:
            stage = "training" if mode == "train" else mode
            self.prepare_scib_autotune(losses.extra_metrics, stage)

    def _log_step(self, losses: LossOutput, mode: str) -> None:
        """Log each minibatch, which ``on_step=True`` asks for."""
        how = {"on_step": True, "on_epoch": self.on_epoch, "sync_dist": self.use_sync_dist}
        self.log(f"{mode}_loss", losses.loss, prog_bar=mode == "train", **how)
        if mode == "train":
            self.log("kl_weight", self.loss_kwargs.get("kl_weight", 1.0), on_step=True)
            self.trainer.logger.log_metrics({"train_loss_step": losses.loss}, self.global_step)
        metrics = self.train_metrics if mode == "train" else self.val_metrics
        self.compute_and_log_metrics(losses, metrics, mode)

    def _log_means(self, mode: str, n_total: int | None) -> None:
        means = self._means[mode].take(n_total)
        if not means:
            return
        if mode == "train" and "kl_weight" in self.loss_kwargs:
            means["kl_weight"] = float(self.loss_kwargs["kl_weight"])
        how = {"on_step": False, "on_epoch": True, "batch_size": 1}
        loss = {f"{mode}_loss": means.pop(f"{mode}_loss")}
        self.log_dict(loss, prog_bar=mode == "train", sync_dist=self.use_sync_dist, **how)
        self.log_dict(means, sync_dist=self.use_sync_dist, **how)

    # -- the optimizer

    def get_optimizer_creator(self) -> Callable[[Iterable[Tensor]], Optimizer]:
        """Return what makes the optimizer of the weights; Adam and AdamW in their fused form."""
        if self.optimizer_name not in OPTIMIZERS:
            return super().get_optimizer_creator()

        def create(parameters: Iterable[Tensor]) -> Optimizer:
            parameters = list(parameters)
            return OPTIMIZERS[self.optimizer_name](
                parameters,
                lr=self.lr,
                eps=self.eps,
                weight_decay=self.weight_decay,
                fused=getattr(self, "fused_optimizer", True) and can_fuse(parameters),
            )

        return create

"""Steps of the encoder alone, so that it does not lag behind the generative model."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from lucidvi.errors import DataError
from lucidvi.nn import frozen
from lucidvi.train.practices._practice import Practice, Training


@dataclass(eq=False)
class EncoderFirst(Practice):
    """Aggressive training of the encoder in the first part of a training.

    Early in a training the generative model changes faster than the encoder can follow; what the
    encoder says of a cell is then of no use, and the generative model learns to do without it.
    Here each update of all weights waits for ``encoder_steps`` updates of the encoder alone, each
    with a minibatch of its own. The training has as many minibatches as without.

    He et al. do so until the mutual information of cells and latent states stops rising, which is
    read off validation cells; here it is a share of the training, which needs no such cells and
    makes trainings comparable.

    Parameters
    ----------
    encoder_steps
        Updates of the encoder alone before each of all weights; zero by default, for none.
    encoder_share
        Share of the training's steps, from its start, over which the encoder has updates alone;
        0.3 by default.

    References
    ----------
    He et al., ICLR (2019), Lagging inference networks and posterior collapse in variational
    autoencoders.
    """

    encoder_steps: int = 0
    encoder_share: float = 0.3

    def __post_init__(self) -> None:
        """Check number and share."""
        if self.encoder_steps < 0:
            raise DataError(
                f"`encoder_steps` is {self.encoder_steps}; zero (for none) or more.",
                remedy='model.train(plan_kwargs={"encoder_steps": 1})',
            )
        if not 0 < self.encoder_share <= 1:
            raise DataError(
                f"`encoder_share` is {self.encoder_share}; it is a share of the training, above 0 "
                "and at most 1.",
                remedy='model.train(plan_kwargs={"encoder_steps": 1, "encoder_share": 0.3})',
            )

    def is_alone(self, step: int, progress: float) -> bool:
        """Whether a step is of the encoder alone.

        Parameters
        ----------
        step
            Number of steps before it.
        progress
            Share of the training's steps that is done, the present one included.
        """
        is_early = 0 < progress <= self.encoder_share
        return is_early and step % (self.encoder_steps + 1) < self.encoder_steps

    def check(self, module: Any) -> None:
        """Raise if the encoder of a module has nothing to learn."""
        if not any(weight.requires_grad for weight in module.encoders[0].parameters()):
            raise DataError(
                f"`encoder_steps` is {self.encoder_steps}, but the encoder's weights are frozen.",
                remedy="leave it out, model.train().",
            )

    def around_minibatch(self, training: Training) -> AbstractContextManager[None]:
        """Take all weights but the encoder's for constants, in a step of its own."""
        if not self.is_alone(training.global_step, training.progress):
            return nullcontext()
        module = training.plain_module
        return frozen(module, but=module.encoders)

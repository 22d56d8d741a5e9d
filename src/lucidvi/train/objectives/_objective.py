"""What a training maximizes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Protocol, Self

from scvi.module.base import LossOutput

from lucidvi.checks import check_keywords
from lucidvi.data import Minibatch


class Step(Protocol):
    """What an objective knows of a training: the module, and where the training is."""

    @property
    def plain_module(self) -> Any:
        """The module, a :class:`lucidvi.module.GenerativeModule`, also where it was compiled."""

    @property
    def kl_weight(self) -> float:
        """Weight of the KL term at the present step."""

    @property
    def max_kl_weight(self) -> float:
        """Weight of the KL term once it has risen."""

    @property
    def loss_kwargs(self) -> dict[str, Any]:
        """Arguments of the module's loss, such as the present weight of the KL term."""

    def forward(self, minibatch: Minibatch, *args: Any, **kwargs: Any) -> Any:
        """Pass a minibatch through the module, see :class:`scvi.module.base.BaseModuleClass`."""


@dataclass(frozen=True)
class Objective(ABC):
    """What the weights are updated for; cells that are not trained on are judged by the ELBO."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Check the names of the arguments."""
        check_keywords(cls.__name__, cls.__init__, kwargs)
        return super().__new__(cls)

    @abstractmethod
    def __call__(self, step: Step, minibatch: Minibatch) -> tuple[dict[str, Any], LossOutput]:
        """Evaluate the loss of a minibatch.

        Parameters
        ----------
        step
            The present step of the training.
        minibatch
            Cells.

        Returns
        -------
        What ``generative`` returned, and the loss, with the terms of the cells' ELBO.
        """


@dataclass(frozen=True)
class ELBO(Objective):
    """Evidence lower bound of the encoder's posterior, by one draw a cell."""

    def __call__(self, step: Step, minibatch: Minibatch) -> tuple[dict[str, Any], LossOutput]:
        """See :meth:`Objective.__call__`."""
        _, generative_outputs, losses = step.forward(minibatch, loss_kwargs=step.loss_kwargs)
        return generative_outputs, losses

"""What a training maximizes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scvi.module.base import LossOutput

from lucidvi.data import Minibatch

if TYPE_CHECKING:
    from lucidvi.train.plan._plan import TrainingPlan


@dataclass(frozen=True)
class Objective(ABC):
    """What the weights are updated for; cells that are not trained on are judged by the ELBO."""

    @abstractmethod
    def __call__(
        self, plan: TrainingPlan, minibatch: Minibatch
    ) -> tuple[dict[str, Any], LossOutput]:
        """Evaluate the loss of a minibatch.

        Parameters
        ----------
        plan
            Training plan: its ``forward`` passes a minibatch through the module, and
            ``loss_kwargs`` holds the present weight of the KL term.
        minibatch
            Cells.

        Returns
        -------
        What ``generative`` returned, and the loss, with the terms of the cells' ELBO.
        """


@dataclass(frozen=True)
class ELBO(Objective):
    """Evidence lower bound of the encoder's posterior, by one draw a cell."""

    def __call__(
        self, plan: TrainingPlan, minibatch: Minibatch
    ) -> tuple[dict[str, Any], LossOutput]:
        """See :meth:`Objective.__call__`."""
        _, generative_outputs, losses = plan.forward(minibatch, loss_kwargs=plan.loss_kwargs)
        return generative_outputs, losses

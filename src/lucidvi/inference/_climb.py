"""To the mode of each cell's posterior, by one state a step."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lucidvi.inference._target import Target

#: A cell has arrived once a step promises less than this, in nats; steps, at most.
ARRIVED, MAX_STEPS = 0.2, 15
#: Share of what a step promises that it has to keep, and the shortest share of a step.
KEPT, SHORTEST = 1e-3, 1 / 64


@dataclass(frozen=True)
class Climber:
    """Where cells are on their way up, in coordinates in which the start's covariance is one.

    Parameters
    ----------
    value, gradient
        Of the log joint, shapes ``(n_cells,)`` and ``(n_cells, n_state)``.
    position
        From the start, shape ``(n_cells, n_state)``.
    inverse
        Inverse of minus the second derivatives, as far as they are known, positive definite,
        shape ``(n_cells, n_state, n_state)``.
    share
        Length of the next step, 1 for all of it, shape ``(n_cells,)``.
    """

    value: Tensor
    gradient: Tensor
    position: Tensor
    inverse: Tensor
    share: Tensor

    def select(self, cells: Tensor) -> Climber:
        """Return some of the cells."""
        return Climber(**{name: value[cells] for name, value in vars(self).items()})

    def moved(self, step: Tensor, value: Tensor, gradient: Tensor) -> Climber:
        """Go on from where a step led, if that is higher, and learn from what was seen there."""
        promised = (step * self.gradient).sum(dim=-1)
        better = value - self.value >= KEPT * promised
        bend = self.gradient - gradient
        chosen = better[:, None]
        return Climber(
            torch.where(better, value, self.value),
            torch.where(chosen, gradient, self.gradient),
            torch.where(chosen, self.position + step, self.position),
            torch.where(better[:, None, None], _updated(self.inverse, step, bend), self.inverse),
            torch.where(better, (2 * self.share).clamp(max=1), self.share / 4),
        )


def climb(target: Target, loc: Tensor, factor: Tensor, inverse: Tensor) -> Tensor:
    r"""Climb from a state of each cell towards the mode of :math:`p(z \mid x)`.

    By the quasi-Newton method of Broyden, Fletcher, Goldfarb and Shanno, so that a step takes one
    gradient, where :func:`refine`, which needs the curvature all around, takes tens.

    Parameters
    ----------
    target
        The cells.
    loc
        Where they start, shape ``(n_cells, n_state)``.
    factor
        Factor of a covariance, in whose coordinates they walk.
    inverse
        First guess in these coordinates of the inverse of minus the second derivatives, shape
        ``(n_cells, n_state, n_state)``.

    Returns
    -------
    States, none of which has a lower density than the start.

    References
    ----------
    Nocedal and Wright, Numerical Optimization (2006).
    """

    def at(target: Target, position: Tensor, cells: Tensor) -> tuple[Tensor, Tensor]:
        z = loc[cells] + torch.einsum("nij,nj->ni", factor[cells], position)
        value, gradient = target.evaluate_with_gradient(z[None])
        return value[0], torch.einsum("nij,ni->nj", factor[cells], gradient[0])

    cells = torch.arange(len(loc), device=loc.device)
    position = torch.zeros_like(loc)
    value, gradient = at(target, position, cells)
    climber = Climber(value, gradient, position, inverse, torch.ones_like(value))
    reached = position.clone()
    for _ in range(MAX_STEPS):
        whole = torch.einsum("nij,nj->ni", climber.inverse, climber.gradient)
        promise = (whole * climber.gradient).sum(dim=-1) / 2
        on_the_way = (promise >= ARRIVED) & (climber.share > SHORTEST)
        if not on_the_way.all():
            cells, target = cells[on_the_way], target.select(on_the_way.nonzero().squeeze(-1))
            climber, whole = climber.select(on_the_way), whole[on_the_way]
        if len(cells) == 0:
            break
        step = climber.share[:, None] * whole
        climber = climber.moved(step, *at(target, climber.position + step, cells))
        reached[cells] = climber.position
    return loc + torch.einsum("nij,nj->ni", factor, reached)


def _updated(inverse: Tensor, step: Tensor, bend: Tensor) -> Tensor:
    """Return inverses that explain how a gradient changed along a step, where it bent down."""
    product = (step * bend).sum(dim=-1)
    learns = product > 1e-6 * step.norm(dim=-1) * bend.norm(dim=-1)
    product = torch.where(learns, product, 1.0)
    along = torch.einsum("nij,nj->ni", inverse, bend)
    scale = (1 + (bend * along).sum(dim=-1) / product) / product
    cross = step[:, :, None] * along[:, None, :] / product[:, None, None]
    change = scale[:, None, None] * step[:, :, None] * step[:, None, :] - cross - cross.mT
    return torch.where(learns[:, None, None], inverse + change, inverse)

"""Optimizers of torch, in their fused form."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

import torch
from torch import Tensor
from torch.optim import Optimizer

#: Devices on which torch has fused optimizers that this package uses.
FUSED_DEVICES = ("cpu", "cuda")


class _Layout:
    """What the fused update takes besides the gradients, found once and kept.

    torch copies every weight that is not contiguous, and back. Weights that are stored column by
    column are contiguous when transposed, and to an update of each entry by itself the order of
    the entries is all the same.

    Parameters
    ----------
    optimizer
        With one group of weights, of which those with a gradient are laid out.
    """

    def __init__(self, optimizer: Any) -> None:
        lists: tuple[list[Tensor], ...] = ([], [], [], [], [], [])
        optimizer._init_group(optimizer.param_groups[0], *lists)
        weights, _, *moments, steps = lists
        self.state, self.places = optimizer.state, _places(weights)
        self.turned = [w.ndim == 2 and not w.is_contiguous() for w in weights]
        for of_weights in filter(None, moments):
            for weight, moment in zip(weights, of_weights, strict=True):
                if moment.stride() != weight.stride():
                    moment.data = torch.empty_like(weight).copy_(moment)
        self.weights = self.turn(weights)
        means, squares, largest_squares = map(self.turn, moments)
        self.moments = means, squares, largest_squares
        # Views of one tensor, so that one addition counts the steps of all weights.
        self.count = torch.stack(steps)
        self.steps = list(self.count.unbind())
        for weight, step in zip(weights, self.steps, strict=True):
            self.state[weight]["step"] = step

    def holds(self, optimizer: Any, weights: list[Tensor]) -> bool:
        """Whether it still is that of these weights."""
        return self.state is optimizer.state and self.places == _places(weights)

    def turn(self, tensors: list[Tensor]) -> list[Tensor]:
        """Transpose what is stored column by column; leave an empty list as it is."""
        pairs = zip(tensors, self.turned, strict=False)
        return [tensor.t() if turned else tensor for tensor, turned in pairs]

    def gradients(self, weights: list[Tensor]) -> list[Tensor]:
        """Gradients, laid out as their weights are."""
        gradients = [cast(Tensor, weight.grad) for weight in weights]
        for i, gradient in enumerate(gradients):
            if gradient.stride() != weights[i].stride():
                gradients[i] = torch.empty_like(weights[i]).copy_(gradient)
        return self.turn(gradients)


def _places(weights: list[Tensor]) -> list[tuple[int, int]]:
    return [(id(weight), weight.data_ptr()) for weight in weights]


class _FusedMixin:
    """The fused update, called without detours."""

    _layout: _Layout | None = None

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update the weights once; see :meth:`torch.optim.Adam.step`."""
        group = self.param_groups[0]  # type: ignore[attr-defined]
        if closure is not None or not group["fused"] or len(self.param_groups) > 1:  # type: ignore[attr-defined]
            self._layout = None
            return super().step(closure)  # type: ignore[misc]
        weights = [weight for weight in group["params"] if weight.grad is not None]
        if not weights:
            return None
        if self._layout is None or not self._layout.holds(self, weights):
            self._layout = _Layout(self)
        layout = self._layout
        layout.count += 1
        update = torch._fused_adamw_ if group["decoupled_weight_decay"] else torch._fused_adam_
        beta1, beta2 = group["betas"]
        update(
            layout.weights,
            layout.gradients(weights),
            *layout.moments,
            layout.steps,
            lr=float(group["lr"]),
            beta1=beta1,
            beta2=beta2,
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            amsgrad=group["amsgrad"],
            maximize=group["maximize"],
        )
        return None


class Adam(_FusedMixin, torch.optim.Adam):
    """:class:`torch.optim.Adam`, fused where the device allows."""


class AdamW(_FusedMixin, torch.optim.AdamW):
    """:class:`torch.optim.AdamW`, fused where the device allows."""


#: The values of ``optimizer``.
OPTIMIZERS: dict[str, type[Adam] | type[AdamW]] = {"Adam": Adam, "AdamW": AdamW}


def can_fuse(parameters: list[Tensor]) -> bool:
    """Whether torch has a fused update for weights of this kind."""
    return all(p.device.type in FUSED_DEVICES and p.is_floating_point() for p in parameters)


def optimizer_creator(
    name: str, settings: Mapping[str, Any], *, fused: bool
) -> Callable[[Iterable[Tensor]], Optimizer]:
    """Return what makes an optimizer of weights.

    Parameters
    ----------
    name
        One of :data:`OPTIMIZERS`.
    settings
        Learning rate, ``betas``, ``eps`` and weight decay by name.
    fused
        Whether the update is fused where weights allow it.
    """

    def create(parameters: Iterable[Tensor]) -> Optimizer:
        parameters = list(parameters)
        return OPTIMIZERS[name](parameters, **settings, fused=fused and can_fuse(parameters))

    return create

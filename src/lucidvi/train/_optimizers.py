"""Optimizers of torch, in their fused form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

#: Devices on which torch has fused optimizers that this package uses.
FUSED_DEVICES = ("cpu", "cuda")


class _FusedMixin:
    """The fused update, called without detours.

    torch copies every weight that is not contiguous, and back. Weights that are stored column by
    column are contiguous when transposed, and to an update of each entry by itself the order of
    the entries is all the same.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update the weights once; see :meth:`torch.optim.Adam.step`."""
        group = self.param_groups[0]  # type: ignore[attr-defined]
        if closure is not None or not group["fused"] or len(self.param_groups) > 1:  # type: ignore[attr-defined]
            return super().step(closure)  # type: ignore[misc]
        lists: tuple[list[Tensor], ...] = ([], [], [], [], [], [])
        self._init_group(group, *lists)  # type: ignore[attr-defined]
        weights, gradients, means, squares, largest_squares, steps = lists
        if not weights:
            return None
        for i, weight in enumerate(weights):
            if weight.ndim == 2 and not weight.is_contiguous():
                for tensors in filter(None, lists[:-1]):
                    if tensors[i].stride() != weight.stride():
                        tensors[i].data = torch.empty_like(weight).copy_(tensors[i])
                    tensors[i] = tensors[i].t()
        torch._foreach_add_(steps, 1)
        update = torch._fused_adamw_ if group["decoupled_weight_decay"] else torch._fused_adam_
        beta1, beta2 = group["betas"]
        update(
            weights,
            gradients,
            means,
            squares,
            largest_squares,
            steps,
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

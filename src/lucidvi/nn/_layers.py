"""Fully connected layers of scvi-tools, run on sparse or dense input."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import cast

import scvi.nn
import torch
from torch import Tensor, nn
from torch.nn.functional import linear, one_hot

from lucidvi import kernels
from lucidvi.nn._batch_norm import is_shared, shared_batch_norm

#: Layers that are evaluated in one.
FUSED = ([nn.BatchNorm1d, nn.ReLU], [nn.BatchNorm1d, nn.ReLU, nn.Dropout])


def run_layers(
    layers: scvi.nn.FCLayers, x: Tensor, categories: Sequence[Tensor], rest: Sequence[Tensor] = ()
) -> Tensor:
    """Evaluate fully connected layers, as :meth:`scvi.nn.FCLayers.forward` does.

    Parameters
    ----------
    layers
        What holds the weights.
    x
        Input, dense ``(..., n_cells, n_input)`` or CSR ``(n_cells, n_input)``.
    categories
        Categorical covariates, each ``(n_cells, 1)``, shown one-hot to the first layer, and to
        the others too if the layers inject covariates.
    rest
        Further input of the first layer, each ``(..., n_cells, n)``, between the two.

    Returns
    -------
    Shape ``(..., n_cells, n_output)``.
    """
    levels = zip(layers.n_cat_list, categories, strict=False)
    covariates = [one_hot_rows(category, n) for n, category in levels if n > 1]
    for i, block in enumerate(layers.fc_layers):
        shown = [*(rest if i == 0 else ()), *(covariates if layers.inject_into_layer(i) else ())]
        product, *others = block
        x = _activate([layer for layer in others if layer is not None], _linear(product, x, shown))
    return x


def one_hot_rows(category: Tensor, n_levels: int) -> Tensor:
    """One-hot code, float, shape ``(n_cells, n_levels)``, unless it is one already."""
    if category.shape[-1] == n_levels:
        return category
    return one_hot(category.squeeze(-1).long(), n_levels).float()


def _linear(layer: nn.Linear, x: Tensor, shown: list[Tensor]) -> Tensor:
    if kernels.is_csr(x) and not shown:
        return kernels.linear(x, layer.weight, layer.bias)
    if kernels.is_csr(x):
        n = x.shape[1]
        product = kernels.linear(x, layer.weight[:, :n], layer.bias)
        shown = [covariate.to(product.dtype) for covariate in shown]
        return product + linear(torch.cat(shown, dim=-1), layer.weight[:, n:])
    if shown:
        shown = [covariate.expand(*x.shape[:-1], -1).to(x.dtype) for covariate in shown]
        x = torch.cat([x, *shown], dim=-1)
    return layer(x)


def _activate(layers: list[nn.Module], x: Tensor) -> Tensor:
    """Evaluate what follows a product: in one where that is possible, or layer by layer."""
    fused = [type(layer) for layer in layers] in FUSED and not is_shared(layers[0])
    if fused and all(layer.training and not layer._forward_hooks for layer in layers):
        norm, rate = cast(nn.BatchNorm1d, layers[0]), float(getattr(layers[-1], "p", 0.0))
        if kernels.can_activate(x, norm, rate):
            return kernels.activate(x, norm, rate)
    for layer in layers:
        if isinstance(layer, nn.BatchNorm1d) and x.ndim > 2:
            x = _normalize_samples(layer, x)
        elif is_shared(layer):
            x = shared_batch_norm(cast(nn.BatchNorm1d, layer), x)
        else:
            x = layer(x)
    return x


def _normalize_samples(layer: nn.BatchNorm1d, x: Tensor) -> Tensor:
    """Batch norm of several draws of the cells: in training each has its own statistics."""
    if layer.training:
        norm = partial(shared_batch_norm, layer) if is_shared(layer) else layer
        return torch.stack([norm(draw) for draw in x])
    return layer(x.reshape(-1, x.shape[-1])).view_as(x)

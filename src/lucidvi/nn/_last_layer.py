"""The last layer of a decoder, for who has use for what comes before it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Self

import torch
from torch import Tensor

from lucidvi.nn._decoder import Decoder
from lucidvi.nn._layers import run_layers
from lucidvi.nn._prior import Covariates


class LastLayer(NamedTuple):
    r"""A decoder of which one layer is the last: :math:`\rho = \mathrm{softmax}(W h(z) + b)`.

    What evaluates many states of a cell can leave out to hold the logits of all genes, since they
    are few numbers, :math:`h`, times the same weights.

    Parameters
    ----------
    hidden
        Takes states, ``(..., n_cells, n_latent)``, and covariates of the cells, and returns hidden
        units, ``(..., n_cells, n_hidden)``.
    weight, bias
        Of the layer: of the mean, and below it of each of ``heads``, which are layers of the same
        hidden units; ``(n_outputs, n_hidden)`` and ``(n_outputs,)``.
    heads
        Names of the parameters of the likelihood that depend on the state, too.
    parameters
        Parameters of the likelihood that do not.
    """

    hidden: Callable[[Tensor, Covariates], Tensor]
    weight: Tensor
    bias: Tensor
    heads: tuple[str, ...]
    parameters: dict[str, Tensor]

    @classmethod
    def of(
        cls,
        decoder: Decoder,
        given: Callable[[Tensor, Covariates], tuple[Tensor, ...]],
        parameters: dict[str, Tensor],
    ) -> Self | None:
        """Take a decoder apart; None where its mean is not the softmax of a layer.

        Parameters
        ----------
        decoder
            The decoder.
        given
            What it is given, of states and covariates.
        parameters
            Parameters that do not come from it.
        """
        if type(decoder) is not Decoder or decoder.mean_name != "logits":
            return None

        def hidden(z: Tensor, s: Covariates) -> Tensor:
            columns, *categories = given(z, s)
            return run_layers(decoder.px_decoder, columns, categories)

        layer, *heads = decoder.px_scale_decoder[0], *map(decoder.head, decoder.heads)
        weight, bias = layer.weight.detach(), layer.bias.detach()
        if heads:
            weight = torch.cat([weight, *(head.weight.detach() for head in heads)])
            bias = torch.cat([bias, *(head.bias.detach() for head in heads)])
        return cls(hidden, weight, bias, decoder.heads, parameters)

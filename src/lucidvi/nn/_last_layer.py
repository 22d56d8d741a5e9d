"""The last layer of a decoder, for who has use for what comes before it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Self

from torch import Tensor

from lucidvi.nn._decoder import Decoder
from lucidvi.nn._layers import run_layers


class LastLayer(NamedTuple):
    r"""A decoder of which one layer is the last: :math:`\rho = \mathrm{softmax}(W h(z) + b)`.

    What evaluates many states of a cell can leave out to hold the logits of all genes, since they
    are few numbers, :math:`h`, times the same weights.

    Parameters
    ----------
    hidden
        Hidden units of states, from ``(..., n_cells, n_latent)`` to ``(..., n_cells, n_hidden)``.
    weight, bias
        Of the layer, ``(n_genes, n_hidden)`` and ``(n_genes,)``.
    parameters
        Parameters of the likelihood besides the mean, none of which depends on the state.
    """

    hidden: Callable[[Tensor], Tensor]
    weight: Tensor
    bias: Tensor
    parameters: dict[str, Tensor]

    @classmethod
    def of(
        cls,
        decoder: Decoder,
        given: Callable[[Tensor], tuple[Tensor, ...]],
        parameters: dict[str, Tensor],
    ) -> Self | None:
        """Take a decoder apart; None where more than one layer makes its parameters.

        Parameters
        ----------
        decoder
            The decoder.
        given
            What it is given, of states.
        parameters
            Parameters that do not come from it.
        """
        if type(decoder) is not Decoder or decoder.heads or decoder.mean_name != "logits":
            return None

        def hidden(z: Tensor) -> Tensor:
            columns, *categories = given(z)
            return run_layers(decoder.px_decoder, columns, categories)

        layer = decoder.px_scale_decoder[0]
        return cls(hidden, layer.weight, layer.bias, parameters)

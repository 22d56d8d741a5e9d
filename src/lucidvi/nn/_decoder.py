"""Parameters of the likelihood p(x given z, s)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal, Self, cast

import scvi.nn
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from lucidvi.kernels import wide_linear
from lucidvi.nn._layers import run_layers
from lucidvi.nn._share import sharing, with_bias_added

#: Below this, log(softplus(x)) is x to float32, while softplus(x) underflows further down.
LOG_SOFTPLUS_LINEAR = -15.0


def log_softplus(x: Tensor) -> Tensor:
    """Log of softplus, finite for every finite ``x``."""
    return torch.where(
        x < LOG_SOFTPLUS_LINEAR, x, softplus(x.clamp(min=LOG_SOFTPLUS_LINEAR)).log()
    )


def identity(x: Tensor) -> Tensor:
    """Logits as they are; a function with a name, since a model is pickled by it."""
    return x


#: How the decoder's output becomes the mean: the name under which a likelihood takes it, and
#: the function that makes it.
SCALE_ACTIVATIONS: dict[str, tuple[str, Callable[[Tensor], Tensor]]] = {
    "softmax": ("logits", identity),
    "softplus": ("log_scale", log_softplus),
}


#: Heads that every decoder of scvi-tools has, by the parameter that they provide.
SCVI_HEADS = {"log_theta": "px_r_decoder", "zi_logits": "px_dropout_decoder"}


class Decoder(scvi.nn.DecoderSCVI):
    """Decoder of scvi-tools that returns log-space parameters: ``(z, s) -> parameters``.

    Its layers are those of :class:`scvi.nn.DecoderSCVI`, so weights move between the two
    unchanged, but only the heads that the likelihood uses are evaluated, and those that
    scvi-tools does not have are added.

    Parameters
    ----------
    n_input, n_output
        Dimensions of the input (latent state and covariates) and of the output (genes).
    heads
        Names of the likelihood's parameters besides the mean that differ from cell to cell; see
        :attr:`lucidvi.distributions.Likelihood.parameters`.
    scale_activation
        ``"softmax"`` for expression that sums to one, ``"softplus"`` where a size factor says
        what it sums to.
    **kwargs
        Passed to :class:`scvi.nn.DecoderSCVI`.
    """

    def __init__(
        self,
        n_input: int,
        n_output: int,
        *,
        heads: Sequence[str] = (),
        scale_activation: Literal["softmax", "softplus"] = "softmax",
        **kwargs: Any,
    ) -> None:
        super().__init__(n_input, n_output, scale_activation=scale_activation, **kwargs)
        self.heads = tuple(heads)
        n_hidden = self.px_scale_decoder[0].in_features
        self.added_heads = torch.nn.ModuleDict(
            {name: torch.nn.Linear(n_hidden, n_output) for name in heads if name not in SCVI_HEADS}
        )
        self.mean_name, self.mean_activation = SCALE_ACTIVATIONS[scale_activation]

    def head(self, name: str) -> torch.nn.Linear:
        """Return the layer that provides a parameter, one of ``heads``."""
        layer: Any = self.added_heads
        return getattr(self, SCVI_HEADS[name]) if name in SCVI_HEADS else layer[name]

    def shifted(self, mean: Tensor, heads: Mapping[str, float | None]) -> Self:
        """Return a decoder of the same weights whose outputs are shifted.

        Parameters
        ----------
        mean
            Shift of what the mean is made of, shape ``(n_output,)``.
        heads
            Shifts of ``heads``, by name; None for one that stays as it is. Those that are not
            named are left out.
        """
        first, *rest = self.px_scale_decoder
        shifted = sharing(
            self,
            px_scale_decoder=nn.Sequential(with_bias_added(cast(nn.Linear, first), mean), *rest),
            added_heads=sharing(self.added_heads),
        )
        shifted.heads = tuple(heads)
        for name, shift in heads.items():
            if shift is None:
                continue
            layer = with_bias_added(self.head(name), torch.tensor(shift))
            if name in SCVI_HEADS:
                setattr(shifted, SCVI_HEADS[name], layer)
            else:
                shifted.added_heads[name] = layer
        return shifted

    def forward(self, z: Tensor, *covariates: Tensor) -> dict[str, Tensor]:
        """Likelihood parameters of a minibatch.

        Parameters
        ----------
        z
            Decoder input, shape ``(..., n_cells, n_input)``.
        *covariates
            Categorical covariates, each ``(n_cells, 1)``.

        Returns
        -------
        The mean as ``logits`` or ``log_scale`` and each of ``heads``, all of shape
        ``(..., n_cells, n_output)``, by the names that the likelihoods take.
        """
        mean, heads = self.deferred(z, *covariates)
        return {name: head() if callable(head) else head for name, head in heads.items()} | mean

    def deferred(
        self, z: Tensor, *covariates: Tensor
    ) -> tuple[dict[str, Tensor], dict[str, Tensor | Callable[[], Tensor]]]:
        """Do as :meth:`forward`, and leave ``heads`` to who needs them.

        Returns
        -------
        The mean, by its name, and functions that make each of ``heads``.
        """
        hidden = run_layers(self.px_decoder, z, covariates)
        mean = self.mean_activation(_apply(self.px_scale_decoder[0], hidden))
        heads: dict[str, Tensor | Callable[[], Tensor]] = {
            name: partial(_apply, self.head(name), hidden) for name in self.heads
        }
        return {self.mean_name: mean}, heads


def _apply(layer: torch.nn.Linear, hidden: Tensor) -> Tensor:
    return wide_linear(hidden, layer.weight, layer.bias)

"""One modality of several: what encodes it, and what decodes it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lucidvi.distributions import Likelihood, Moments
from lucidvi.kernels import log1p
from lucidvi.module._drawn import made_now
from lucidvi.nn import Decoder, Encoder, Expert

#: Of one expert, the smallest variance: no modality knows a state better.
VAR_EPS = 1e-4


class Part(nn.Module):
    r"""Networks and parameters of one modality, whose means are shares of an exposure.

    Parameters
    ----------
    likelihood
        Family of the values.
    n_features
        Number of features.
    n_latent, n_hidden, n_layers
        Dimension of ``z``, width of the hidden layers, and number of them in each network.
    dropout_rate
        Dropout rate of the encoder.
    n_cat_list
        Number of levels of each categorical covariate, the batch first.
    n_continuous
        Number of continuous covariates.
    encode_covariates
        Show the covariates to the encoder too.
    """

    def __init__(
        self,
        likelihood: type[Likelihood],
        n_features: int,
        *,
        n_latent: int,
        n_hidden: int,
        n_layers: int,
        dropout_rate: float,
        n_cat_list: Sequence[int],
        n_continuous: int,
        encode_covariates: bool,
    ) -> None:
        super().__init__()
        self.likelihood = likelihood
        self.encoder = Encoder(
            n_features + n_continuous * encode_covariates,
            n_latent,
            n_cat_list=list(n_cat_list) if encode_covariates else None,
            n_layers=n_layers,
            n_hidden=n_hidden,
            dropout_rate=dropout_rate,
            # No statistics over a minibatch, in which few cells may have the modality.
            use_batch_norm=False,
            use_layer_norm=True,
            var_eps=VAR_EPS,
        )
        self.decoder = Decoder(
            n_latent + n_continuous,
            n_features,
            heads=likelihood.names("cell"),
            n_cat_list=list(n_cat_list),
            n_layers=n_layers,
            n_hidden=n_hidden,
            use_batch_norm=True,
            use_layer_norm=False,
        )
        self.parameters_of_features = nn.ParameterDict(
            {name: nn.Parameter(torch.randn(n_features)) for name in likelihood.names("gene")}
        )

    def expert(
        self, x: Tensor, present: Tensor | None, categories: Sequence[Tensor], rest: list[Tensor]
    ) -> Expert:
        """Encode values.

        Parameters
        ----------
        x
            Values (linear), CSR or dense, shape ``(n_cells, n_features)``.
        present
            Mask of the cells that have the modality; None for all.
        categories, rest
            Covariates that the encoder sees, see :meth:`lucidvi.nn.Encoder.forward`.
        """
        said: Any = self.encoder(log1p(x), *categories, rest=rest)
        precision = said.scale.square().reciprocal()
        if present is not None:
            precision = torch.where(present.unsqueeze(-1), precision, 0.0)
        return Expert(said.loc, precision)

    def decode(self, z: Tensor, categories: Sequence[Tensor], log_exposure: Tensor) -> Likelihood:
        """Return the likelihood of the values.

        Parameters
        ----------
        z
            States and continuous covariates, shape ``(..., n_cells, n)``.
        categories
            Categorical covariates, the batch first, each ``(n_cells, 1)``.
        log_exposure
            Log exposure, broadcasting to ``(..., n_cells, 1)``.
        """
        mean, heads = self.decoder.deferred(z, *categories)
        parameters = {**self.parameters_of_features, **heads}
        return self.likelihood(**mean, **made_now(parameters), log_library=log_exposure)

    @property
    def n_weights(self) -> int:
        """Number of the weights that decode the features."""
        weights: Any = self.decoder.px_scale_decoder[0].weight
        return int(weights.numel())

    def shrinkage(self, scale: float) -> Tensor:
        r"""Minus the log density of the weights of the features, but for a constant, in nats.

        .. math:: \frac{1}{2 s^2} \sum_{fk} W_{fk}^2

        Parameters
        ----------
        scale
            Standard deviation :math:`s` of their normal prior.
        """
        weights: Any = self.decoder.px_scale_decoder[0].weight
        return weights.square().sum() / (2 * scale**2)

    @torch.no_grad()
    def start_from(self, moments: Moments) -> None:
        """Set biases and parameters of features to what the training cells say.

        Parameters
        ----------
        moments
            Of the modality.
        """
        rate = moments.rate
        self._start_mean((rate / rate.sum()).log())
        self._start_parameters(moments)

    def _start_mean(self, log_mean: Tensor) -> None:
        bias = self.decoder.px_scale_decoder[0].bias
        bias.copy_(log_mean.to(bias))

    def _start_parameters(self, moments: Moments) -> None:
        for name, values in self.likelihood.start(moments).items():
            in_decoder = name in self.decoder.heads
            to = self.decoder.head(name).bias if in_decoder else self.parameters_of_features[name]
            to.copy_(values.to(to))

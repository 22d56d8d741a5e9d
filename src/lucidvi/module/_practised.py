"""What a training does to the networks of the autoencoder besides its steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from scvi import REGISTRY_KEYS
from torch import Tensor, nn

from lucidvi.distributions import LIKELIHOODS, Moments
from lucidvi.kernels import to_dense
from lucidvi.module._architecture import Architecture
from lucidvi.module._generative import Tensors
from lucidvi.module._observed import covariates
from lucidvi.nn import Covariates


class PractisedArchitecture(Architecture):
    """Networks that can start at the data, and whose latent space can be turned.

    See :class:`lucidvi.module.Startable` and :class:`lucidvi.module.Alignable`.
    """

    @property
    def n_starting_cells(self) -> int:
        """See :attr:`Startable.n_starting_cells`; it is the prior that starts at cells."""
        return self.prior.n_starting_cells

    @torch.no_grad()
    def start_from(self, moments: Mapping[str, Moments], cells: Tensors | None) -> None:
        """See :meth:`Startable.start_from`.

        Expression of genes differs by factors of thousands. A decoder whose bias is about zero has
        to learn this first, and with steps of the size of the learning rate that alone takes most
        of a training. So the biases of the decoder's heads, and the parameters of genes, start
        at those of the data, and a prior that can at some cells.
        """
        of_genes = next(iter(moments.values()))
        rate = of_genes.rate
        if self.use_size_factor_key:
            bias = torch.where(rate > 20, rate, rate.expm1().log())  # what softplus undoes
        else:
            bias = (rate / rate.sum()).log()
        _set(self.decoder.px_scale_decoder[0].bias, bias)
        for name, values in LIKELIHOODS[self.gene_likelihood].start(of_genes).items():
            if name in self.decoder.heads:
                _set(self.decoder.head(name).bias, values)
            else:
                parameter = self.gene_parameter(name)
                _set(parameter, values if parameter.ndim == 1 else values.unsqueeze(-1))
        if cells is not None:
            x = cast(Tensor, cells[REGISTRY_KEYS.X_KEY])
            self.prior.start_from(to_dense(self.encoder_input(x)), covariates(cells))

    @property
    def n_aligning_cells(self) -> int:
        """See :attr:`Alignable.n_aligning_cells`.

        The axes of a logistic normal are the corners of a simplex, and cannot be turned.
        """
        return 0 if self.latent_distribution == "ln" else self.prior.n_aligning_cells

    def align(self, loc: Tensor, scale: Tensor, s: Covariates) -> Tensor:
        """See :meth:`Alignable.align`."""
        return self.prior.align(loc, scale, s)

    @torch.no_grad()
    def turn(self, matrix: Tensor) -> None:
        r"""See :meth:`Alignable.turn`.

        The encoder's head of the means is multiplied by :math:`A`, the decoder's first layer by
        its inverse. Log variances, of which independent axes cannot hold the turned ones, become
        averages weighted by :math:`A_{kj}^2`; the training goes on from there.
        """
        mean, spread = self.z_encoder.mean_encoder, self.z_encoder.var_encoder
        mean.weight.copy_(matrix @ mean.weight)
        mean.bias.copy_(matrix @ mean.bias)
        squares = matrix.square()
        total = squares.sum(dim=1)
        shares = squares / total.unsqueeze(-1)
        spread.weight.copy_(shares @ spread.weight)
        spread.bias.copy_(shares @ spread.bias + total.log())
        first = cast(nn.Linear, self.decoder.px_decoder.fc_layers[0][0])
        latent_weight = first.weight[:, : self.n_latent]
        latent_weight.copy_(torch.linalg.solve(matrix, latent_weight, left=False))


def _set(parameter: nn.Parameter, values: Tensor) -> None:
    parameter.copy_(values.to(parameter).expand_as(parameter))

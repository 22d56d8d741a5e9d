"""What a training does to the networks of the autoencoder besides its steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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

#: Of a start at factors: factor of the weights of other units, and log variance of posteriors.
OTHERS, LOG_VARIANCE = 0.1, -2.0


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
    def n_factors(self) -> int:
        """See :attr:`Factorable.n_factors`; each takes two units of a hidden layer.

        The axes of a logistic normal are no directions, and with a size factor or a likelihood
        of other values than counts the mean is no softmax. With several batches a linear encoder,
        which is not shown the batch, would put them into the latent space, where a short training
        leaves them.
        """
        if self.n_batch > 1:
            return 0
        is_log_linear = self.latent_distribution == "normal" and not self.use_size_factor_key
        is_counts = LIKELIHOODS[self.gene_likelihood].is_counts
        return min(self.n_latent, self.n_hidden // 2) if is_log_linear and is_counts else 0

    @torch.no_grad()
    def start_from_factors(self, directions: Tensor, loadings: Tensor) -> None:
        r"""See :meth:`Factorable.start_from_factors`.

        Of two units that get :math:`a` and :math:`-a`, the rectified difference is :math:`a`
        itself, also after batch norm: so the first units of each layer carry the factors, and
        the others, with small weights, stay free to learn.
        """
        n, k = directions.shape[1], torch.arange(directions.shape[1])
        up, down = 2 * k, 2 * k + 1
        layers = cast("list[nn.Linear]", [block[0] for block in self.z_encoder.encoder.fc_layers])
        _carry(layers, directions)
        mean = self.z_encoder.mean_encoder
        mean.weight.mul_(OTHERS)
        mean.weight[:, : 2 * n] = 0
        mean.weight[k, up], mean.weight[k, down] = 1.0, -1.0
        mean.bias.zero_()
        if self.z_encoder.var_activation is torch.exp:
            self.z_encoder.var_encoder.bias.fill_(LOG_VARIANCE)
        layers = cast("list[nn.Linear]", [block[0] for block in self.decoder.px_decoder.fc_layers])
        _carry(layers, torch.eye(n))
        head = self.decoder.px_scale_decoder[0]
        head.weight.mul_(OTHERS)
        head.weight[:, up], head.weight[:, down] = (
            loadings.to(head.weight),
            -loadings.to(head.weight),
        )

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


def _carry(layers: Sequence[nn.Linear], matrix: Tensor) -> None:
    r"""Let the first units of some layers be :math:`\pm` the columns of a matrix times the input.

    Parameters
    ----------
    layers
        Linear maps of layers, in their order.
    matrix
        Shape ``(n_input, n)``; what the first layer sees besides counts for nothing.
    """
    n = matrix.shape[1]
    for layer in layers:
        pairs = torch.stack([matrix, -matrix], dim=-1).flatten(start_dim=1).T
        layer.weight[: 2 * n] = 0
        layer.weight[: 2 * n, : len(matrix)] = pairs.to(layer.weight)
        signs = torch.tensor([1.0, -1.0])
        matrix = torch.kron(torch.eye(n), signs.unsqueeze(-1))  # takes the factors out of pairs


def _set(parameter: nn.Parameter, values: Tensor) -> None:
    parameter.copy_(values.to(parameter).expand_as(parameter))

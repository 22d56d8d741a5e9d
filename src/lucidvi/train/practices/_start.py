"""Where a training starts: at the mean and the dispersion of each gene, not at random ones.

Expression of genes differs by factors of thousands. A decoder whose bias is about zero has to
learn this first, and with steps of the size of the learning rate that alone takes most of a
training.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from scvi import REGISTRY_KEYS
from torch import Tensor, nn

from lucidvi.data import Minibatch
from lucidvi.distributions import likelihood_of
from lucidvi.kernels import row_index, row_sums
from lucidvi.module import VAE


@dataclass(frozen=True)
class GeneMoments:
    """Sums over cells, from which means and other parameters of genes follow.

    These are the :class:`~lucidvi.distributions.Moments` that likelihoods ask for.

    Parameters
    ----------
    counts, squares, exposed
        Sums of counts, of their squares, and of counts times exposure, shape ``(n_genes,)``.
    exposure, squared_exposure
        Sum of the exposures and of their squares.
    """

    counts: Tensor
    squares: Tensor
    exposed: Tensor
    exposure: float
    squared_exposure: float

    @classmethod
    def of(cls, minibatches: Iterable[Minibatch], *, by_size_factor: bool) -> GeneMoments:
        """Sum over minibatches of CSR counts, in float64 on the CPU."""
        counts = squares = exposed = torch.zeros(())
        exposure = squared_exposure = 0.0
        for minibatch in minibatches:
            x = minibatch[REGISTRY_KEYS.X_KEY]
            ell = minibatch[REGISTRY_KEYS.SIZE_FACTOR_KEY] if by_size_factor else row_sums(x)
            ell = ell.flatten().cpu().double()
            genes, values = x.col_indices().cpu().long(), x.values().cpu().double()
            rows = row_index(x).cpu()
            zero = torch.zeros(x.shape[1], dtype=torch.float64)
            counts = counts + zero.index_add(0, genes, values)
            squares = squares + zero.index_add(0, genes, values.square())
            exposed = exposed + zero.index_add(0, genes, values * ell[rows])
            exposure += ell.sum().item()
            squared_exposure += ell.square().sum().item()
        return cls(counts, squares, exposed, exposure, squared_exposure)

    @property
    def rate(self) -> Tensor:
        """Mean expression a unit of exposure; half a count more, so that none is zero."""
        return (self.counts + 0.5) / self.exposure


@torch.no_grad()
def start_from(module: VAE, moments: GeneMoments) -> None:
    """Set the biases of the decoder's heads, and the parameters of genes, to those of the data.

    Parameters
    ----------
    module
        With fresh weights.
    moments
        Of the training cells.
    """
    rate = moments.rate
    if module.use_size_factor_key:
        bias = torch.where(rate > 20, rate, rate.expm1().log())  # what softplus undoes
    else:
        bias = (rate / rate.sum()).log()
    _set(module.decoder.px_scale_decoder[0].bias, bias)
    for name, values in likelihood_of(module).start(moments).items():
        if name in module.decoder.heads:
            _set(module.decoder.head(name).bias, values)
        else:
            parameter = module.gene_parameter(name)
            _set(parameter, values if parameter.ndim == 1 else values.unsqueeze(-1))


def _set(parameter: nn.Parameter, values: Tensor) -> None:
    parameter.copy_(values.to(parameter).expand_as(parameter))

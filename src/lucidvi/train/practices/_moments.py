"""Moments of the training cells, at which a training may start."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from scvi import REGISTRY_KEYS
from torch import Tensor

from lucidvi.data import Minibatch
from lucidvi.kernels import is_csr, row_index, row_sums
from lucidvi.module import Exposure, Generative, Modality, Observed


@dataclass(frozen=True)
class FeatureMoments:
    """Sums over cells, from which means and other parameters of features follow.

    These are the :class:`~lucidvi.distributions.Moments` that likelihoods ask for, in float64 on
    the CPU. Sums begin at zero.

    Parameters
    ----------
    counts, squares, exposed
        Sums of counts, of their squares, and of counts times exposure, shape ``(n_features,)``.
    exposure, squared_exposure
        Sum of the exposures and of their squares.
    """

    counts: Tensor
    squares: Tensor
    exposed: Tensor
    exposure: float = 0.0
    squared_exposure: float = 0.0

    @classmethod
    def zero(cls, n_features: int) -> FeatureMoments:
        """Return the sums over no cells."""
        return cls(*torch.zeros(3, n_features, dtype=torch.float64))

    def plus(self, x: Tensor, exposure: Tensor) -> FeatureMoments:
        """Return the sums over further cells too.

        Parameters
        ----------
        x
            Counts, CSR or dense, shape ``(n_cells, n_features)``.
        exposure
            Exposures, shape ``(n_cells, 1)``.
        """
        x = x if is_csr(x) else x.to_sparse_csr()
        ell = exposure.flatten().cpu().double()
        features, values = x.col_indices().cpu(), x.values().cpu().double()
        exposed = values * ell[row_index(x).cpu()]
        sums = [
            torch.bincount(features, weights, minlength=x.shape[1])
            for weights in (values, values.square(), exposed)
        ]
        return FeatureMoments(
            self.counts + sums[0],
            self.squares + sums[1],
            self.exposed + sums[2],
            self.exposure + ell.sum().item(),
            self.squared_exposure + ell.square().sum().item(),
        )

    @property
    def rate(self) -> Tensor:
        """Mean expression a unit of exposure; half a count more, so that none is zero."""
        return (self.counts + 0.5) / self.exposure


def moments_of(module: Generative, minibatches: Iterable[Minibatch]) -> dict[str, FeatureMoments]:
    """Sum over cells, by modality; a cell without a modality adds nothing to its sums.

    Parameters
    ----------
    module
        What says how the cells are observed.
    minibatches
        Cells, as a loader gives them.
    """
    sums = {key: FeatureMoments.zero(m.n_features) for key, m in module.modalities.items()}
    for minibatch in minibatches:
        for key, observed in module.observe(minibatch).items():
            exposure = exposure_of(module.modalities[key], observed, minibatch)
            sums[key] = sums[key].plus(observed.x, exposure)
    return sums


def exposure_of(modality: Modality, observed: Observed, minibatch: Minibatch) -> Tensor:
    """Exposure by which the means of cells are scaled, shape ``(n_cells, 1)``.

    Of a latent one the total is a first guess. Cells that lack the modality have none.
    """
    if modality.exposure is Exposure.SIZE_FACTOR:
        exposure = minibatch[REGISTRY_KEYS.SIZE_FACTOR_KEY]
    elif modality.exposure is Exposure.NONE:
        exposure = torch.ones_like(row_sums(observed.x))
    else:
        exposure = row_sums(observed.x)
    present = observed.present
    return exposure if present is None else torch.where(present.unsqueeze(-1), exposure, 0)

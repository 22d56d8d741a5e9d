"""Posterior from several encoders, each of which has seen a part of what was measured."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions import Normal


class Expert(NamedTuple):
    r"""What one encoder says of the latent states of cells: a normal, without the prior.

    Parameters
    ----------
    loc
        Mean, shape ``(n_cells, n_latent)``.
    precision
        Inverse variance, same shape; zero for cells of which the encoder has seen nothing.
    """

    loc: Tensor
    precision: Tensor


class ProductOfExperts(Normal):
    r"""Product of a standard normal and of what several encoders say.

    .. math::
        q(z \mid x) \propto \mathrm{Normal}(z; 0, I)
            \prod_m \mathrm{Normal}(z; \mu_m, \tau_m^{-1}), \quad
        \tau = 1 + \sum_m \tau_m, \quad \mu = \tau^{-1} \sum_m \tau_m \mu_m

    It has the form of the posterior itself, :math:`p(z) \prod_m p(x_m \mid z)`: who is missing
    has no factor, and nobody at all leaves the standard normal.

    Parameters
    ----------
    experts
        What each encoder says, by name; shape of all ``(n_cells, n_latent)``.

    References
    ----------
    Wu and Goodman, NeurIPS (2018), Multimodal generative models for scalable weakly-supervised
    learning.
    """

    def __init__(self, experts: Mapping[str, Expert]) -> None:
        self.experts = dict(experts)
        parts = list(self.experts.values())
        precision = sum((part.precision for part in parts[1:]), 1 + parts[0].precision)
        weighted = [part.precision * part.loc for part in parts]
        loc = sum(weighted[1:], weighted[0]) / precision
        super().__init__(loc, precision.rsqrt(), validate_args=False)

    def only(self, names: Collection[str]) -> ProductOfExperts:
        """Return the product of some of the experts alone.

        Parameters
        ----------
        names
            Which, at least one.
        """
        return ProductOfExperts({name: self.experts[name] for name in names})

    def where(self, heard: Mapping[str, Tensor]) -> ProductOfExperts:
        """Return the product in which not every expert is heard of every cell.

        Parameters
        ----------
        heard
            Masks of the cells of which an expert is heard, bool, each of shape ``(n_cells,)``.
        """
        return ProductOfExperts(
            {
                name: Expert(part.loc, torch.where(heard[name].unsqueeze(-1), part.precision, 0.0))
                if name in heard
                else part
                for name, part in self.experts.items()
            }
        )

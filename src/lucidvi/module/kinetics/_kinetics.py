"""Kinetics of splicing on a latent space: a field of velocity, and rates of genes."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import log_softmax

from lucidvi.nn import Covariates, LastLayer, Networks

#: Width and number of the hidden layers of a field.
SHAPE = (64, 2)
#: How far from zero the rate of change bends away from its bound, in units of degradation.
BEND = 0.05


def positive(x: Tensor) -> Tensor:
    r"""Smooth maximum of :math:`1 + x` and zero, above zero.

    .. math:: \frac{1 + x + \sqrt{(1 + x)^2 + 4 \epsilon^2}}{2}

    Spliced molecules of a gene cannot vanish faster than they degrade, so :math:`x \ge -1`.
    """
    y = 1 + x
    return (y + (y.square() + 4 * BEND**2).sqrt()) / 2


def log_positive_slope(x: Tensor) -> Tensor:
    r"""Return the derivative of the log of :func:`positive`."""
    return ((1 + x).square() + 4 * BEND**2).rsqrt()


class Decoded(NamedTuple):
    r"""States as the decoder sees them, and how that changes with them.

    Parameters
    ----------
    hidden
        Units :math:`h(z)` before the decoder's last layer, shape ``(n, n_hidden)``.
    jacobian
        :math:`\partial h / \partial z`, shape ``(n, n_hidden, n_latent)``.
    """

    hidden: Tensor
    jacobian: Tensor

    @classmethod
    def of(cls, last: LastLayer, z: Tensor, s: Covariates) -> Decoded:
        """Decode states up to the last layer.

        Parameters
        ----------
        last
            The decoder.
        z
            States, shape ``(n, n_latent)``.
        s
            Covariates of the cells.
        """
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            hidden = last.hidden(z, s)
            # The derivative of the product with the Jacobian by what it is multiplied with is the
            # Jacobian: a product for each number of a state, which are fewer than the units.
            weights = torch.zeros_like(hidden, requires_grad=True)
            (product,) = torch.autograd.grad(hidden, z, weights, create_graph=True)
            columns = [
                torch.autograd.grad(product[:, k].sum(), weights, retain_graph=True)[0]
                for k in range(z.shape[1])
            ]
        return cls(hidden.detach(), torch.stack(columns, dim=-1))

    def along(self, velocity: Tensor) -> Tensor:
        r"""Return :math:`\dot h`, shape ``(..., n, n_hidden)``, for ``(..., n, n_latent)``."""
        return torch.einsum("nhk,...nk->...nh", self.jacobian, velocity)


class Kinetics(nn.Module):
    r"""A field of velocity on the latent space that says which molecules are unspliced.

    Spliced molecules :math:`s` of a gene come from unspliced ones and degrade,

    .. math:: \frac{ds_g}{dt} = \beta_g u_g - \gamma_g s_g,

    so that while the state moves with the velocity :math:`v(z) = dz/dt`,

    .. math::
        \frac{u_g}{s_g} = \frac{\gamma_g}{\beta_g}
            \left(1 + \frac{1}{\gamma_g} \nabla \log s_g(z) \cdot v(z)\right)

    exactly, on and off a steady state. Of the molecules :math:`t_{ng}` of a gene in a cell, the
    unspliced ones are then binomial, with log odds

    .. math:: \eta_{ng} = a_g + \delta_{g b} + o_n + \log(1 + x_{ng})

    where :math:`x` is the term above, :math:`a_g` the log odds at rest, :math:`\delta` how much
    these differ in a batch, and :math:`o_n` what all genes of a cell have in common, such as the
    share of its nucleus, by which its totals are met. The unit of time is the mean lifetime of the
    spliced molecules of a typical gene.

    What is spliced is told given the totals, of which the state is inferred: under exchange of
    spliced and unspliced molecules neither the state nor the totals change, so that no direction
    is found where there is none. (States from the spliced counts alone share their noise, and
    give a field that contracts.)

    Several members share the genes: in each pair, one learns from a half of the genes, the other
    from the other half; so every gene has members that did not see it.

    Parameters
    ----------
    n_genes, n_hidden, n_latent, n_batch
        Sizes of the autoencoder.
    n_pairs
        Pairs of members.
    """

    velocities: Networks
    center: Tensor
    axes: Tensor
    spread: Tensor
    log_odds: Tensor
    log_rate: Tensor
    log_rate_scale: Tensor
    batch_log_odds: Tensor
    splice_weight: Tensor
    splice_bias: Tensor
    hidden_mean: Tensor
    log_ratio: Tensor
    dispersion: Tensor
    mean_log_odds: Tensor
    mean_slope: Tensor
    agreement: Tensor
    n_unspliced: Tensor
    is_used: Tensor
    learned: Tensor
    is_fitted: Tensor

    def __init__(
        self, n_genes: int, n_hidden: int, n_latent: int, n_batch: int = 1, n_pairs: int = 2
    ) -> None:
        super().__init__()
        n_members = 2 * n_pairs
        self.velocities = Networks(n_members, n_latent, n_latent, *SHAPE)
        self.velocities.requires_grad_(False)
        zeros, n_batch = torch.zeros, max(n_batch, 1)
        for name, value in {
            "center": zeros(n_latent),
            "axes": torch.eye(n_latent),
            "spread": torch.ones(()),
            "log_odds": zeros(n_members, n_genes),
            "log_rate": zeros(n_members, n_genes),
            "log_rate_scale": torch.ones(n_genes),
            # Batches last, where a query appends its own.
            "batch_log_odds": zeros(n_genes, n_batch),
            "splice_weight": zeros(n_genes, n_hidden),
            "splice_bias": zeros(n_genes),
            "hidden_mean": zeros(n_hidden),
            "log_ratio": zeros(()),
            "dispersion": torch.ones(n_genes),
            "mean_log_odds": zeros(n_genes),
            "mean_slope": zeros(n_genes),
            "agreement": zeros(n_genes),
            "n_unspliced": zeros(n_genes),
            "is_used": zeros(n_genes, dtype=torch.bool),
            "learned": zeros(n_members, n_genes, dtype=torch.bool),
            "is_fitted": torch.tensor(False),
        }.items():
            self.register_buffer(name, value)

    @property
    def n_members(self) -> int:
        """Number of members, two a pair."""
        return len(self.log_odds)

    @property
    def weights(self) -> Tensor:
        """What a molecule of a gene is worth: less if it is overdispersed, ``(n_genes,)``."""
        return self.is_used / self.dispersion

    def velocity(self, z: Tensor) -> Tensor:
        """Return the velocity of states as each member says it.

        Parameters
        ----------
        z
            States, shape ``(n, n_latent)``.

        Returns
        -------
        Latent units per lifetime of a typical gene's molecules, ``(n_members, n, n_latent)``.
        """
        x = (z - self.center) @ self.axes / self.spread
        return self.velocities(x) @ self.axes.T * self.spread

    def spliced(self, last: LastLayer) -> tuple[Tensor, Tensor]:
        """Return weights and biases from hidden units to log spliced expression.

        Parameters
        ----------
        last
            The decoder of all molecules.

        Returns
        -------
        Shapes ``(n_genes, n_hidden)`` and ``(n_genes,)``.
        """
        n_genes = len(self.splice_bias)
        share = torch.sigmoid(self.splice_bias + self.log_ratio)
        weight = last.weight[:n_genes] - share[:, None] * self.splice_weight
        bias = last.bias[:n_genes] + share * (self.splice_weight @ self.hidden_mean)
        return weight, bias + torch.log1p(-share)

    def log_spliced(self, last: LastLayer, decoded: Decoded) -> Tensor:
        """Return the log share of each gene of a cell's spliced molecules, ``(n, n_genes)``."""
        weight, bias = self.spliced(last)
        return log_softmax(decoded.hidden @ weight.T + bias, dim=-1)

    def slopes(self, last: LastLayer, decoded: Decoded, velocity: Tensor) -> Tensor:
        r"""Return :math:`\nabla \log s \cdot v`, per unit of time, ``(..., n, n_genes)``.

        Parameters
        ----------
        last
            The decoder of all molecules.
        decoded
            The states, as it sees them.
        velocity
            Shape ``(..., n, n_latent)``.
        """
        weight, _ = self.spliced(last)
        share = self.log_spliced(last, decoded).exp()
        change = decoded.along(velocity)
        mean = (change * (share @ weight)).sum(dim=-1, keepdim=True)
        return change @ weight.T - mean

    def log_odds_at_rest(self, batch: Tensor) -> Tensor:
        """Return log odds of unspliced molecules in a typical cell that does not move.

        Parameters
        ----------
        batch
            Codes of the cells' batches, shape ``(n, 1)``.

        Returns
        -------
        Shape ``(n, n_genes)``.
        """
        members = self.learned.to(self.log_odds)
        mean = (self.log_odds * members).sum(dim=0) / members.sum(dim=0).clamp(min=1)
        return mean + self.batch_log_odds.T[batch.squeeze(-1).long()] + self.log_ratio

    def rate(self) -> Tensor:
        """Return the log rate of degradation of each gene, the mean of who learned it."""
        members = self.learned.to(self.log_rate)
        return (self.log_rate * members).sum(dim=0) / members.sum(dim=0).clamp(min=1)

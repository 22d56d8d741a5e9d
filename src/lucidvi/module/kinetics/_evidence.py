"""What molecules say of a direction in which cells might move."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from lucidvi.module.kinetics._kinetics import Decoded, Kinetics, positive
from lucidvi.nn import LastLayer

#: Molecules by which the totals of a cell are pulled to the typical share.
PULL = 10.0


class Molecules(NamedTuple):
    """Molecules of some genes in some cells.

    Parameters
    ----------
    total, unspliced
        Counts, shape ``(n, n_genes)``.
    batch
        Codes of the cells' batches, shape ``(n, 1)``.
    """

    total: Tensor
    unspliced: Tensor
    batch: Tensor

    def of(self, genes: Tensor) -> Molecules:
        """Return those of some genes."""
        return Molecules(self.total[:, genes], self.unspliced[:, genes], self.batch)

    def log_ratio(self, typical: Tensor, weights: Tensor) -> Tensor:
        """Return the log of unspliced over spliced molecules of each cell, shape ``(n, 1)``.

        Parameters
        ----------
        typical
            The log of that of all cells, to which cells of few molecules are pulled.
        weights
            Of the genes, ``(n_genes,)``.
        """
        unspliced = (self.unspliced @ weights).unsqueeze(1)
        spliced = (self.total @ weights).unsqueeze(1) - unspliced
        pull = torch.exp(-typical)
        return ((unspliced + PULL) / (spliced + PULL * pull)).log()


def with_totals_met(
    log_odds: Tensor, log_spliced: Tensor, molecules: Molecules, typical: Tensor, weights: Tensor
) -> Tensor:
    r"""Add to log odds what all genes of a cell have in common, so that its totals are met.

    .. math:: \sum_g w_g s_g e^{\eta_g + o} = \frac{\sum_g w_g u_g}{\sum_g w_g (t_g - u_g)}
        \sum_g w_g s_g

    Parameters
    ----------
    log_odds, log_spliced
        Log odds of unspliced molecules, and log shares of spliced ones, ``(..., n, n_genes)``.
    molecules
        Of the same genes and cells.
    typical
        See :meth:`Molecules.log_ratio`.
    weights
        Of the genes, ``(n_genes,)``: what a molecule of each is worth.
    """
    weighted = log_spliced + weights.log()
    expected = torch.logsumexp(weighted + log_odds, dim=-1, keepdim=True)
    expected = expected - torch.logsumexp(weighted, dim=-1, keepdim=True)
    return log_odds + molecules.log_ratio(typical, weights) - expected


def log_likelihood(log_odds: Tensor, molecules: Molecules) -> Tensor:
    """Return the log probability of the unspliced molecules, but for a constant, in nats.

    Parameters
    ----------
    log_odds
        Shape ``(..., n, n_genes)``.
    molecules
        Of the same genes and cells.
    """
    u = molecules.unspliced
    return u * logsigmoid(log_odds) + (molecules.total - u) * logsigmoid(-log_odds)


def log_odds_of_member(
    kinetics: Kinetics, member: int, slopes: Tensor, batch: Tensor, genes: Tensor
) -> Tensor:
    """Return log odds of some genes as a member says them, before totals are met.

    Parameters
    ----------
    kinetics
        Field and rates.
    member
        Which of the members.
    slopes
        See :meth:`Kinetics.slopes`, of the genes, shape ``(n, n_genes)``.
    batch
        Codes of the cells' batches, shape ``(n, 1)``.
    genes
        Positions of the genes.
    """
    x = slopes * torch.exp(-kinetics.log_rate[member, genes])
    of_batch = kinetics.batch_log_odds[genes].T[batch.squeeze(-1).long()]
    return kinetics.log_odds[member, genes] + of_batch + positive(x).log()


class Evidence(NamedTuple):
    r"""What the molecules of some cells say of directions that were not learned from them.

    Of a gene whose log odds are :math:`a_g + o_n + c \, d_{ng}`, where :math:`d` is its slope
    along fields that did not learn from it, the score of :math:`c` at zero is the sum of
    :math:`r_{ng} d_{ng}`, and its variance that of :math:`v_{ng} d_{ng}^2`. Over the root of the
    latter it is a standard normal number where molecules do not know of the direction; above
    zero they speak for it, below for its reverse.

    Parameters
    ----------
    slopes
        :math:`d`, shape ``(n, n_genes)``.
    residual
        :math:`r`, how many more molecules are unspliced than at rest, over the overdispersion.
    variance
        :math:`v`, that of ``residual``.
    """

    slopes: Tensor
    residual: Tensor
    variance: Tensor

    @classmethod
    @torch.no_grad()
    def of(
        cls, kinetics: Kinetics, last: LastLayer, decoded: Decoded, z: Tensor, molecules: Molecules
    ) -> Evidence:
        """Compare molecules with those of cells at rest.

        Parameters
        ----------
        kinetics, last, decoded
            See :meth:`Kinetics.slopes`.
        z
            States, shape ``(n, n_latent)``.
        molecules
            Of all genes.
        """
        slopes = kinetics.slopes(last, decoded, kinetics.velocity(z))
        unseen = (~kinetics.learned).to(slopes)
        slopes = torch.einsum("mng,mg->ng", slopes, unseen) / unseen.sum(dim=0).clamp(min=1)
        of_batch = kinetics.batch_log_odds.T[molecules.batch.squeeze(-1).long()]
        log_spliced = kinetics.log_spliced(last, decoded)
        weights = kinetics.weights
        odds = with_totals_met(
            kinetics.mean_log_odds + of_batch, log_spliced, molecules, kinetics.log_ratio, weights
        )
        share = torch.sigmoid(odds)
        residual = weights * (molecules.unspliced - molecules.total * share)
        variance = weights * molecules.total * share * (1 - share)
        # What all genes of a cell have in common is taken from them, and so from their slopes.
        common = (variance * slopes).sum(dim=1, keepdim=True)
        common = common / variance.sum(dim=1, keepdim=True).clamp(min=1e-12)
        return cls(slopes - common, residual, variance)

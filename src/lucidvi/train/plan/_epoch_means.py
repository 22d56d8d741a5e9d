"""Means over an epoch of what each minibatch gives."""

from __future__ import annotations

import torch
from scvi.module.base import LossOutput
from torch import Tensor

from lucidvi._ranks import ALONE, Ranks

#: Numbers that are kept until they are summed.
N_KEPT = 4096


class EpochMeans:
    """Terms of the loss, kept where they are computed and read once an epoch.

    Parameters
    ----------
    mode
        ``"train"`` or ``"validation"``, with which the names end.
    """

    def __init__(self, mode: str) -> None:
        self.mode = mode
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self.terms: list[Tensor] = []
        self.sums = torch.zeros(4, dtype=torch.float64)
        self.n_cells = 0
        self.n_minibatches = 0

    def add(self, losses: LossOutput) -> None:
        """Add a minibatch."""
        n = losses.n_obs_minibatch
        kl_global = torch.as_tensor(losses.kl_global_sum, device=losses.loss.device)
        self.terms += [
            n * losses.loss.detach(),
            losses.reconstruction_loss_sum.detach(),
            losses.kl_local_sum.detach(),
            kl_global.detach(),
        ]
        self.n_cells += n
        self.n_minibatches += 1
        if len(self.terms) >= N_KEPT:
            self._sum()

    def _sum(self) -> None:
        terms = torch.stack(self.terms).cpu().double()
        self.sums = self.sums + terms.view(-1, 4).sum(dim=0)
        self.terms = []

    def take(self, n_total: int | None, ranks: Ranks = ALONE) -> dict[str, float]:
        """Return the means by scvi-tools' names, and forget them.

        Parameters
        ----------
        n_total
            Cells over which a global KL term is spread.
        ranks
            Processes whose minibatches are added to those of this one.

        Returns
        -------
        In nats a cell, but for the global KL, which is in nats. Empty if nothing was added.
        """
        if self.terms:
            self._sum()
        sums = ranks.total([*self.sums.tolist(), self.n_cells, self.n_minibatches])
        loss, reconstruction, kl_local, kl_global, n, n_minibatches = sums
        if n_minibatches == 0:
            return {}
        kl_global /= n_minibatches
        self.reset()
        return {
            f"{self.mode}_loss": loss / n,
            f"elbo_{self.mode}": (reconstruction + kl_local) / n + kl_global / (n_total or 1),
            f"reconstruction_loss_{self.mode}": reconstruction / n,
            f"kl_local_{self.mode}": kl_local / n,
            f"kl_global_{self.mode}": kl_global,
        }

"""Means over an epoch of what each minibatch gives."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

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
        self.further: defaultdict[str, CellMean] = defaultdict(CellMean)

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

    def add_further(self, name: str, mean: Tensor | float, n_cells: int) -> None:
        """Add the mean over the cells of a minibatch of something that only some modules have."""
        self.further[name].add(torch.as_tensor(mean).detach(), n_cells)

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
        *of_cells, kl_global = self.sums.tolist()
        # All processes have the same global KL, and the first one has cells of each minibatch.
        of_first = [kl_global, self.n_minibatches] if ranks.is_first else [0.0, 0.0]
        sums = ranks.total([*of_cells, self.n_cells, *of_first])
        loss, reconstruction, kl_local, n, kl_global, n_minibatches = sums
        further = self._further_means(ranks)
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
            **further,
        }

    def _further_means(self, ranks: Ranks) -> dict[str, float]:
        # A process that had no cells of a set has no names of their means either.
        names = sorted({name for own in ranks.of_all(list(self.further)) for name in own})
        means = {}
        for name in names if ranks.are_several else self.further:
            mean = self.further[name]
            total, n_cells = ranks.total([mean.total, mean.n_cells])
            means[f"{name}_{self.mode}"] = total / n_cells
        return means

    def state(self) -> dict[str, Any]:
        """Return what has been added, not summed further: sums depend on their order."""
        return {
            "terms": torch.stack(self.terms) if self.terms else torch.zeros(0),
            "sums": self.sums,
            "n_cells": self.n_cells,
            "n_minibatches": self.n_minibatches,
            "further": {name: mean.state() for name, mean in self.further.items()},
        }

    def load(self, state: dict[str, Any], device: torch.device) -> None:
        """Go on with what :meth:`state` returned."""
        self.reset()
        self.terms = list(state["terms"].to(device).unbind())
        self.sums = state["sums"]
        self.n_cells, self.n_minibatches = state["n_cells"], state["n_minibatches"]
        for name, of_name in state["further"].items():
            self.further[name].load(of_name, device)


class CellMean:
    """Sum over cells of what each minibatch gives, kept where it is computed."""

    def __init__(self) -> None:
        self.terms: list[Tensor] = []
        self.sum = 0.0
        self.n_cells = 0

    def add(self, mean: Tensor, n_cells: int) -> None:
        """Add the mean over some cells."""
        self.terms.append(n_cells * mean)
        self.n_cells += n_cells
        if len(self.terms) >= N_KEPT:
            self.sum, self.terms = self.total, []

    @property
    def total(self) -> float:
        """The sum over the cells."""
        if not self.terms:
            return self.sum
        return self.sum + torch.stack(self.terms).cpu().double().sum().item()

    def state(self) -> dict[str, Any]:
        """Return what has been added."""
        terms = torch.stack(self.terms) if self.terms else torch.zeros(0)
        return {"terms": terms, "sum": self.sum, "n_cells": self.n_cells}

    def load(self, state: dict[str, Any], device: torch.device) -> None:
        """Go on with what :meth:`state` returned."""
        self.terms = list(state["terms"].to(device).unbind())
        self.sum, self.n_cells = state["sum"], state["n_cells"]

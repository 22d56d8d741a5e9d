"""States drawn for cells, and what is decoded of them, some at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from lucidvi._brief import brief
from lucidvi.distributions import Values
from lucidvi.module._contract import checked_likelihoods
from lucidvi.nn import Covariates

#: Values, of states x features, that are decoded at once: on a CPU so few that the passes over
#: them find them in the cache, elsewhere enough to occupy the device.
BLOCK_ON_CPU, BLOCK_ELSEWHERE = 2**20, 2**25
#: Fewest states a block: with fewer, reading the decoder's weights takes most of the time.
FEWEST = 16


@dataclass(frozen=True, eq=False)
class DrawnStates:
    """States that were drawn from the posteriors of cells, each with all that decoding it needs.

    Parameters
    ----------
    module
        Module that decodes them.
    z
        Latent states before the softmax of a logistic normal, shape ``(n_states, n_latent)``.
    covariates
        Covariates by name, each of shape ``(n_states, n)``; None for those that are not there.
    log_exposures
        Log exposures by modality, each of shape ``(n_states, 1)``.
    """

    module: Any
    z: Tensor
    covariates: Covariates
    log_exposures: Mapping[str, Tensor]

    __repr__ = brief

    @classmethod
    def of(
        cls,
        module: Any,
        z: Tensor,
        covariates: Covariates,
        log_exposures: Mapping[str, Tensor],
    ) -> DrawnStates:
        """Put draws of the cells of a minibatch one below the other, draw by draw.

        Parameters
        ----------
        module
            Module that decodes them.
        z
            Latent states, shape ``([n_samples, ]n_cells, n_latent)``.
        covariates
            Covariates of the cells, each of shape ``(n_cells, n)``.
        log_exposures
            Log exposures, each of shape ``([n_samples, ]n_cells, 1)``.
        """

        def rows(values: Tensor) -> Tensor:
            return values.expand(*z.shape[:-1], values.shape[-1]).reshape(-1, values.shape[-1])

        return cls(
            module,
            rows(z),
            _each(covariates, rows),
            {key: rows(values) for key, values in log_exposures.items()},
        )

    @classmethod
    def concatenate(cls, parts: Sequence[DrawnStates]) -> DrawnStates:
        """Put the states of several minibatches one below the other."""
        first = parts[0]
        if len(parts) == 1:
            return first
        return cls(
            first.module,
            torch.cat([part.z for part in parts]),
            {name: _joined([p.covariates[name] for p in parts]) for name in first.covariates},
            {
                key: torch.cat([part.log_exposures[key] for part in parts])
                for key in first.log_exposures
            },
        )

    def __len__(self) -> int:
        return len(self.z)

    def select(self, rows: slice | Tensor) -> DrawnStates:
        """Return some of the states."""
        return replace(
            self,
            z=self.z[rows],
            covariates=_each(self.covariates, lambda values: values[rows]),
            log_exposures={key: values[rows] for key, values in self.log_exposures.items()},
        )

    def in_batch(self, code: int | None) -> DrawnStates:
        """Return the same states as of cells of another batch; None for each cell's own."""
        batch = self.covariates["batch"]
        if code is None or batch is None:
            return self
        return replace(self, covariates={**self.covariates, "batch": torch.full_like(batch, code)})

    def in_batches(self, codes: Tensor, n_cells: int) -> DrawnStates:
        """Return the same states, those of no batch of some as of cells of these, in turn.

        Parameters
        ----------
        codes
            The batches; none of them leaves the states as they are.
        n_cells
            Number of cells, of which the states are draws, draw by draw.
        """
        batch = self.covariates["batch"]
        if batch is None or not len(codes):
            return self
        codes = codes.to(batch)
        number = torch.arange(len(self), device=batch.device)
        # The draws of a cell go over the batches, and so do the cells of a draw.
        turn = (number // n_cells + number % n_cells) % len(codes)
        changed = torch.where(torch.isin(batch, codes), batch, codes[turn].unsqueeze(-1))
        return replace(self, covariates={**self.covariates, "batch": changed})

    def with_log_exposure(self, modality: str, log_exposure: Tensor) -> DrawnStates:
        """Return the same states with other exposures of a modality, ``(n_states, 1)``, log."""
        return replace(self, log_exposures={**self.log_exposures, modality: log_exposure})

    def likelihood(self, modality: str | None = None) -> Any:
        """Decode all of the states: the likelihood of a modality, by default the main one.

        Returns
        -------
        A likelihood of shape ``(n_states, n_features)``.
        """
        decoded = self.module.decode(self.z, self.covariates, self.log_exposures)
        likelihoods = checked_likelihoods(self.module, decoded, self.z)
        return likelihoods[next(iter(likelihoods)) if modality is None else modality]

    def n_features(self, modality: str | None = None) -> int:
        """Return the number of features of a modality, by default the main one."""
        modalities = self.module.modalities
        return int(modalities[next(iter(modalities)) if modality is None else modality].n_features)

    def is_normalized(self, modality: str) -> bool:
        """Return whether normalized means of a modality sum to one."""
        return bool(self.module.modalities[modality].is_normalized)

    def blocks(self, start: int = 0, stop: int | None = None) -> Iterator[slice]:
        """Yield which states to decode at once, of those from ``start`` to ``stop``."""
        width = sum(modality.n_features for modality in self.module.modalities.values())
        block = BLOCK_ON_CPU if self.z.device.type == "cpu" else BLOCK_ELSEWHERE
        size = max(FEWEST, block // width)
        stop = len(self) if stop is None else stop
        for first in range(start, stop, size):
            yield slice(first, min(first + size, stop))


def made_now(parameters: Mapping[str, Values]) -> dict[str, Any]:
    """Make parameters of a likelihood, unless no gradient is asked for: then leave it to wait."""
    if torch.is_grad_enabled():
        return {name: make() if callable(make) else make for name, make in parameters.items()}
    return {
        name: partial(_without_gradient, make) if callable(make) else make.detach()
        for name, make in parameters.items()
    }


@torch.no_grad()
def _without_gradient(make: Callable[[], Tensor]) -> Tensor:
    return make()


def _joined(parts: Sequence[Tensor | None]) -> Tensor | None:
    there = [part for part in parts if part is not None]
    return torch.cat(there) if there else None


def _each(covariates: Covariates, change: Callable[[Tensor], Tensor]) -> Covariates:
    return {
        name: None if values is None else change(values) for name, values in covariates.items()
    }

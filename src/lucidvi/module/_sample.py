"""Draws of counts, as scvi-tools' mixins ask a module for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from scvi.module.base import BaseModuleClass
from torch import Tensor

from lucidvi.module._drawn import DrawnStates
from lucidvi.module._forward import Record


class SampleMixin(BaseModuleClass):
    """The posterior predictive distribution of a module with one modality."""

    drawn: Callable[..., DrawnStates]

    @torch.inference_mode()
    def sample(
        self,
        tensors: Record,
        n_samples: int = 1,
        max_poisson_rate: float = 1e8,
        generative_kwargs: dict[str, Any] | None = None,
    ) -> Tensor:
        """Draw counts from the posterior predictive distribution.

        Parameters
        ----------
        tensors
            A minibatch.
        n_samples
            Draws a cell, each with a ``z`` of its own.
        max_poisson_rate
            Upper bound of the draws' mean, for a Poisson likelihood; never above 1e8.
        generative_kwargs
            ``transform_batch``: decode every cell as one of this batch.

        Returns
        -------
        On the CPU, shape ``(n_cells, n_genes)``, or ``(n_cells, n_genes, n_samples)`` if
        ``n_samples > 1``.
        """
        code = (generative_kwargs or {}).get("transform_batch")
        states = self.drawn(tensors, n_samples).in_batch(code)
        samples = states.likelihood().limited(max_poisson_rate).sample()
        if n_samples == 1:
            return samples.cpu()
        return samples.view(n_samples, -1, samples.shape[-1]).permute(1, 2, 0).cpu()

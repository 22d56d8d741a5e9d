"""Draws of counts, as scvi-tools' mixins ask a module for them."""

from __future__ import annotations

from typing import Any

import torch
from scvi.module.base import BaseModuleClass
from torch import Tensor

from lucidvi._compat import MODULE_KEYS
from lucidvi.module._forward import Record


class SampleMixin(BaseModuleClass):
    """The posterior predictive distribution of a module with one modality."""

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
            Passed to :meth:`generative`.

        Returns
        -------
        On the CPU, shape ``(n_cells, n_genes)``, or ``(n_cells, n_genes, n_samples)`` if
        ``n_samples > 1``.
        """
        _, generative_outputs = self.forward(
            tensors,
            inference_kwargs={"n_samples": n_samples},
            generative_kwargs=generative_kwargs,
            compute_loss=False,
        )
        samples = generative_outputs[MODULE_KEYS.PX_KEY].limited(max_poisson_rate).sample()
        return (samples.permute(1, 2, 0) if n_samples > 1 else samples).cpu()

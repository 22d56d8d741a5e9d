"""Latent states and their bounds, under the encoder's posterior or each cell's own."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import torch
from scvi.model.base import BaseModelClass, VAEMixin
from torch import Tensor

from lucidvi.inference import NormalPosterior, PosteriorTarget, refine
from lucidvi.model._cells import Cells
from lucidvi.model.posteriors._inference import size_of
from lucidvi.model.queries._arguments import to_loader, to_module
from lucidvi.model.queries._query import CELLS_BY_NAME, of_scvi_tools, query
from lucidvi.model.queries._signature import like
from lucidvi.model.queries._which_posterior import is_refined

_encoded_states = torch.inference_mode()(inspect.unwrap(VAEMixin.get_latent_representation))
_bound_of_encoder = torch.inference_mode()(inspect.unwrap(VAEMixin.get_elbo))


class LatentMixin(BaseModelClass):
    """Latent states, and bounds of the log likelihood."""

    get_reconstruction_error = of_scvi_tools(
        VAEMixin.get_reconstruction_error, needs_counts=True, passes_to=to_module
    )

    @query(passes_to=to_loader, differs=CELLS_BY_NAME)
    @like(VAEMixin.get_latent_representation, posterior="encoder")
    def get_latent_representation(self, posterior: str, **arguments: Any) -> Any:
        """Return the cells' latent states."""
        if not is_refined(posterior, "get_latent_representation", arguments):
            return _encoded_states(self, **arguments)
        adata = arguments.get("adata")
        cells: Cells = self._cells_to_infer(adata, arguments.get("indices"))
        parts = [
            _states(target, refine(target).posterior, arguments)
            for _, target in cells.targets("Refining", size_of(arguments.get("batch_size")))
        ]
        states = tuple(torch.cat(part).cpu().numpy() for part in zip(*parts, strict=True))
        return states if arguments.get("return_dist") else states[0]

    @query(needs_counts=True, passes_to=to_module, differs=CELLS_BY_NAME)
    @like(VAEMixin.get_elbo, posterior="encoder")
    def get_elbo(self, posterior: str, **arguments: Any) -> Any:
        """Return the evidence lower bound."""
        if not is_refined(posterior, "get_elbo", arguments):
            return _bound_of_encoder(self, **arguments)
        cells = (arguments.get(name) for name in ("adata", "indices"))
        refined = self.refine_posterior(*cells, batch_size=arguments.get("batch_size"))
        elbo = torch.from_numpy(np.asarray(refined.elbo))
        return elbo.mean() if arguments.get("return_mean", True) else elbo


def _states(
    target: PosteriorTarget, q: NormalPosterior, arguments: dict[str, Any]
) -> tuple[Tensor, ...]:
    """Return the states of a minibatch under normal posteriors, as scvi-tools says them."""
    if arguments.get("return_dist"):
        return target.latent(q.loc), target.latent(q.scale).square()
    if not arguments.get("give_mean", True):
        return (target.representation(q.distribution.sample()),)
    mean = target.representation(q.loc)
    if not torch.equal(mean, target.latent(q.loc)):  # a softmax, whose mean has no closed form
        draws = q.distribution.sample((arguments.get("mc_samples", 5_000),))
        mean = target.representation(draws).mean(dim=0)
    return (mean,)

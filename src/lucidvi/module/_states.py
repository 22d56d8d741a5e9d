"""States of cells: how they are drawn, and which of their numbers are exposures."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.distributions import Distribution, Normal

from lucidvi.module._contract import checked_state
from lucidvi.module._generative import Exposure, Generative, Modality, Observed
from lucidvi.nn import Covariates, StateDistribution


def draw(distribution: Distribution, n_samples: int = 1) -> Tensor:
    """Draw, differentiable, shape ``(n_cells, n)`` or ``(n_samples, n_cells, n)``."""
    if n_samples > 1 or not isinstance(distribution, Normal):
        return distribution.rsample((n_samples,) if n_samples > 1 else ())
    noise = torch.randn_like(distribution.loc)
    return torch.addcmul(distribution.loc, distribution.scale, noise)


def encoded(
    module: Generative, observed: Mapping[str, Observed], s: Covariates
) -> StateDistribution:
    """Encode cells, and draw once, as scvi-tools' ``inference`` does.

    Nobody looks at the draw; what is drawn next for a seed is as it would be after ``inference``.
    """
    posterior = checked_state(module, module.encode(observed, s), "encode")
    device = next(iter(observed.values())).x.device
    for part in (posterior.latent, posterior.log_exposures):
        if part is not None:
            torch.randn(part.batch_shape + part.event_shape, device=device)
    return posterior


def latent_exposures(modalities: Mapping[str, Modality]) -> list[str]:
    """Modalities whose exposure is part of the state, in its order."""
    return [key for key, m in modalities.items() if m.exposure is Exposure.LATENT]


def exposures(
    modalities: Mapping[str, Modality],
    observed: Mapping[str, Observed],
    log_exposures: Tensor | None,
) -> dict[str, Tensor]:
    """Log exposures by modality, ``(..., n_cells, 1)``, without the modalities that have none.

    Parameters
    ----------
    modalities, observed
        See :class:`Generative`.
    log_exposures
        Log exposures that are latent, ``(..., n_cells, n_exposures)``; None where none is.
    """
    by_key = {key: o.log_exposure for key, o in observed.items() if o.log_exposure is not None}
    if log_exposures is not None:
        columns = log_exposures.split(1, dim=-1)
        by_key |= dict(zip(latent_exposures(modalities), columns, strict=True))
    return by_key

"""What comes of a minibatch on its way through a module."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from scvi.module.base import LossOutput
from torch import Tensor

from lucidvi.module._generative import Observed
from lucidvi.nn import StateDistribution

#: Tensors and distributions by name.
Record = dict[str, Any]

#: The terms of a loss that are divergences, as scvi-tools names them.
KL_Z, KL_EXPOSURES = "kl_divergence_z", "kl_divergence_l"


class ForwardPass(NamedTuple):
    """What came of a minibatch on its way through a module.

    Parameters
    ----------
    observed
        What was observed, by modality.
    posterior, prior
        Distributions of the states.
    z
        Draws of :math:`z`, ``(..., n_cells, n_latent)``.
    log_exposures
        Draws of the latent log exposures, ``(..., n_cells, n_exposures)``; None where none is.
    likelihoods
        Likelihood of each modality at the draws, by name.
    """

    observed: Mapping[str, Observed]
    posterior: StateDistribution
    prior: StateDistribution
    z: Tensor
    log_exposures: Tensor | None
    likelihoods: Mapping[str, Any]


def loss_output(
    loss: Tensor,
    log_px_z: Mapping[str, Tensor],
    kl_z: Tensor,
    kl_exposures: Tensor,
) -> LossOutput:
    """Put a loss and its terms, each of shape ``(n_cells,)``, together for the training plan."""
    parts = list(log_px_z.values())
    means = {f"reconstruction_loss_{key}": -x.detach().mean() for key, x in log_px_z.items()}
    return LossOutput(
        loss=loss,
        reconstruction_loss=-sum(parts[1:], parts[0]),
        kl_local={KL_EXPOSURES: kl_exposures, KL_Z: kl_z},
        extra_metrics=means if len(means) > 1 else {},
    )

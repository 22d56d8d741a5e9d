"""Targets of several minibatches as one, for decoding alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.distributions import Independent, Normal

from lucidvi.inference._posterior import PosteriorTarget
from lucidvi.module import Observed


def concatenated(targets: Sequence[PosteriorTarget]) -> PosteriorTarget:
    """Return a target of the cells of several, in their order, that can decode alone.

    It has their covariates and exposures, so that it gives the likelihood at states of all of
    them. Values and posteriors are left out, so that it is small enough to be sent to a process:
    there are zeros in place of the values, and standard normals of the posteriors.

    Parameters
    ----------
    targets
        Targets of one module, at least one, of which all features were measured.
    """
    first, n_cells = targets[0], sum(target.n_cells for target in targets)
    zero = first.q0.mean.new_zeros(())
    normal = Normal(zero.expand(n_cells, first.n_state), zero + 1, validate_args=False)
    observed = {
        key: Observed(
            zero.expand(n_cells, modality.n_features),
            _stacked([target.observed[key].log_exposure for target in targets]),
        )
        for key, modality in first.module.modalities.items()
    }
    covariates = {
        key: torch.cat([target.covariates[key] for target in targets]) for key in first.covariates
    }
    q0 = Independent(normal, 1, validate_args=False)
    return replace(first, covariates=covariates, observed=observed, q0=q0)


def _stacked(columns: Sequence[Tensor | None]) -> Tensor | None:
    """Return the columns of all cells, or None where the exposure is latent."""
    values = [column for column in columns if column is not None]
    return torch.cat(values) if values else None

"""Posteriors whose parameters are taken for constants."""

from __future__ import annotations

from functools import singledispatch
from typing import Any

from torch.distributions import Distribution, Normal


@singledispatch
def stop_gradient(q: Any) -> Distribution:
    """Return a posterior whose log density has a gradient by the latent state alone.

    Parameters
    ----------
    q
        Posterior of an encoder. A new kind of posterior registers a function of its own.
    """
    raise NotImplementedError(f"No gradient of a {type(q).__name__} can be stopped.")


@stop_gradient.register
def _(q: Normal) -> Normal:
    return Normal(q.loc.detach(), q.scale.detach(), validate_args=False)

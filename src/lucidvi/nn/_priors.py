"""The priors by name."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from lucidvi.checks import did_you_mean
from lucidvi.errors import DataError
from lucidvi.nn._conditional import ConditionalNormal
from lucidvi.nn._mixture import NormalMixture
from lucidvi.nn._prior import Prior, Sizes
from lucidvi.nn._standard_normal import StandardNormal
from lucidvi.nn._vamp import VampPrior

#: The values of ``prior``.
PRIORS: dict[str, type[Prior]] = {
    "standard_normal": StandardNormal,
    "mixture": NormalMixture,
    "vamp": VampPrior,
    "conditional": ConditionalNormal,
}


def make_prior(name: str, sizes: Sizes, kwargs: Mapping[str, Any] | None = None) -> Prior:
    """Make a prior.

    Parameters
    ----------
    name
        Key of ``PRIORS``.
    sizes
        What it has to know of the model.
    kwargs
        Its own arguments, ``prior_kwargs``.

    Raises
    ------
    lucidvi.errors.DataError
        For an argument that it does not take, or a value that it cannot have.
    """
    kwargs = kwargs or {}
    known = [key for key in inspect.signature(PRIORS[name]).parameters if key != "sizes"]
    for key in kwargs:
        if key not in known:
            raise DataError(
                f"`prior_kwargs` has {key!r}, which the prior {name!r} does not take.",
                remedy=did_you_mean(
                    key, known, f"It takes {', '.join(map(repr, known)) or 'no arguments'}."
                ),
            )
    return PRIORS[name](sizes, **kwargs)

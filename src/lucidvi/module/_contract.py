"""Whether a module keeps the contract: what the methods of its author return, and are given.

Torch broadcasts some mistakes, and a modality that is not decoded is in no sum: the numbers that
come out are then those of another model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from lucidvi.checks import listed
from lucidvi.errors import DataError, ModelTypeError
from lucidvi.module._generative import Generative, Modality
from lucidvi.nn import StateDistribution


def checked_state(module: Generative, state: Any, method: str) -> StateDistribution:
    """Return a distribution of states, which has to be of the length of the module's states.

    Parameters
    ----------
    module
        Whose it is.
    state
        What the method returned.
    method
        ``"encode"`` or ``"prior_of"``.

    Raises
    ------
    lucidvi.errors.ModelTypeError
        If it is something else.
    """
    name = f"`{type(module).__name__}.{method}`"
    if not isinstance(state, StateDistribution):
        raise ModelTypeError(
            f"{name} returned a {type(state).__name__}, which is no distribution of states.",
            remedy="return lucidvi.nn.StateDistribution(latent), with the distribution of the "
            "latent log exposures, if there are any, as its second argument.",
        )
    n_exposures = 0 if state.log_exposures is None else state.log_exposures.batch_shape[-1]
    n_latent = module.n_latent
    expected = n_latent, module.n_state - n_latent
    if (state.n_latent, n_exposures) != expected:
        raise ModelTypeError(
            f"{name} returned states of {state.n_latent} latent dimensions and {n_exposures} log "
            f"exposures; the module has n_latent={n_latent} and {expected[1]} of its modalities a "
            "latent exposure.",
            remedy="return a StateDistribution with these numbers, or change `n_latent` or the "
            "exposures of `modalities`.",
        )
    return state


def checked_likelihoods(module: Generative, likelihoods: Any, z: Tensor) -> dict[str, Any]:
    """Return likelihoods, of which each modality has to have one, of its cells and features.

    Parameters
    ----------
    module
        Whose they are.
    likelihoods
        What ``decode`` returned.
    z
        What was decoded, shape ``(..., n_cells, n_latent)``.

    Raises
    ------
    lucidvi.errors.ModelTypeError
        If they are something else.
    """
    name, modalities = f"`{type(module).__name__}.decode`", module.modalities
    keys = set(likelihoods) if isinstance(likelihoods, Mapping) else set()
    if keys != set(modalities):
        raise ModelTypeError(
            f"{name} returned likelihoods of {listed(sorted(keys))}, and the modalities are "
            f"{listed(modalities)}.",
            remedy="return a dictionary with a likelihood of each modality and of no other. What "
            "a cell does not have is left out of its sum later.",
        )
    for key, px in likelihoods.items():
        shape = getattr(px, "batch_shape", None)
        expected = (z.shape[-2], modalities[key].n_features)
        # Those of scvi-tools do not say of which shape they are.
        if shape is None or (shape and tuple(shape[-2:]) != expected):
            of_shape = "" if shape is None else f" of shape {tuple(shape)}"
            raise ModelTypeError(
                f"{name} returned a {type(px).__name__}{of_shape} for {key!r}, which has "
                f"{expected[1]} features, of {expected[0]} cells.",
                remedy="return a likelihood of lucidvi.distributions whose mean has the shape "
                f"(..., {expected[0]}, {expected[1]}).",
            )
    return dict(likelihoods)


def check_observed(
    modality: Modality, x: Tensor, present: Tensor | None, features: Tensor | None
) -> None:
    """Raise :class:`DataError` where a modality of a minibatch has other shapes than it should.

    Parameters
    ----------
    modality
        Which.
    x, present, features
        See :class:`lucidvi.module.Observed`.
    """
    n_cells, n_features = x.shape[-2], modality.n_features
    shapes: dict[str, tuple[int, ...]] = {modality.field: tuple(x.shape[-2:])}
    allowed: dict[str, list[tuple[int, ...]]] = {modality.field: [(n_cells, n_features)]}
    if present is not None:
        shapes[modality.present_field] = tuple(present.shape)
        allowed[modality.present_field] = [(n_cells,)]
    if features is not None:
        shapes[modality.features_field] = tuple(features.shape)
        allowed[modality.features_field] = [(n_cells, n_features), (n_features,)]
    for field, shape in shapes.items():
        if shape not in allowed[field]:
            raise DataError(
                f"{field!r} of a minibatch has the shape {shape}; the modality {modality.key!r} "
                f"has {n_features:,} features, and the minibatch {n_cells:,} cells.",
                remedy=f"give {field!r} in the shape {' or '.join(map(str, allowed[field]))}.",
            )

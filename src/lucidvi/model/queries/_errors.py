"""What is wrong with data that a model is asked about, in terms of these data.

A model is asked with an AnnData alone: what its setup was told, such as ``layer``, cannot be told
again. So a remedy changes the AnnData, and not the setup.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from anndata import AnnData

from lucidvi.data import layer_names, place_of
from lucidvi.errors import MissingKeyError, first_few


@contextmanager
def errors_of_query(
    adata: AnnData | None, registry: Callable[[], Mapping[str, Any]]
) -> Iterator[None]:
    """Raise, if the body raises, that the AnnData lacks the model's layer, where that is so.

    Parameters
    ----------
    adata
        The cells; None, or what is no AnnData, leaves errors as they are.
    registry
        Returns the registry of the model; called if something is raised.
    """
    try:
        yield
    except (KeyError, ValueError) as error:
        if not isinstance(adata, AnnData):
            raise
        layer, layers = (registry().get("setup_args") or {}).get("layer"), layer_names(adata)
        if layer is None or layer in layers:
            raise
        raise _missing_layer(layers, layer) from error


def _missing_layer(layers: list[str], layer: str) -> MissingKeyError:
    place = place_of(layer)
    return MissingKeyError(
        f"The model takes its counts from {place}, and adata has "
        f"{'the layers ' + first_few(layers) if layers else 'no layer'}.",
        remedy=f"{place} = adata.X  # or wherever the counts are",
    )

"""What is said of data to train on, turned into what helps with data that a model is asked about.

A model is asked with an AnnData alone: what its setup was told (`layer`, `batch_key`) cannot be
told again. So a remedy changes the AnnData, and not the setup.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from anndata import AnnData

from lucidvi.data import place_of
from lucidvi.errors import LucidVIError, MissingKeyError, first_few

SETUP = re.compile(r'SCVI\.setup_anndata\(adata(?:, layer="(?P<layer>[^"]*)")?[^)]*\)')
CONTINUOUS = re.compile(r"\s*(?:If the values are meant to be continuous|[^.]*is_count_data).*$")


@contextmanager
def errors_of_query(
    adata: AnnData | None, registry: Callable[[], Mapping[str, Any]]
) -> Iterator[None]:
    """Raise what the body raises in terms of the AnnData that a model is asked about.

    Parameters
    ----------
    adata
        The cells; None, or what is no AnnData, leaves errors as they are.
    registry
        Returns the registry of the model; called if something is raised.
    """
    if not isinstance(adata, AnnData):
        yield
        return
    try:
        yield
    except (KeyError, ValueError) as error:
        arguments = registry().get("setup_args") or {}
        better: LucidVIError | None = _missing_layer(adata, arguments)
        if better is None and isinstance(error, LucidVIError):
            remedy = _remedy(error.remedy, arguments.get("layer"))
            better = type(error)(error.problem, remedy=remedy) if remedy != error.remedy else None
        if better is None:
            raise
        raise better from error


def _missing_layer(adata: AnnData, arguments: Mapping[str, Any]) -> MissingKeyError | None:
    """Return the error for a layer of the setup that is not there."""
    layer = arguments.get("layer")
    layers = [name for name in adata.layers if name is not None]
    if layer is None or layer in layers:
        return None
    place = place_of(layer)
    return MissingKeyError(
        f"The model takes its counts from {place}, and adata has "
        f"{'the layers ' + first_few(layers) if layers else 'no layer'}.",
        remedy=f"{place} = adata.X  # or wherever the counts are",
    )


def _remedy(remedy: str, layer: str | None) -> str:
    """Return a remedy that changes the AnnData in place of the setup."""
    here = "adata.X" if layer is None else f'adata.layers["{layer}"]'

    def assignment(match: re.Match[str]) -> str:
        name = match["layer"]
        there = {None: "adata.X", "raw": "adata.raw[:, adata.var_names].X"}.get(
            name, f'adata.layers["{name}"]'
        )
        return f"{here} = {there}"

    return SETUP.sub(assignment, CONTINUOUS.sub("", remedy))

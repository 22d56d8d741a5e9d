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

from lucidvi.checks import nearest
from lucidvi.errors import DataError, LucidVIError, MissingKeyError, first_few
from lucidvi.model._arguments import equal, listed, plain, user_columns

#: Arguments of the setup that name columns of ``obs``.
COLUMNS = (
    "batch_key",
    "labels_key",
    "size_factor_key",
    "categorical_covariate_keys",
    "continuous_covariate_keys",
)
SETUP = re.compile(r'SCVI\.setup_anndata\(adata(?:, layer="(?P<layer>[^"]*)")?[^)]*\)')
CONTINUOUS = re.compile(r"\s*(?:If the values are meant to be continuous|[^.]*is_count_data).*$")
#: How scvi-tools says that a column, and one of several, has a category that a model lacks.
UNKNOWN_CATEGORY = ("not found in source registry", "categorical failed. Expected categories")


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
        better: LucidVIError | None = _missing(adata, arguments)
        if better is None and any(text in str(error) for text in UNKNOWN_CATEGORY):
            better = unknown_categories(adata, registry())
        if better is None and isinstance(error, LucidVIError):
            remedy = _remedy(error.remedy, arguments.get("layer"))
            better = type(error)(error.problem, remedy=remedy) if remedy != error.remedy else None
        if better is None:
            raise
        raise better from error


def _missing(adata: AnnData, arguments: Mapping[str, Any]) -> MissingKeyError | None:
    """Return the error for a layer or a column of the setup that is not there."""
    layer = arguments.get("layer")
    layers = [name for name in adata.layers if name is not None]
    if layer is not None and layer not in layers:
        place = f'adata.layers["{layer}"]'
        return MissingKeyError(
            f"The model takes its counts from {place}, and adata has "
            f"{'the layers ' + first_few(layers) if layers else 'no layer'}.",
            remedy=f"{place} = adata.X  # or wherever the counts are",
        )
    for argument in COLUMNS:
        keys = arguments.get(argument) or []
        for key in [keys] if isinstance(keys, str) else keys:
            if key not in adata.obs:
                return _missing_column(adata, argument, key)
    return None


def _missing_column(adata: AnnData, argument: str, key: str) -> MissingKeyError:
    place = f'adata.obs["{key}"]'
    close = nearest(key, user_columns(adata))
    remedy = f"{place} = ...  # a value for each cell, as the model was trained on them"
    if close:
        remedy = " or ".join(f'{place} = adata.obs["{name}"]' for name in close)
    return MissingKeyError(
        f"The model was set up with {argument}, and reads it from {place}, which adata does not "
        f"have. There are the columns {first_few(user_columns(adata), 20) or '(none)'}.",
        remedy=remedy,
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


def unknown_categories(adata: AnnData, registry: Mapping[str, Any]) -> DataError | None:
    """Return the error for categories of an AnnData that a model does not have, if there are."""
    arguments = registry.get("setup_args") or {}
    for argument, key, known in _categories(arguments, registry.get("field_registries", {})):
        values = adata.obs[key].drop_duplicates().tolist()
        unknown = [value for value in values if not any(equal(value, name) for name in known)]
        if unknown:
            place = f'adata.obs["{key}"]'
            remedy = (
                f"give the cells the known value that comes closest, {place} = "
                f"{plain(known[0])!r}, or leave them out."
            )
            if argument == "batch_key":
                remedy = (
                    "train on the new batch, `model = SCVI.load_query_data(adata, model)` and "
                    "`model.train()`, or have `lucidvi.atlas.Reference.map` learn it; or decode "
                    f"as a batch that the model knows, {place} = {plain(known[0])!r}."
                )
            return DataError(
                f"{argument}: {place} has values that the model was not trained on, "
                f"{listed(unknown)}. It knows {listed(known)}. (Category {UNKNOWN_CATEGORY[0]}.)",
                remedy=remedy,
            )
    return None


def _categories(
    arguments: Mapping[str, Any], fields: Mapping[str, Any]
) -> Iterator[tuple[str, str, list[Any]]]:
    """Yield the argument, the column and the model's categories of each column that has some."""
    for argument, field in (("batch_key", "batch"), ("labels_key", "labels")):
        if arguments.get(argument) is not None:
            known = fields[field]["state_registry"]["categorical_mapping"]
            yield argument, arguments[argument], list(known)
    mappings = fields.get("extra_categorical_covs", {}).get("state_registry", {}).get("mappings")
    for key, known in (mappings or {}).items():
        yield "categorical_covariate_keys", key, list(known)

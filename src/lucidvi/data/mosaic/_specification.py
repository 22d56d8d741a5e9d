"""What a user says of each modality, and whether it can be meant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Protocol

import numpy as np
import pandas as pd
from anndata import AnnData
from mudata import MuData
from scvi import REGISTRY_KEYS

from lucidvi.checks import check_arguments, check_choice, is_number, listed
from lucidvi.data._remedies import quoted
from lucidvi.data.checks._features import GENES, OTHERS
from lucidvi.errors import DataError

#: Registry keys of what is registered beside the counts of modalities.
RESERVED = {
    REGISTRY_KEYS.X_KEY,
    REGISTRY_KEYS.BATCH_KEY,
    REGISTRY_KEYS.LABELS_KEY,
    REGISTRY_KEYS.CAT_COVS_KEY,
    REGISTRY_KEYS.CONT_COVS_KEY,
    REGISTRY_KEYS.SIZE_FACTOR_KEY,
    REGISTRY_KEYS.INDICES_KEY,
    REGISTRY_KEYS.LATENT_QZM_KEY,
    REGISTRY_KEYS.LATENT_QZV_KEY,
    REGISTRY_KEYS.OBSERVED_LIB_SIZE,
    REGISTRY_KEYS.MINIFY_TYPE_KEY,
}
#: What follows from the kind.
OF_KIND = ("needs_counts", "counts_fragments", "has_panels")
#: Words for what was measured.
MEASURED = ("all", "found")
#: Kinds by the names that modalities usually have.
USUAL_KINDS = {"prot": "protein", "atac": "accessibility"}


class MeasuredKind(Protocol):
    """What the data have to know of a kind of modality."""

    @property
    def needs_counts(self) -> bool:
        """Whether a cell that has it has to have a count of it, as its exposure is its total."""

    @property
    def counts_fragments(self) -> bool:
        """Whether its counts should be those of fragments, of which each gives two reads."""

    @property
    def has_panels(self) -> bool:
        """Whether it is measured with a panel, so that zeros of a whole batch are a question."""


@dataclass(frozen=True, eq=False)
class Specification:
    """What is said of one modality.

    Parameters
    ----------
    name
        Its name.
    kind
        What it is, such as ``"protein"``.
    needs_counts, counts_fragments, has_panels
        See :class:`MeasuredKind`.
    layer
        Layer that holds its counts; None for ``X``.
    likelihood
        Name of its likelihood; None for the kind's.
    measured
        Which features were measured: ``"all"``, so that every zero is one; ``"found"``, so that a
        feature without a count in a batch was not measured there; names of features by batch;
        or a boolean data frame of batches and features. None asks where it is open.
    obsm
        Of an AnnData: key of ``obsm`` that holds its counts.
    names
        Of an array in ``obsm``: names of its features, or the key of ``uns`` that holds them.
    weight
        Weight of its log likelihood in a training.
    """

    name: str
    kind: str
    needs_counts: bool = False
    counts_fragments: bool = False
    has_panels: bool = False
    layer: str | None = None
    likelihood: str | None = None
    measured: Any = None
    obsm: str | None = None
    names: Any = None
    weight: float = 1.0

    @property
    def argument(self) -> str:
        """How it is called in an error."""
        return f"modalities[{quoted(self.name)}]"

    def plain(self) -> dict[str, Any]:
        """Return it in plain types, without its name, as it can be said again."""
        arguments = {name: getattr(self, name) for name in parameters()}
        if not isinstance(self.names, str | None):
            arguments["names"] = list(map(str, self.names))
        if not isinstance(self.measured, str | None):
            by_batch = self.measured_by_batch().items()
            arguments["measured"] = {
                str(batch): list(map(str, names)) for batch, names in by_batch
            }
        return arguments

    def measured_by_batch(self) -> dict[Any, Any]:
        """Return the names of the features that were said to be measured in each batch."""
        if isinstance(self.measured, pd.DataFrame):
            rows = zip(self.measured.index, self.measured.to_numpy(), strict=True)
            return {batch: list(self.measured.columns[row]) for batch, row in rows}
        return dict(self.measured)

    def changed(self, **changes: Any) -> str:
        """Return the argument ``modalities`` of this modality with some changes, as code."""
        arguments = {name: value for name, value in self.plain().items() if value is not None}
        arguments |= changes
        if arguments.get("weight") == 1:
            del arguments["weight"]
        entries = ", ".join(f"{quoted(key)}: {quoted(value)}" for key, value in arguments.items())
        return f"{self.argument} = {{{entries}}}"


def specifications(
    modalities: Mapping[str, Any], kinds: Mapping[str, MeasuredKind], data: Any = None
) -> dict[str, Specification]:
    """Return what is said of the modalities, by name, the main one first.

    Parameters
    ----------
    modalities
        For each modality its kind, or a dictionary of the parameters of :class:`Specification`.
    kinds
        The kinds that there are, by name.
    data
        Cells, a MuData or an AnnData, from which a remedy takes names.

    Raises
    ------
    lucidvi.errors.DataError
        If it is no such dictionary, or a value cannot be meant.
    lucidvi.errors.ArgumentError
        If it names a parameter that does not exist.
    """
    if not isinstance(modalities, Mapping) or not modalities:
        usual = _usual(data)
        raise DataError(
            f"`modalities` is {modalities!r}; it says of each modality what it is.",
            remedy=f"modalities={usual}, each one of {listed(kinds)}.",
        )
    return {name: _specification(name, value, kinds) for name, value in modalities.items()}


def _usual(data: Any) -> str:
    names = list(data.mod) if isinstance(data, MuData) else ["rna"]
    if isinstance(data, AnnData):
        names += [name for name in data.obsm if not name.startswith(("X_", "_scvi"))]
    kinds = {}
    for name in names:
        usual = "rna" if name.lower() in GENES else OTHERS.get(name.lower(), "protein")
        kinds[name] = USUAL_KINDS.get(usual, usual)
    return "{" + ", ".join(f"{quoted(name)}: {quoted(kind)}" for name, kind in kinds.items()) + "}"


def _specification(name: Any, value: Any, kinds: Mapping[str, MeasuredKind]) -> Specification:
    _check_name(name)
    argument = f"modalities[{quoted(name)}]"
    if not isinstance(value, Mapping):
        check_choice(argument, value, kinds, "a dictionary")
        return _of_kind(name, kinds, kind=value)
    check_arguments(f"`{argument}`", value, parameters())
    if "kind" not in value:
        raise DataError(
            f"`{argument}` is {dict(value)!r}, without a kind.",
            remedy=f'"kind": one of {listed(kinds)}.',
        )
    check_choice(f'{argument}["kind"]', value["kind"], kinds)
    specification = _of_kind(name, kinds, **value)
    _check_values(specification)
    return specification


def _of_kind(name: str, kinds: Mapping[str, MeasuredKind], **arguments: Any) -> Specification:
    kind = kinds[arguments["kind"]]
    of_kind = {key: getattr(kind, key) for key in OF_KIND}
    return Specification(name, **of_kind, **arguments)


def parameters() -> list[str]:
    """Names of what can be said of a modality."""
    return [f.name for f in fields(Specification) if f.name not in ("name", *OF_KIND)]


def _check_name(name: Any) -> None:
    if not isinstance(name, str) or not name or "/" in name:
        raise DataError(
            f"`modalities` has a modality named {name!r}.",
            remedy="names are text without a slash, which files could not keep.",
        )
    if name in RESERVED:
        raise DataError(
            f"`modalities` has a modality named {name!r}, as scvi-tools calls data of its own.",
            remedy=f"rename it: mdata = mudata.MuData({{... {quoted(name + '_counts')}: "
            f"mdata.mod[{quoted(name)}]}}).",
        )


def _check_values(specification: Specification) -> None:
    argument, weight = specification.argument, specification.weight
    if not is_number(weight) or weight <= 0:
        raise DataError(
            f'`{argument}["weight"]` is {weight!r}.', remedy="Give a positive, finite number."
        )
    for key in ("layer", "obsm", "likelihood"):
        value = getattr(specification, key)
        if not isinstance(value, str | None):
            raise DataError(
                f'`{argument}["{key}"]` is {value!r}.', remedy=f'Give one name: "{key}": "name".'
            )
    measured = specification.measured
    if isinstance(measured, str):
        check_choice(f'{argument}["measured"]', measured, MEASURED, "names of features by batch")
    elif not isinstance(measured, Mapping | pd.DataFrame | None):
        raise DataError(
            f'`{argument}["measured"]` is a {type(measured).__name__}.',
            remedy='Give "all", "found", {batch: [names of features]}, or a boolean data frame of '
            "batches and features.",
        )
    if isinstance(measured, pd.DataFrame) and not (measured.dtypes == np.bool_).all():
        raise DataError(
            f'`{argument}["measured"]` is a data frame that is not boolean.',
            remedy="Give True where a batch (row) measured a feature (column): "
            "frame.astype(bool).",
        )

"""What is said of modalities that are joined already."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from anndata import AnnData

from lucidvi.checks import check_choice
from lucidvi.data._remedies import quoted
from lucidvi.data.modalities._registered import read_modalities, write_modalities
from lucidvi.data.mosaic._specification import MeasuredKind, specifications
from lucidvi.errors import DataError

#: What of a modality can be said anew: it does not change how counts are read.
ANEW = ("likelihood", "weight")


def change(
    joined: AnnData, modalities: Mapping[str, Any], kinds: Mapping[str, MeasuredKind]
) -> None:
    """Say anew which likelihood and weight some modalities of joined cells have.

    Parameters
    ----------
    joined
        Cells as :func:`~lucidvi.data.join` returns them; their ``uns`` is written to.
    modalities
        Kinds, or dictionaries with ``likelihood`` and ``weight``, by name.
    kinds
        What kinds of modalities there are.

    Raises
    ------
    lucidvi.errors.DataError
        If there is no such modality, or something else is to be changed.
    """
    stored = read_modalities(joined)
    asked: dict[str, Any] = {}
    for name, value in modalities.items():
        check_choice("modalities", name, stored)
        known = stored[name].specification
        wanted = dict(value) if isinstance(value, Mapping) else {"kind": value}
        for key, other in wanted.items():
            if key not in ANEW and known.get(key) != other:
                raise DataError(
                    f"`modalities[{quoted(name)}]` says {key} {other!r} of cells that were joined "
                    f"with {known.get(key)!r}.",
                    remedy=f"of joined cells, say {' and '.join(ANEW)} alone; or set up the "
                    "MuData or AnnData that they were joined of.",
                )
        asked[name] = {"kind": stored[name].kind} | {k: v for k, v in wanted.items() if k in ANEW}
    specifications(asked, kinds)  # raises where a value is none
    for name, wanted in asked.items():
        specification = {**stored[name].specification, **wanted}
        stored[name] = replace(stored[name], specification=specification)
    write_modalities(joined, stored)

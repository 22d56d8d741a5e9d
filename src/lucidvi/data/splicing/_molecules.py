"""What a reader returns of one tool's files, and what the table has to know of a format."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from lucidvi.errors import DataError, MissingKeyError


@dataclass(frozen=True, eq=False)
class Layer:
    """Values of one kind of molecules, as they were read.

    Parameters
    ----------
    place
        Where they were read, for errors: a file, or a layer of one.
    values
        Numbers of molecules, numpy or sparse, ``(n_cells, n_genes)``.
    """

    place: str
    values: Any


@dataclass(frozen=True, eq=False, kw_only=True)
class Molecules:
    """What one tool counted.

    Parameters
    ----------
    layers
        By kind: ``"spliced"``, ``"unspliced"`` and, if the tool counted any, ``"ambiguous"``. Who
        converts them takes them out, so that few are in memory twice.
    cells, genes
        ``obs`` and ``var``, with the names of cells and genes as their index.
    place_of_cells, place_of_genes
        Where these names were read.
    ambiguous
        What is done with ambiguous molecules where the user does not say: see
        :func:`~lucidvi.data.read_splicing`.
    """

    layers: dict[str, Layer]
    cells: pd.DataFrame
    genes: pd.DataFrame
    place_of_cells: str
    place_of_genes: str
    ambiguous: str = "apart"

    def check_shapes(self) -> None:
        """Raise :class:`~lucidvi.errors.DataError` unless all is of the same cells and genes."""
        shapes = {layer.place: layer.values.shape for layer in self.layers.values()}
        (first, shape), *others = shapes.items()
        for place, other in others:
            if other != shape:
                raise DataError(
                    f"{first} has {_said(shape)}, but {place} has {_said(other)}.",
                    remedy="Take all of them from one run: copy them again, or count again.",
                )
        named = (
            ("cells", self.place_of_cells, len(self.cells), shape[0]),
            ("genes", self.place_of_genes, len(self.genes), shape[1]),
        )
        for what, place, n_names, n_counted in named:
            if n_names != n_counted:
                raise DataError(
                    f"{place} names {n_names:,} {what}, but {first} has counts of {n_counted:,}.",
                    remedy="Take both from one run: copy them again, or count again.",
                )


@dataclass(frozen=True)
class Format:
    """How the files of one tool are found and read.

    Parameters
    ----------
    paths
        What a user may give, in words.
    find
        Returns the file or folder to read for a path that exists; None if there is none.
    read
        Reads it.
    """

    paths: str
    find: Callable[[Path], Path | None]
    read: Callable[[Path], Molecules]


@dataclass(frozen=True)
class Naming:
    """How a file of several layers calls them.

    Parameters
    ----------
    spliced, unspliced
        Names of the two layers. Ambiguous molecules are ``"ambiguous"`` everywhere.
    ambiguous
        See :class:`Molecules`.
    """

    spliced: str
    unspliced: str
    ambiguous: str

    @classmethod
    def among(cls, layers: list[str], place: str) -> Naming:
        """Return how layers are named; raise if there are not both kinds.

        Parameters
        ----------
        layers
            Names of the layers that there are.
        place
            The file.
        """
        for naming in NAMINGS:
            if naming.spliced in layers and naming.unspliced in layers:
                return naming
        pairs = ", or ".join(f"{n.spliced!r} and {n.unspliced!r}" for n in NAMINGS)
        there = ", ".join(map(repr, layers)) or "none"
        raise MissingKeyError(
            f"{place} lacks spliced or unspliced counts: it needs the layers {pairs}; it has "
            f"{there}.",
            remedy="Count with a workflow that tells them apart, such as "
            "`kb count --workflow nac` or `velocyto run`. Where kb wrote matrices beside it, "
            "give their folder.",
        )

    def kinds(self, layers: list[str]) -> dict[str, str]:
        """Return the names of layers by kind, ambiguous ones if there are any."""
        kinds = {"spliced": self.spliced, "unspliced": self.unspliced}
        return kinds | ({"ambiguous": "ambiguous"} if "ambiguous" in layers else {})


#: In the order in which they are looked for: kb's own, and that of everybody else.
NAMINGS = (Naming("mature", "nascent", "spliced"), Naming("spliced", "unspliced", "apart"))


def _said(shape: tuple[int, int]) -> str:
    return f"{shape[0]:,} cells and {shape[1]:,} genes"

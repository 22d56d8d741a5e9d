"""Spliced and unspliced counts of any tool as one AnnData."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

import numpy as np
from anndata import AnnData
from scipy import sparse

from lucidvi._progress import Progress
from lucidvi.checks import check_choice
from lucidvi.data.splicing._counts import integer_counts
from lucidvi.data.splicing._files import contents
from lucidvi.data.splicing._molecules import Layer, Molecules
from lucidvi.data.splicing._table import FORMATS
from lucidvi.errors import DataError, FileError, MissingKeyError

#: Where ambiguous molecules can be counted.
PLACES = ("spliced", "unspliced", "apart")


def read_splicing(
    path: str | PathLike[str], format: str | None = None, ambiguous: str | None = None
) -> AnnData:
    """Read spliced and unspliced counts as kb, STARsolo or velocyto write them.

    Parameters
    ----------
    path
        The folder or file that the tool wrote:

        - ``"kb"``: the folder of ``kb count``, or ``counts_filtered`` or ``counts_unfiltered`` in
          it, or an ``.h5ad``. Of a folder, the matrices are read, which are always there.
        - ``"starsolo"``: ``Solo.out``, or ``Velocyto``, ``filtered`` or ``raw`` in it. Files may
          be compressed (``.gz``), and may be those of STAR before 2.7.8a.
        - ``"loom"``: a ``.loom`` of velocyto, or of kb.

        Of a folder that has both, the filtered cells are read.
    format
        Which of these it is; by default, found from the path.
    ambiguous
        What is done with molecules that may be spliced or not: ``"spliced"`` or ``"unspliced"``
        adds them to these, ``"apart"`` leaves them out of both. By default, they count as spliced
        where the tool tells ``mature`` from ``nascent`` molecules (kb's ``nac``), because it takes
        every molecule that lies within an exon for ambiguous; kb's authors advise this for cells,
        and ``"unspliced"`` for nuclei. Others stay apart, as in velocyto and scVelo.

    Returns
    -------
    AnnData
        Integer counts (CSR, int32) in the layers ``"spliced"``, ``"unspliced"`` and
        ``"ambiguous"``, and a copy of the spliced ones in ``X``. The layer ``"ambiguous"`` is
        always as the tool counted, and is missing where it counts none (kb's ``lamanno``).

        ``obs_names`` are barcodes as the tool wrote them: velocyto's begin with the sample
        (``"sample:AAACx"``), kb's of several samples with the prefix of the sample. ``var_names``
        are names of genes as written, or identifiers where no names were. They may repeat:
        ``adata.var_names_make_unique()`` is for models, which refuse that. ``var["gene_ids"]`` are
        identifiers, if they are known. Further columns are those of the file.

    Raises
    ------
    lucidvi.errors.FileError
        If there are no such files, one of them is missing, or one is damaged.
    lucidvi.errors.MissingKeyError
        If a file has no layer of spliced or of unspliced counts, or none of those asked for.
    lucidvi.errors.DataError
        If matrices and names do not go together, or a value is no number of molecules.

    References
    ----------
    La Manno et al., RNA velocity of single cells, Nature 560 (2018). Sullivan et al., kallisto,
    bustools and kb-python for quantifying bulk, single-cell and single-nucleus RNA-seq, Nature
    Protocols 20 (2025). Kaminow et al., STARsolo, bioRxiv 2021.05.05.442755.

    Examples
    --------
    >>> from lucidvi.data import read_splicing
    >>> adata = read_splicing("Solo.out/Velocyto/raw")  # doctest: +SKIP
    >>> nuclei = read_splicing("run/counts_unfiltered", ambiguous="unspliced")  # doctest: +SKIP
    """
    if format is not None:
        check_choice("format", format, FORMATS)
    if ambiguous is not None:
        check_choice("ambiguous", ambiguous, PLACES)
    name, place = _found(Path(path).expanduser(), format)
    with Progress("Reading molecules", slow_steps=True) as progress:
        molecules = FORMATS[name].read(place)
        molecules.check_shapes()
        cells, genes = molecules.cells, molecules.genes
        counts = {}
        for kind in list(molecules.layers):
            progress.now(kind)
            layer = molecules.layers.pop(kind)
            counts[kind] = integer_counts(layer, cells.index, genes.index)
        if not counts["spliced"].nnz and not counts["unspliced"].nnz:
            raise _nothing(place)
        _add_ambiguous(counts, ambiguous, molecules, place)
        return AnnData(counts["spliced"].copy(), obs=cells, var=genes, layers=counts)


def _found(path: Path, format: str | None) -> tuple[str, Path]:
    """Return the format of a path, and the file or folder to read."""
    if not path.exists():
        raise FileError(
            f"`path` is {str(path)!r}, which does not exist.",
            remedy=f"Give what the tool wrote: {_paths(format)}.",
        )
    names = FORMATS if format is None else [format]
    places = {name: FORMATS[name].find(path) for name in names}
    found = [(name, place) for name, place in places.items() if place is not None]
    if not found:
        there = f"a folder with {contents(path)}" if path.is_dir() else "a file"
        raise FileError(
            f"`path` is {str(path)!r}, {there}: there are no spliced and unspliced counts"
            f"{'' if format is None else f' of the format {format!r}'}.",
            remedy=f"Give what the tool wrote: {_paths(format)}.",
        )
    if len(found) > 1:
        formats = " and ".join(f"{name!r} ({place})" for name, place in found)
        raise DataError(
            f"`path` is {str(path)!r}, where there are counts of {formats}.",
            remedy=f"Say which: format={found[0][0]!r}",
        )
    return found[0]


def _paths(format: str | None) -> str:
    return "; ".join(row.paths for name, row in FORMATS.items() if format in (None, name))


def _add_ambiguous(
    counts: dict[str, sparse.csr_matrix],
    asked: str | None,
    molecules: Molecules,
    place: Path,
) -> None:
    """Add ambiguous molecules to the kind that they are counted with."""
    kind = asked or molecules.ambiguous
    if kind == "apart":
        return
    if "ambiguous" in counts:
        both = counts[kind].astype(np.int64) + counts["ambiguous"]
        layer = Layer(f"the sum of {kind} and ambiguous counts of {place}", both)
        counts[kind] = integer_counts(layer, molecules.cells.index, molecules.genes.index)
    elif asked is not None:
        raise MissingKeyError(
            f"`ambiguous` is {asked!r}, but {place} has no ambiguous counts.",
            remedy="Leave `ambiguous` out: its molecules are spliced or unspliced.",
        )


def _nothing(place: Path) -> DataError:
    return DataError(
        f"{place} has no spliced and no unspliced molecule: all values are zero.",
        remedy="Look at the tool's report, and count again. STAR counts them only where "
        "`--soloFeatures` names `Gene` as well as `Velocyto`.",
    )

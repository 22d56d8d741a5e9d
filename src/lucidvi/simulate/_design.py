"""Power and false discoveries of an experiment that is planned."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np
import pandas as pd
import scvi
from anndata import AnnData
from numpy.typing import ArrayLike, NDArray

from lucidvi.errors import DataError, check_choice
from lucidvi.model import SCVI
from lucidvi.simulate._cells import POSTERIORS, Cells, checked_model
from lucidvi.simulate._checks import check_whole
from lucidvi.simulate._comparison import TESTS, row_blocks
from lucidvi.simulate._donors import EXPRESSED_MIN, donor_spread
from lucidvi.simulate._groups import donors_of
from lucidvi.simulate._plan import Plan
from lucidvi.simulate._population import Population
from lucidvi.simulate._repeats import Kept, run_repeats

#: What is assumed.
ASSUMPTIONS = (
    "Cells of every donor are random ones of the chosen cells, counted as the model's likelihood "
    "says.",
    "Donors multiply each gene's expression by a log-normal factor of its own: those of different "
    "genes are independent.",
    "Genes that change do so in every cell by the same factor, whatever the rest does.",
)
#: Columns of the table that say the size of the experiment.
SIZE = ("cells", "donors", "depth")


@dataclass(frozen=True, eq=False)
class DesignResult:
    """Power and false discovery rate by the size of an experiment.

    Parameters
    ----------
    table
        A row for each size: ``cells`` of a donor, ``donors`` of a group, ``depth`` relative to the
        data; ``power``, the share of the changed genes that are found, and ``fdr``, the share of
        the findings that are false, as means over ``n_repeats``, with their standard errors
        ``power_se`` and ``fdr_se``.
    request
        Every argument.
    donor_sd
        Standard deviation of donors' log expression for each gene that was taken.
    assumptions
        What has to hold, in whole sentences.
    """

    table: pd.DataFrame
    request: dict[str, Any]
    donor_sd: pd.Series
    assumptions: tuple[str, ...] = ASSUMPTIONS

    def to_dict(self) -> dict[str, Any]:
        """Return all as plain values."""
        return {
            "table": self.table.to_dict("records"),
            "request": self.request,
            "donor_sd": self.donor_sd.to_dict(),
            "assumptions": list(self.assumptions),
        }

    def __repr__(self) -> str:
        asked = ", ".join(f"{name}={self.request[name]!r}" for name in ("effect", "share", "test"))
        return f"DesignResult({asked}, rate={self.request['rate']})\n{self.table.round(3)}"


def design(
    model: SCVI | scvi.model.SCVI,
    *,
    effect: float = 1.0,
    share: float = 0.05,
    cells: Sequence[int] = (25, 50, 100),
    donors: Sequence[int] = (4, 8),
    depth: Sequence[float] = (1.0,),
    among: AnnData | Sequence[Any] | NDArray[Any] | None = None,
    donor_key: str | None = None,
    donor_sd: float | ArrayLike | None = None,
    test: str = "pseudobulk",
    rate: float = 0.05,
    n_repeats: int = 100,
    posterior: str = "encoder",
    n_jobs: int = 1,
    seed: int = 0,
    resume: str | PathLike[str] | None = None,
) -> DesignResult:
    r"""Predict power and false discovery rate of a planned differential expression analysis.

    Experiments of two groups of donors are drawn from the model and tested, again and again. The
    expected count of gene :math:`g` in a cell of donor :math:`d`, with :math:`a = 1` in the second
    group and 0 in the first, is

    .. math::
        \mu_{cg}(z_c) \, 2^{\,a \beta_g} \, e^{u_{dg} - \sigma_g^2 / 2} \, r,
        \qquad u_{dg} \sim N(0, \sigma_g^2)

    with the cell's state :math:`z_c`, covariates and exposure from one of the data, the effect
    :math:`\beta_g`, zero for most genes, and the relative depth :math:`r`.

    Parameters
    ----------
    model
        Trained :class:`lucidvi.model.SCVI`, or a SCVI of scvi-tools, with its AnnData: the pilot.
    effect
        Log2 fold change of the genes that change, in the second group.
    share
        Of the genes with at least 0.05 counts in a mean cell that change, random ones in every
        repeat. With 0 none does, and ``fdr`` is the probability of any finding.
    cells
        Numbers of cells of each donor.
    donors
        Numbers of donors of each group.
    depth
        Library sizes, as multiples of the data's.
    among
        Cells to draw from, best those of one type: an AnnData, or positions, a mask or names in
        the model's data; by default all.
    donor_key
        Column of ``obs`` with the donors, from whose differences :math:`\sigma` is estimated:
        batches of donors included, sampling of cells excluded.
    donor_sd
        :math:`\sigma` in place of that, on the natural logarithm: a number, or one for each gene.
    test
        ``"pseudobulk"``, donors as replicates, or ``"cells"``, cells as replicates, to see what
        that does; see :func:`differential_expression`.
    rate
        False discovery rate at which genes are called, by Benjamini and Hochberg.
    n_repeats
        Experiments to draw.
    posterior
        Of the states: ``"encoder"`` or ``"refined"``.
    n_jobs
        Processes; -1 for one a core. The result does not depend on it.
    seed
        Of the draws.
    resume
        A file in which finished repeats are kept: the same call goes on where another ended, and
        more repeats are added to those that there are.

    Returns
    -------
    A table with a row for each number of cells, donors and depth.

    Raises
    ------
    lucidvi.errors.DataError, lucidvi.errors.MissingKeyError
        If an argument is out of its range, a donor has no cells, there are fewer cells than
        donors, or the column does not exist; before any work.
    lucidvi.errors.FileError
        If ``resume`` is the file of another request.
    lucidvi.errors.ModelTypeError
        If ``model`` is no SCVI of counts.
    """
    known = checked_model(model)
    grid = _grid(cells, donors, depth)
    _check_numbers(effect, share, rate)
    for name, value, least in (("n_repeats", n_repeats, 1), ("seed", seed, 0)):
        check_whole(name, value, least)
    check_choice("test", test, TESTS)
    check_choice("posterior", posterior, POSTERIORS)
    given = (among, None) if isinstance(among, AnnData) else (None, among)
    chosen = Cells.of(known, *given)
    if len(chosen) < 2 * max(donors):
        raise DataError(
            f"`among` has {len(chosen):,} cells, fewer than the {2 * max(donors):,} donors that "
            "`donors` asks for in two groups.",
            remedy="Take more cells, or fewer donors.",
        )
    counts, codes = _counts(known, chosen, donor_key, donor_sd)
    spread = _given(donor_sd, counts.shape[1]) if codes is None else donor_spread(counts, codes)
    population = Population.of(known, chosen, posterior, seed)
    plan = Plan(
        population=population,
        log_effect=float(effect) * np.log(2),
        share=float(share),
        changeable=_expressed(counts),
        spread=spread,
        grid=grid,
        test=test,
        rate=float(rate),
        seed=int(seed),
    )
    request = {
        "effect": float(effect),
        "share": float(share),
        "cells": [int(n) for n in cells],
        "donors": [int(n) for n in donors],
        "depth": [float(r) for r in depth],
        "donor_key": donor_key,
        "test": test,
        "rate": float(rate),
        "posterior": posterior,
        "seed": int(seed),
    }
    same = {"model, cells or their states": population.digest(), "donor_sd": spread.tolist()}
    kept = Kept(resume, request | same)
    values: NDArray[np.float64] = np.array(run_repeats(plan, range(n_repeats), n_jobs, kept))
    names = pd.Index(known.adata.var_names)
    request["n_repeats"] = int(n_repeats)
    return DesignResult(_table(grid, values), request, pd.Series(spread, names, name="donor_sd"))


def _grid(cells: Any, donors: Any, depth: Any) -> tuple[tuple[int, int, float], ...]:
    """Check the sizes, and return all their combinations."""
    for name, values in zip(SIZE, (cells, donors, depth), strict=True):
        if np.ndim(values) != 1 or len(values) == 0:
            raise DataError(f"`{name}` is {values!r}.", remedy=f"Give a list: {name}=[...].")
    for n in cells:
        check_whole("cells", n, 1)
    for n in donors:
        check_whole("donors", n, 2)
    for r in depth:
        if not (np.isfinite(r) and r > 0):
            raise DataError(
                f"`depth` has {r!r}.",
                remedy="Give positive, finite numbers, 1.0 for the depth of the data.",
            )
    return tuple((int(c), int(d), float(r)) for r, d, c in itertools.product(depth, donors, cells))


def _check_numbers(effect: Any, share: Any, rate: Any) -> None:
    if not np.isfinite(effect) or effect == 0:
        raise DataError(
            f"`effect` is {effect!r}.",
            remedy="Give a log2 fold change, such as 1.0 for twice; to see what is found where "
            "nothing changes, `share=0`.",
        )
    if not 0 <= share <= 1:
        raise DataError(f"`share` is {share!r}.", remedy="Give a number from 0 to 1.")
    if not 0 < rate < 1:
        raise DataError(f"`rate` is {rate!r}.", remedy="Give a number between 0 and 1.")


def _counts(
    model: SCVI, chosen: Cells, donor_key: str | None, donor_sd: Any
) -> tuple[Any, NDArray[np.integer] | None]:
    """Return the counts of the chosen cells, and the codes of their donors if they are needed."""
    if (donor_key is None) == (donor_sd is None):
        raise DataError(
            f"`donor_key` is {donor_key!r} and `donor_sd` is {donor_sd!r}.",
            remedy="Name the column of the donors, or say how far they differ; 0 if not at all.",
        )
    layer = model.registry["setup_args"].get("layer")
    adata = chosen.adata
    codes = None
    if donor_key is not None:
        codes = donors_of(adata, donor_key)[chosen.chosen]
        if (np.bincount(codes) > 1).sum() < 2:
            raise DataError(
                f"`donor_key` is {donor_key!r}, and fewer than two donors have two cells among "
                f"the {len(chosen):,}.",
                remedy="Give `donor_sd=` instead.",
            )
    matrix = adata.X if layer is None else adata.layers[layer]
    return matrix[chosen.chosen], codes


def _given(donor_sd: Any, n_genes: int) -> NDArray[np.float64]:
    spread = np.asarray(donor_sd, dtype=float)
    if spread.shape not in ((), (n_genes,)) or not (np.isfinite(spread) & (spread >= 0)).all():
        raise DataError(
            f"`donor_sd` is {donor_sd!r}.",
            remedy=f"Give a number that is not negative, or {n_genes:,} of them, one a gene.",
        )
    return np.full(n_genes, spread)


def _expressed(counts: Any) -> NDArray[np.integer]:
    total = sum(np.asarray(block.sum(axis=0)).ravel() for _, block in row_blocks(counts))
    return np.flatnonzero(total >= EXPRESSED_MIN * counts.shape[0])


def _table(grid: tuple[tuple[int, int, float], ...], values: NDArray[np.float64]) -> pd.DataFrame:
    """Means over the repeats, of values of shape ``(n_repeats, n_sizes, 2)``."""
    n = len(values)
    mean = values.mean(axis=0)
    error = values.std(axis=0, ddof=1) / np.sqrt(n) if n > 1 else np.full(mean.shape, np.nan)
    table = pd.DataFrame(grid, columns=list(SIZE))
    for i, name in enumerate(("power", "fdr")):
        table[name], table[f"{name}_se"] = mean[:, i], error[:, i]
    return table.assign(n_repeats=n)

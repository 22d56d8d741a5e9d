"""Power and false discoveries of an experiment that is planned."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import Any

import numpy as np
import pandas as pd
import scvi
from anndata import AnnData
from numpy.typing import ArrayLike, NDArray

from lucidvi.checks import check_choice
from lucidvi.errors import DataError
from lucidvi.model import SCVI, capable
from lucidvi.simulate.comparisons._comparison import TESTS, row_blocks
from lucidvi.simulate.designs._design import (
    DesignResult,
    check_planned,
    donor_codes,
    given_spread,
    grid_of,
    planned_cells,
    table_of,
)
from lucidvi.simulate.designs._expression_plan import Plan
from lucidvi.simulate.designs._gene_donors import EXPRESSED_MIN, donor_spread
from lucidvi.simulate.designs._population import Population
from lucidvi.simulate.designs._repeats import Kept, run_repeats

#: What is assumed.
ASSUMPTIONS = (
    "Cells of every donor are random ones of the chosen cells, counted as the model's likelihood "
    "says.",
    "Donors multiply each gene's expression by a log-normal factor of its own: those of different "
    "genes are independent.",
    "Genes that change do so in every cell by the same factor, whatever the rest does.",
)


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
    known = capable(model, "counts")
    grid = grid_of(cells, donors, depth)
    check_planned(effect, rate, n_repeats, seed, posterior, "share=0")
    if not 0 <= share <= 1:
        raise DataError(f"`share` is {share!r}.", remedy="Give a number from 0 to 1.")
    check_choice("test", test, TESTS)
    chosen = planned_cells(known, among, donors)
    codes = donor_codes(chosen, donor_key, donor_sd)
    counts = chosen.counts
    if codes is None:
        spread = given_spread(donor_sd, counts.shape[1], "gene")
    else:
        spread = donor_spread(counts, codes)
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
    return DesignResult(
        table_of(grid, values),
        request,
        pd.Series(spread, names, name="donor_sd"),
        f"{share:.0%} of the genes",
        ASSUMPTIONS,
    )


def _expressed(counts: Any) -> NDArray[np.integer]:
    total = sum(np.asarray(block.sum(axis=0)).ravel() for _, block in row_blocks(counts))
    return np.flatnonzero(total >= EXPRESSED_MIN * counts.shape[0])

"""Power and false discoveries of a planned experiment that compares expression."""

from __future__ import annotations

from os import PathLike
from typing import Any, Literal

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import ArrayLike, NDArray
from scvi.model.base import BaseModelClass

from lucidvi._kinds import checked
from lucidvi.checks import check_choice, check_share
from lucidvi.results import DesignResult
from lucidvi.simulate._models import model_of_counts
from lucidvi.simulate.comparisons._comparison import TESTS, row_blocks
from lucidvi.simulate.designs._design import Design
from lucidvi.simulate.designs._expression_plan import ExpressionPlan
from lucidvi.simulate.designs._gene_donors import EXPRESSED_MIN, donor_spread
from lucidvi.simulate.designs._outcomes import check_repeats, repeated, table_of
from lucidvi.simulate.designs._pilot import Pilot
from lucidvi.simulate.designs._population import Population

#: What is assumed.
ASSUMPTIONS = (
    "Cells of every donor are random ones of the chosen cells, counted as the model's likelihood "
    "says.",
    "Donors multiply each gene's expression by a log-normal factor of its own: those of different "
    "genes are independent.",
    "Genes that change do so in every cell by the same factor, whatever the rest does.",
)


@checked
def design_expression(
    model: BaseModelClass,
    design: Design,
    *,
    share: float = 0.05,
    adata: AnnData | None = None,
    indices: Any | None = None,
    donor_key: str | None = None,
    donor_sd: float | ArrayLike | None = None,
    test: str = "pseudobulk",
    n_repeats: int = 100,
    posterior: Literal["encoder", "refined"] = "encoder",
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
    :math:`\beta_g`, zero for most genes, and the depth factor :math:`r`.

    Parameters
    ----------
    model
        Trained model of counts, of LucidVI or scvi-tools, with its AnnData: the pilot.
    design
        Sizes of the experiment, effect of the genes that change, and false discovery rate.
    share
        Share of the genes with at least 0.05 counts in a mean cell that change, random ones in
        every repeat. With 0 none does, and ``fdr`` is the probability of any finding.
    adata
        Cells to plan by, best those of one type; by default the model's.
    indices
        Which cells: positions, a boolean mask, a slice, or names; all by default.
    donor_key
        Column of ``obs`` with the donors, from whose differences :math:`\sigma` is estimated:
        batches of donors included, sampling of cells excluded.
    donor_sd
        :math:`\sigma` in place of that, on the natural logarithm: a number, or one for each gene.
    test
        ``"pseudobulk"``, donors as replicates, or ``"cells"``, cells as replicates, to see what
        that does; see :func:`differential_expression`.
    n_repeats
        Number of experiments to draw.
    posterior
        Posterior of the states, see :func:`lucidvi.inference.posterior_of`: ``"encoder"`` or
        ``"refined"``.
    n_jobs
        Number of processes; -1 for one a core. The result does not depend on it.
    seed
        Seed of the draws.
    resume
        A file in which finished repeats are kept: the same call goes on where another ended, and
        more repeats are added to those that there are.

    Returns
    -------
    A table with a row for each size.

    Raises
    ------
    lucidvi.errors.DataError, lucidvi.errors.MissingKeyError
        If an argument is out of its range, a donor has no cells, there are fewer cells than
        donors, or the column does not exist; before any work.
    lucidvi.errors.FileError
        If ``resume`` is the file of another request.
    lucidvi.errors.ModelTypeError
        If ``model`` has no counts.
    """
    model = model_of_counts(model)
    check_repeats(n_repeats, seed, posterior)
    check_share("share", share)
    check_choice("test", test, TESTS)
    pilot = Pilot.of(model, design, adata, indices, donor_key, donor_sd)
    counts = pilot.cells.counts
    spread = pilot.spread(counts.shape[1], "gene", lambda codes: donor_spread(counts, codes))
    population = Population.of(model, pilot.cells, posterior, seed)
    plan = ExpressionPlan(
        population=population,
        log_effect=design.log_effect,
        share=float(share),
        changeable=_expressed(counts),
        spread=spread,
        sizes=design.sizes,
        test=test,
        fdr=float(design.fdr),
        seed=int(seed),
    )
    request = design.to_dict() | {
        "share": float(share),
        "donor_key": donor_key,
        "test": test,
        "posterior": posterior,
        "seed": int(seed),
    }
    identity = {
        "model, cells or their states": population.digest(),
        "donor_sd": spread.tolist(),
    }
    values = repeated(plan, n_repeats, n_jobs, resume, request | identity)
    return DesignResult(
        table_of(design.sizes, values),
        request | {"n_repeats": int(n_repeats)},
        pd.Series(spread, pd.Index(model.adata.var_names), name="donor_sd"),
        f"{share:.0%} of the genes",
        ASSUMPTIONS,
    )


def _expressed(counts: Any) -> NDArray[np.integer]:
    """Positions of the genes with enough counts in a mean cell."""
    total = sum(np.asarray(block.sum(axis=0)).ravel() for _, block in row_blocks(counts))
    return np.flatnonzero(total >= EXPRESSED_MIN * counts.shape[0])

"""Power and false discoveries of an experiment that compares numbers of cells."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from os import PathLike
from typing import Any

import numpy as np
import pandas as pd
import scvi
from anndata import AnnData
from numpy.typing import ArrayLike, NDArray

from lucidvi.checks import check_choice, listed
from lucidvi.errors import DataError, MissingKeyError
from lucidvi.model import SCVI, capable
from lucidvi.simulate.comparisons._groups import label_codes
from lucidvi.simulate.comparisons._label_tests import LABEL_TESTS
from lucidvi.simulate.designs._abundance_plan import AbundancePlan
from lucidvi.simulate.designs._design import (
    SIZE,
    DesignResult,
    check_planned,
    donor_codes,
    given_spread,
    grid_of,
    planned_cells,
    table_of,
)
from lucidvi.simulate.designs._label_cells import called_labels
from lucidvi.simulate.designs._label_donors import label_centres, label_spread
from lucidvi.simulate.designs._repeats import Kept, run_repeats

#: What is assumed.
ASSUMPTIONS = (
    "Cells of a donor are a random sample, in which labels are multinomial.",
    "Donors multiply the abundance of each label by a log-normal factor of its own: those of "
    "different labels are independent, but for what their shares add up to.",
    "One label changes, and all others keep their numbers.",
    "Cells are labelled by the nearest cells of the model's data, and are as hard to tell as "
    "those that the model draws.",
)


def design_abundance(
    model: SCVI | scvi.model.SCVI,
    *,
    labels_key: str,
    effect: float = 1.0,
    changed: str | Sequence[str] | None = None,
    cells: Sequence[int] = (250, 500, 1000),
    donors: Sequence[int] = (4, 8),
    depth: Sequence[float] = (1.0,),
    among: AnnData | Sequence[Any] | NDArray[Any] | None = None,
    donor_key: str | None = None,
    donor_sd: float | ArrayLike | None = None,
    test: str = "donors",
    rate: float = 0.05,
    n_repeats: int = 500,
    posterior: str = "encoder",
    n_jobs: int = 1,
    seed: int = 0,
    resume: str | PathLike[str] | None = None,
) -> DesignResult:
    r"""Predict power and false discovery rate of a planned comparison of numbers of cells.

    Experiments of two groups of donors are drawn, and tested as by
    :func:`differential_abundance`, again and again. A cell of donor :math:`d` is of label
    :math:`k`, and is called :math:`l`, with the probabilities

    .. math::
        p_{dk} \propto e^{c_k + u_{dk}} \, 2^{\,a \beta_k}, \qquad
        u_{dk} \sim N(0, \sigma_k^2), \qquad \sum_k p_{dk} \, C_{kl}(r)

    with :math:`a = 1` in the second group and 0 in the first, :math:`\beta_k` the effect for one
    label and zero for all others, and :math:`c_k` such that donors' mean shares are those of the
    data. :math:`C(r)` is how cells of the relative depth :math:`r` are called: counts of up to 500
    cells of each label are drawn from the model, and labelled by the 15 nearest other cells of the
    data.

    Parameters
    ----------
    model
        Trained :class:`lucidvi.model.SCVI`, or a SCVI of scvi-tools, with its AnnData: the pilot.
    labels_key
        Column of ``obs`` with the labels, at least three.
    effect
        Log2 fold change of the label that changes, in the second group.
    changed
        A label, or several of which one changes in each repeat, in turn; by default all. With
        ``[]`` none does, and ``fdr`` is the probability of any finding.
    cells
        Numbers of cells of each donor, of all labels together.
    donors
        Numbers of donors of each group.
    depth
        Library sizes, as multiples of the data's.
    among
        Cells to plan by: an AnnData, or positions, a mask or names in the model's data; by
        default all.
    donor_key
        Column of ``obs`` with the donors, from whose differences :math:`\sigma` is estimated: the
        variance of their log odds of each label, less what the sampling of cells and the other
        labels explain.
    donor_sd
        :math:`\sigma` in place of that, on the natural logarithm: a number, or one for each label
        in their order.
    test
        ``"donors"``, donors as replicates, or ``"cells"``, cells as replicates, to see what that
        does; see :func:`differential_abundance`.
    rate
        False discovery rate at which labels are called, by Benjamini and Hochberg.
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
    A table with a row for each number of cells, donors and depth, and in ``labels`` the power of
    each label that changes.

    Raises
    ------
    lucidvi.errors.DataError, lucidvi.errors.MissingKeyError
        If an argument is out of its range, a cell has no label, a donor has no cells, there are
        fewer cells than donors, or a column or label does not exist; before any work.
    lucidvi.errors.FileError
        If ``resume`` is the file of another request.
    lucidvi.errors.ModelTypeError
        If ``model`` is no SCVI of counts.
    """
    known = capable(model, "counts")
    grid = grid_of(cells, donors, depth)
    check_planned(effect, rate, n_repeats, seed, posterior, "changed=[]")
    check_choice("test", test, LABEL_TESTS)
    chosen = planned_cells(known, among, donors)
    codes, labels = label_codes(chosen.adata[chosen.positions], labels_key)
    changeable = _changeable(changed, labels)
    of_donor = donor_codes(chosen, donor_key, donor_sd)
    share = np.bincount(codes) / len(codes)
    if of_donor is None:
        spread = given_spread(donor_sd, len(labels), "label")
    else:
        numbers = np.zeros((of_donor.max() + 1, len(labels)), dtype=int)
        np.add.at(numbers, (of_donor, codes), 1)
        spread = label_spread(numbers)
    called = called_labels(chosen, codes, sorted({r for *_, r in grid}), posterior, seed)
    plan = AbundancePlan(
        centre=label_centres(share, spread),
        log_effect=float(effect) * np.log(2),
        changeable=changeable,
        spread=spread,
        called=called,
        grid=grid,
        test=test,
        rate=float(rate),
        seed=int(seed),
    )
    request = {
        "labels_key": labels_key,
        "effect": float(effect),
        "changed": [str(labels[i]) for i in changeable],
        "cells": [int(n) for n in cells],
        "donors": [int(n) for n in donors],
        "depth": [float(r) for r in depth],
        "donor_key": donor_key,
        "test": test,
        "rate": float(rate),
        "posterior": posterior,
        "seed": int(seed),
    }
    found = hashlib.sha256(np.concatenate([share, *map(np.ravel, called.values())]).tobytes())
    same = {"model, cells or their labels": found.hexdigest(), "donor_sd": spread.tolist()}
    kept = Kept(resume, request | same)
    values: NDArray[np.float64] = np.array(run_repeats(plan, range(n_repeats), n_jobs, kept))
    request["n_repeats"] = int(n_repeats)
    return DesignResult(
        table_of(grid, values),
        request,
        pd.Series(spread, pd.Index(labels, name=labels_key), name="donor_sd"),
        _in_words([str(labels[i]) for i in changeable], len(labels)),
        ASSUMPTIONS,
        _by_label(plan, values, labels, share),
    )


def _changeable(changed: Any, labels: NDArray[Any]) -> NDArray[np.integer]:
    asked = [changed] if isinstance(changed, str) else changed
    asked = list(labels) if asked is None else [str(label) for label in asked]
    unknown = [label for label in asked if label not in labels]
    if unknown:
        raise MissingKeyError(
            f"`changed` names {listed(unknown)}, which no cell is labelled as.",
            remedy=f"There are {listed(labels)}.",
        )
    if len(set(asked)) < len(asked):
        raise DataError(f"`changed` names a label twice: {listed(asked)}.", remedy="Name it once.")
    return np.array([list(labels).index(label) for label in asked], dtype=int)


def _in_words(changed: Sequence[str], n_labels: int) -> str:
    if not changed:
        return f"None of {n_labels} labels"
    return changed[0] if len(changed) == 1 else f"One of {len(changed)} labels"


def _by_label(
    plan: AbundancePlan,
    values: NDArray[np.float64],
    labels: NDArray[Any],
    share: NDArray[np.float64],
) -> pd.DataFrame:
    """Power of each label that changes at each size, of values ``(n_repeats, n_sizes, 2)``."""
    parts = []
    for i in plan.changeable:
        of_label = [plan.changing(repeat)[0] == i for repeat in range(len(values))]
        if any(of_label):
            part = table_of(plan.grid, values[of_label]).drop(columns=["fdr", "fdr_se"])
            part.insert(0, "label", labels[i])
            called = [plan.called[depth][i, i] for depth in part["depth"]]
            parts.append(part.assign(share=share[i], called=called))
    columns = ["label", *SIZE, "power", "power_se", "n_repeats", "share", "called"]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)

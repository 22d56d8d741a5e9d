"""Power and false discoveries of a planned experiment that compares numbers of cells."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from os import PathLike
from typing import Any, Literal

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import ArrayLike, NDArray
from scvi.model.base import BaseModelClass

from lucidvi._kinds import checked
from lucidvi.checks import check_choice, listed
from lucidvi.errors import DataError, MissingKeyError
from lucidvi.results import DesignResult
from lucidvi.simulate._models import model_of_counts
from lucidvi.simulate.comparisons._groups import label_codes
from lucidvi.simulate.comparisons._label_tests import LABEL_TESTS
from lucidvi.simulate.designs._abundance_plan import AbundancePlan
from lucidvi.simulate.designs._design import Design, Size
from lucidvi.simulate.designs._label_cells import called_labels
from lucidvi.simulate.designs._label_donors import label_centres, label_spread
from lucidvi.simulate.designs._outcomes import check_repeats, repeated, table_of
from lucidvi.simulate.designs._pilot import Pilot

#: What is assumed.
ASSUMPTIONS = (
    "Cells of a donor are a random sample, in which labels are multinomial.",
    "Donors multiply the abundance of each label by a log-normal factor of its own: those of "
    "different labels are independent, but for what their shares add up to.",
    "One label changes, and all others keep their numbers.",
    "Cells are labelled by the nearest cells of the model's data, and are as hard to tell as "
    "those that the model draws.",
)


@checked
def design_abundance(
    model: BaseModelClass,
    design: Design,
    *,
    labels_key: str,
    changed: str | Sequence[str] | None = None,
    adata: AnnData | None = None,
    indices: Any | None = None,
    donor_key: str | None = None,
    donor_sd: float | ArrayLike | None = None,
    test: str = "donors",
    n_repeats: int = 500,
    posterior: Literal["encoder", "refined"] = "encoder",
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
    data. :math:`C(r)` is how cells at the depth factor :math:`r` are called: counts of up to 500
    cells of each label are drawn from the model, and labelled by the 15 nearest other cells of the
    data.

    Parameters
    ----------
    model, adata, indices, n_repeats, posterior, n_jobs, seed, resume
        See :func:`design_expression`.
    design
        Sizes of the experiment, effect of the label that changes, and false discovery rate. Cells
        of a donor are those of all labels together.
    labels_key
        Column of ``obs`` with the labels, at least three.
    changed
        A label, or several of which one changes in each repeat, in turn; by default all. With
        ``[]`` none does, and ``fdr`` is the probability of any finding.
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

    Returns
    -------
    A table with a row for each size, and in ``labels`` the power of each label that changes.

    Raises
    ------
    lucidvi.errors.DataError, lucidvi.errors.MissingKeyError
        If an argument is out of its range, a cell has no label, a donor has no cells, there are
        fewer cells than donors, or a column or label does not exist; before any work.
    lucidvi.errors.FileError
        If ``resume`` is the file of another request.
    lucidvi.errors.ModelTypeError
        If ``model`` has no counts.
    """
    model = model_of_counts(model)
    check_repeats(n_repeats, seed, posterior)
    check_choice("test", test, LABEL_TESTS)
    pilot = Pilot.of(model, design, adata, indices, donor_key, donor_sd)
    codes, labels = label_codes(pilot.cells.adata[pilot.cells.positions], labels_key)
    changeable = _changeable(changed, labels)
    share = np.bincount(codes) / len(codes)
    spread = pilot.spread(
        len(labels), "label", lambda donor: label_spread(_numbers(donor, codes, len(labels)))
    )
    called = called_labels(pilot.cells, codes, sorted(set(design.depth_factor)), posterior, seed)
    plan = AbundancePlan(
        centre=label_centres(share, spread),
        log_effect=design.log_effect,
        changeable=changeable,
        spread=spread,
        called=called,
        sizes=design.sizes,
        test=test,
        fdr=float(design.fdr),
        seed=int(seed),
    )
    names = [str(labels[i]) for i in changeable]
    request = design.to_dict() | {
        "labels_key": labels_key,
        "changed": names,
        "donor_key": donor_key,
        "test": test,
        "posterior": posterior,
        "seed": int(seed),
    }
    cells = np.concatenate([share, *map(np.ravel, called.values())]).tobytes()
    identity = {
        "model, cells or their labels": hashlib.sha256(cells).hexdigest(),
        "donor_sd": spread.tolist(),
    }
    values = repeated(plan, n_repeats, n_jobs, resume, request | identity)
    return DesignResult(
        table_of(design.sizes, values),
        request | {"n_repeats": int(n_repeats)},
        pd.Series(spread, pd.Index(labels, name=labels_key), name="donor_sd"),
        _in_words(names, len(labels)),
        ASSUMPTIONS,
        _by_label(plan, values, labels, share),
    )


def _numbers(
    donor: NDArray[np.integer], label: NDArray[np.integer], n_labels: int
) -> NDArray[np.integer]:
    """Count the cells of each donor and label, shape ``(n_donors, n_labels)``."""
    numbers = np.zeros((donor.max() + 1, n_labels), dtype=int)
    np.add.at(numbers, (donor, label), 1)
    return numbers


def _changeable(changed: Any, labels: NDArray[Any]) -> NDArray[np.integer]:
    """Return the positions of the labels of which one changes, or raise."""
    if changed is None:
        return np.arange(len(labels))
    names = [changed] if isinstance(changed, str) else [str(label) for label in changed]
    unknown = [name for name in names if name not in labels]
    if unknown:
        raise MissingKeyError(
            f"`changed` names {listed(unknown)}, which no cell is labelled as.",
            remedy=f"There are {listed(labels)}.",
        )
    if len(set(names)) < len(names):
        raise DataError(f"`changed` names a label twice: {listed(names)}.", remedy="Name it once.")
    return np.array([list(labels).index(name) for name in names], dtype=int)


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
            part = table_of(plan.sizes, values[of_label]).drop(columns=["fdr", "fdr_se"])
            part.insert(0, "label", labels[i])
            called = [plan.called[r][i, i] for r in part["depth_factor"]]
            parts.append(part.assign(share=share[i], called=called))
    columns = ["label", *Size._fields, "power", "power_se", "n_repeats", "share", "called"]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)

"""The population at a time between those that were sampled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from anndata import AnnData
from numpy.typing import ArrayLike
from scvi.model.base import BaseModelClass

from lucidvi._kinds import checked
from lucidvi.checks import check_choice, check_whole, is_number
from lucidvi.dynamics import VectorField
from lucidvi.errors import DataError
from lucidvi.inference import POSTERIORS
from lucidvi.model import Cells, capable
from lucidvi.simulate._drawing import drawing
from lucidvi.simulate._models import cells_with_counts, model_of_counts
from lucidvi.simulate._record import recorded
from lucidvi.simulate.trajectories._moving import (
    Decoding,
    Floats,
    check_field,
    decoded,
    drawn_states,
    times_of,
)

#: Most cells of a sample that are followed, of which the new ones are drawn.
MOST_CELLS = 10_000
#: Share of the time course by which times differ that are the same: those of single precision.
SAME_TIME = 1e-6
ASSUMPTIONS = (
    "Cells of the samples before and after follow the field to this time; each sample counts as "
    "far as it is near, and each cell as much as became, or was, of it.",
    "Covariates and exposures are those of the cells that are followed, or those that were asked "
    "for: what a sample has as a batch is not interpolated.",
    "Given state, covariates and exposure, the genes' counts are independent, of the likelihood "
    "that the model was trained with.",
)


@checked
def interpolate_time(
    model: BaseModelClass,
    field: VectorField,
    time: float,
    n_cells: int = 1000,
    *,
    time_key: str,
    adata: AnnData | None = None,
    indices: Any | None = None,
    batch: Any = None,
    covariates: Mapping[str, Any] | None = None,
    library_size: float | ArrayLike | None = None,
    posterior: Literal["encoder", "refined"] = "refined",
    seed: int = 0,
) -> AnnData:
    r"""Draw cells of a time that was not sampled, with counts.

    Cells of the sampled times :math:`t_0 < t < t_1` next to it, with states from their posteriors,
    follow the field to :math:`t`, those of :math:`t_1` back. New cells are drawn from them, those
    of :math:`t_0` with the share :math:`(t_1 - t) / (t_1 - t_0)`, in proportion to the mass that a
    cell has become, or was, at :math:`t`; and counts are drawn from what the model decodes there.

    Parameters
    ----------
    model
        Trained model of counts, of LucidVI or scvi-tools, with its AnnData.
    field
        Field on its latent space, of :func:`lucidvi.dynamics.fit_flow`; fitted to the model and
        not to means of its posteriors, since cells start from draws, of which such a field was
        told nothing.
    time
        Time between the first and the last that the field was fitted to.
    n_cells
        Number of new cells.
    time_key
        Column of ``obs`` with the times of the cells. Cells of times that the field was not
        fitted to are not looked at.
    adata
        Cells with counts, by default the model's.
    indices
        Which cells: positions, a boolean mask, a slice, or names; all by default.
    batch
        Batch of all new cells, one for each, or a mapping from batches to shares; by default
        those of the cells that are followed.
    covariates
        What ``batch`` may be, by name of the column; a number for a continuous one.
    library_size
        Exposure of all new cells, or one for each; by default that of the cell that is followed.
    posterior
        Posterior of the states, see :func:`lucidvi.inference.posterior_of`.
    seed
        Seed of the draws.

    Returns
    -------
    Counts in ``X`` (CSR, float32), states in ``obsm["X_lucidvi"]``; in ``obs`` the covariates,
    ``lucidvi_origin`` (the cell that was followed), ``lucidvi_origin_time``, ``lucidvi_time`` and
    ``lucidvi_exposure``; the request with its assumptions in ``uns["lucidvi_simulation"]``.

    Raises
    ------
    lucidvi.errors.DataError, lucidvi.errors.MissingKeyError
        If the time is not between those of the field, there are no cells of the times next to it,
        or something is wrong with the cells or their covariates.
    lucidvi.errors.ModelTypeError
        If the model has no counts, or states that are shares.

    Examples
    --------
    >>> from lucidvi import dynamics, simulate
    >>> field = dynamics.fit_flow(model, time_key="day")  # doctest: +SKIP
    >>> cells = simulate.interpolate_time(model, field, 3, time_key="day")  # doctest: +SKIP
    """
    request = {
        "field": repr(field),
        "time": time,
        "n_cells": n_cells,
        "time_key": time_key,
        "adata": adata,
        "indices": indices,
        "batch": batch,
        "covariates": covariates,
        "library_size": library_size,
        "posterior": posterior,
        "seed": seed,
    }
    model = capable(model_of_counts(model), "states that can move")
    check_field(model, field)
    check_choice("posterior", posterior, POSTERIORS)
    check_whole("n_cells", n_cells, least=1)
    check_whole("seed", seed)
    shares = _shares(field, time)
    cells = cells_with_counts(model, adata, indices)
    times = times_of(cells, time_key, field)
    rng = np.random.default_rng(seed)
    decoding = Decoding.of(model, batch, covariates, library_size, n_cells, rng)
    near = SAME_TIME * (field.times[-1] - field.times[0])
    parts = []
    names = [f"time{time:.12g}_{i}" for i in range(n_cells)]
    with drawing(model, seed):
        for begin, n in zip(shares, rng.multinomial(n_cells, list(shares.values())), strict=True):
            sample = np.abs(times - begin) <= near
            parts.append(_drawn(cells, sample, begin, time, n, field, posterior, rng))
        order = rng.permutation(n_cells)  # covariates that are asked for are of no sample more
        followed, states, z = (np.concatenate(part)[order] for part in zip(*parts, strict=True))
        out = decoded(cells.select(followed), states, z, decoding, names)
    out.obs["lucidvi_origin_time"] = times[followed]
    out.obs["lucidvi_time"] = float(time)
    return recorded(out, "interpolate_time", request, ASSUMPTIONS)


def _shares(field: VectorField, time: Any) -> dict[float, float]:
    """Return the sampled times next to a time, and the share of the new cells from each."""
    if field.is_stationary:
        raise DataError(
            "The field depends on no time, so that there are no samples to go between.",
            remedy="simulate.follow_cells(model, field, until=1)",
        )
    known = field.times
    if not is_number(time) or not known[0] <= time <= known[-1]:
        raise DataError(
            f"`time` is {time!r}, and the field is of times from {known[0]:.12g} to "
            f"{known[-1]:.12g}.",
            remedy="give a time between these, or see beyond them by "
            "simulate.follow_cells(model, field, until=...).",
        )
    after = int(np.searchsorted(known, time))
    if known[after] == time:
        return {float(known[after]): 1.0}
    first, last = float(known[after - 1]), float(known[after])
    share = (time - first) / (last - first)
    return {first: 1 - share, last: share}


def _drawn(
    cells: Cells,
    of_sample: Any,
    begin: float,
    time: float,
    n: int,
    field: VectorField,
    posterior: str,
    rng: np.random.Generator,
) -> tuple[Any, Floats, Floats]:
    """Follow cells of a sample, and draw of them by their mass: which, their states, where."""
    sample = np.flatnonzero(of_sample)
    if not len(sample):
        raise DataError(
            f"There is no cell of the time {begin:.12g}, from which cells are followed.",
            remedy="give cells of the times that the field was fitted to, see `field.times`.",
        )
    if len(sample) > MOST_CELLS:
        sample = np.sort(rng.choice(sample, MOST_CELLS, replace=False))
    start = drawn_states(cells.select(sample), posterior, 1)
    moved = field.integrate(start.z[0], begin, time)
    mass = np.exp(moved.log_mass.astype(float) - moved.log_mass.max())
    chosen = rng.choice(len(sample), n, p=mass / mass.sum())
    return sample[chosen], start.states[0][chosen], moved.z[chosen]

"""Cells as they will be, or were."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from anndata import AnnData
from numpy.typing import ArrayLike, NDArray
from scvi.model.base import BaseModelClass

from lucidvi._kinds import checked
from lucidvi.checks import check_choice, check_whole, times_from
from lucidvi.dynamics import VectorField
from lucidvi.inference import POSTERIORS
from lucidvi.model import capable
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

ASSUMPTIONS = (
    "Cells follow the field, which says how cells like them move on average; nothing of it is "
    "random for one cell, and nothing of it was seen in one cell.",
    "Covariates and exposures stay those of the cells, or those that were asked for.",
    "Given state, covariates and exposure, the genes' counts are independent, of the likelihood "
    "that the model was trained with.",
)


@checked
def follow_cells(
    model: BaseModelClass,
    field: VectorField,
    until: float | Sequence[float],
    *,
    time_key: str | None = None,
    adata: AnnData | None = None,
    indices: Any | None = None,
    n_trajectories: int = 1,
    batch: Any = None,
    covariates: Mapping[str, Any] | None = None,
    library_size: float | ArrayLike | None = None,
    posterior: Literal["encoder", "refined"] = "refined",
    seed: int = 0,
) -> AnnData:
    r"""Follow cells along a field, and draw what would be counted in them there.

    .. math::
        z_0 \sim q(z \mid x_c, s_c), \qquad \frac{dz}{dt} = v(z, t), \qquad
        x_t \sim p(x \mid z_t, s_c, \ell_c)

    Parameters
    ----------
    model
        Trained model of counts, of LucidVI or scvi-tools, with its AnnData.
    field
        Field on its latent space, of :func:`lucidvi.dynamics.fit_flow` or
        :func:`lucidvi.dynamics.flow_of`; fitted to the model and not to means of its posteriors,
        since cells start from draws, of which such a field was told nothing.
    until
        Times at which the cells are wanted: one, or several that rise or fall from the times of
        the cells on; so that an earlier one follows them back.
    time_key
        Column of ``obs`` with the times of the cells. A field of no time needs none: the cells
        are then where they are at time zero.
    adata
        Cells with counts, by default the model's.
    indices
        Which cells: positions, a boolean mask, a slice, or names; all by default.
    n_trajectories
        How often each cell is followed, each time from another draw of its posterior. Where it is
        several times, the first along the first member of the field, and so on in turn, so that
        trajectories differ as far as the field is not known; else along the mean of the members.
    batch
        Batch to decode under: one for all cells or one for each of the followed cells; by default
        their own.
    covariates
        What ``batch`` may be, by name of the column; a number for a continuous one.
    library_size
        Exposure of all cells, or one for each of the followed cells; by default their own.
    posterior
        Posterior of the states, see :func:`lucidvi.inference.posterior_of`.
    seed
        Seed of the draws.

    Returns
    -------
    A row a time, trajectory and cell, in this order: counts in ``X`` (CSR, float32), states in
    ``obsm["X_lucidvi"]``; in ``obs`` the covariates, ``lucidvi_origin`` (the cell),
    ``lucidvi_trajectory`` (its number), ``lucidvi_time``, ``lucidvi_log_mass`` (the log of what
    became of a mass of one on the way) and ``lucidvi_exposure``; the request with its assumptions
    in ``uns["lucidvi_simulation"]``.

    Raises
    ------
    lucidvi.errors.DataError, lucidvi.errors.MissingKeyError
        If the field is of other dimensions, times are not known or out of order, or something is
        wrong with the cells or their covariates.
    lucidvi.errors.ModelTypeError
        If the model has no counts, or states that are shares.

    Examples
    --------
    >>> from lucidvi import dynamics, simulate
    >>> field = dynamics.fit_flow(model, time_key="day")  # doctest: +SKIP
    >>> later = simulate.follow_cells(
    ...     model, field, [4, 6], time_key="day", indices=model.adata.obs["day"] == 2
    ... )  # doctest: +SKIP
    """
    request = {
        "field": repr(field),
        "until": until,
        "time_key": time_key,
        "adata": adata,
        "indices": indices,
        "n_trajectories": n_trajectories,
        "batch": batch,
        "covariates": covariates,
        "library_size": library_size,
        "posterior": posterior,
        "seed": seed,
    }
    model = capable(model_of_counts(model), "states that can move")
    check_field(model, field)
    check_choice("posterior", posterior, POSTERIORS)
    check_whole("n_trajectories", n_trajectories, least=1)
    check_whole("seed", seed)
    cells = cells_with_counts(model, adata, indices)
    begins = times_of(cells, time_key, field)
    wanted = times_from("until", until, begins)
    decoding = Decoding.of(model, batch, covariates, library_size, len(cells))
    rows = np.tile(np.arange(len(cells)), n_trajectories * len(wanted))
    names = [
        f"{cells.names[row]}@{time:.12g}" + (f"#{k}" if n_trajectories > 1 else "")
        for time in wanted
        for k in range(n_trajectories)
        for row in range(len(cells))
    ]
    with drawing(model, seed):
        start = drawn_states(cells, posterior, n_trajectories)
        z, log_mass = _followed(field, start.z, begins, wanted)
        states = np.tile(start.states.reshape(-1, start.states.shape[-1]), (len(wanted), 1))
        there = z.reshape(len(rows), -1)
        out = decoded(cells.select(rows), states, there, decoding.select(rows), names)
    number = np.repeat(np.arange(n_trajectories), len(cells))
    out.obs["lucidvi_trajectory"] = np.tile(number, len(wanted))
    out.obs["lucidvi_time"] = np.repeat(wanted, n_trajectories * len(cells))
    out.obs["lucidvi_log_mass"] = log_mass.reshape(-1)
    return recorded(out, "follow_cells", request, ASSUMPTIONS)


def _followed(
    field: VectorField, start: Floats, begins: NDArray[np.float64], wanted: Floats
) -> tuple[Floats, Floats]:
    """Follow states, ``(n_trajectories, n_cells, n_latent)``, with an axis of times put first."""
    n = len(start)
    z = np.empty((len(wanted), *start.shape), np.float32)
    log_mass = np.empty(z.shape[:-1], np.float32)
    for member in range(min(n, field.n_members)) if n > 1 else [None]:
        own = slice(member, None, None if member is None else field.n_members)
        states = start[own].reshape(-1, start.shape[-1])
        times = np.tile(begins, len(start[own]))
        moved = field.integrate(states, times, wanted.tolist(), member)
        z[:, own] = moved.z.reshape(z[:, own].shape)
        log_mass[:, own] = moved.log_mass.reshape(log_mass[:, own].shape)
    return z, log_mass

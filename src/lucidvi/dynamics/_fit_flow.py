"""Fitting a vector field to cells of several times."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from lucidvi._progress import track
from lucidvi._transport import pot
from lucidvi.checks import check_share, check_whole, is_number, listed
from lucidvi.dynamics._apart import chance_of_apart
from lucidvi.dynamics._reading import samples_of_arrays, samples_of_model
from lucidvi.dynamics._samples import Samples
from lucidvi.dynamics.field._matching import Units, match
from lucidvi.dynamics.field._vector_field import VectorField, solver
from lucidvi.dynamics.paths._bending import LeftOut, leave_out
from lucidvi.dynamics.paths._paths import paths_between
from lucidvi.errors import DataError

#: p-value above which cells of two times are not told apart.
SAME = 0.05
#: Most cells of a time that a member is coupled by.
MOST_CELLS = 1_000


def fit_flow(
    z: Any,
    time: Any | None = None,
    *,
    time_key: str | None = None,
    indices: Any | None = None,
    growth: bool = True,
    mass: str | Mapping[Any, float] = "equal",
    relaxation: float = 1.0,
    bending: float | None = None,
    n_members: int = 5,
    n_steps: int = 2_000,
    seed: int = 0,
) -> VectorField:
    """Find the vector field that takes the cells of each time to those of the next.

    Cells of consecutive times are coupled by optimal transport that lets cells grow and die;
    paths between them bend where the times before and after say so; networks are fitted to the
    velocities and growths of the paths.

    Parameters
    ----------
    z
        States, shape ``(n_cells, n_latent)``: of any model, or principal components. Or a trained
        model, whose cells and their posteriors are taken.
    time
        Time of each cell, shape ``(n_cells,)``, numbers; distances between them count.
    time_key
        Column of ``model.adata.obs`` with the times, where ``z`` is a model.
    indices
        Which cells of a model: positions, a boolean mask, a slice, or names; all by default.
    growth
        Let cells become more and fewer; else the mass of each stays what it is.
    mass
        How much there is of the population at each time: ``"equal"``, since how many cells are
        sequenced says nothing of it, so that growth is relative to the mean; ``"cells"`` where it
        does; or a number for each time.
    relaxation
        What it costs to let a cell grow or die rather than to move it, in units of the mean
        squared distance between cells of two times. Less lets more grow.
    bending
        How far paths bend to meet the times before and after, from 0, straight, to 1. By default
        what predicts inner times best when each is left out in turn; 0.5 of three times, of
        which none can tell.
    n_members
        Fields that it is the mean of, each from cells drawn anew (and from draws of their
        posteriors), whose differences are its uncertainty.
    n_steps
        Steps of the training.
    seed
        Of all draws.

    Returns
    -------
    Field of velocity and growth; what it was found from is in its ``samples``.

    Raises
    ------
    lucidvi.errors.DataError
        If states or times are not finite numbers, or there are too few times or cells of one.
    lucidvi.errors.ModelTypeError
        If the states of a model are shares that sum to one.
    lucidvi.errors.MissingPackageError
        If POT or torchdiffeq is not installed.

    Warns
    -----
    UserWarning
        If cells of two consecutive times differ no more than where their times are permuted: a
        field between these has no direction in the data.

    Examples
    --------
    >>> from lucidvi import dynamics
    >>> field = dynamics.fit_flow(adata.obsm["X_pca"], adata.obs["day"])  # doctest: +SKIP
    >>> later = field.integrate(adata.obsm["X_pca"], 2.0, 4.0)  # doctest: +SKIP
    """
    _check(growth, mass, relaxation, bending)
    for name, value, least in (
        ("n_members", n_members, 1),
        ("n_steps", n_steps, 1),
        ("seed", seed, 0),
    ):
        check_whole(name, value, least=least)
    ot = pot("`fit_flow`", "dynamics")
    solver()  # before anything that takes long
    of_model = hasattr(z, "get_latent_representation")
    read = samples_of_model if of_model else samples_of_arrays
    samples = read(z, time, time_key, mass, indices)
    chances = _chances_of_apart(samples, seed)
    rng = np.random.default_rng(seed)
    price = relaxation if growth else None
    (some,) = samples.drawn(1, MOST_CELLS, rng)
    apart = np.array(chances[1:]) <= SAME
    left_out = leave_out(ot, samples.times, some.means, samples.masses, price, bending, apart, rng)
    paths = [
        paths_between(
            ot,
            samples.times,
            drawn.means,
            drawn.states,
            samples.masses,
            price,
            left_out.bending,
            rng,
        )
        for drawn in track(
            samples.drawn(n_members, MOST_CELLS, rng), "Coupling cells", slow_steps=True
        )
    ]
    units = Units.of(paths, rng)
    velocities, growths = match(paths, units, growth=growth, n_steps=n_steps, seed=seed)
    field = VectorField(
        velocities,
        growths,
        units.center,
        units.axes,
        units.spread,
        samples.times,
        units.speed,
        units.rate,
    )
    return replace(field, samples=_told(field, samples, chances, left_out))


def _chances_of_apart(samples: Samples, seed: int) -> list[float]:
    """Return of each time how far it can be told from the one before; warn where it cannot."""
    rng = np.random.default_rng(seed)
    chances = [chance_of_apart(first, second, rng) for first, second in pairwise(samples.states)]
    same = [
        f"{first:.12g} and {second:.12g}"
        for (first, second), chance in zip(pairwise(samples.times), chances, strict=True)
        if chance > SAME
    ]
    if same:
        warnings.warn(
            f"Cells of the times {listed(same)} are no further apart than cells whose times are "
            "permuted, so that the data say nothing of a direction between these.",
            stacklevel=3,
        )
    return [np.nan, *chances]


def _told(
    field: VectorField, samples: Samples, chances: list[float], left_out: LeftOut
) -> pd.DataFrame:
    """Say what there was at each time, and what the first time's cells become of it."""
    first = samples.states[0][:MOST_CELLS]
    log_mass = field.integrate(first, samples.times[0], samples.times.tolist()).log_mass
    columns = {
        "n_cells": [len(states) for states in samples.states],
        "mass": samples.masses,
        "mass_of_field": np.exp(log_mass).mean(axis=1),
        "p_apart": chances,
        "unpredicted": left_out.unpredicted,
    }
    return pd.DataFrame(columns, index=pd.Index(samples.times, name="time"))


def _check(growth: bool, mass: Any, relaxation: Any, bending: Any) -> None:
    if not (is_number(relaxation) and relaxation > 0):
        raise DataError(
            f"`relaxation` is {relaxation!r}.",
            remedy="give a positive number, such as 1, or `growth=False` for no growth.",
        )
    if bending is not None:
        check_share("bending", bending)
    if not growth and not (isinstance(mass, str) and mass == "equal"):
        raise DataError(
            f"`mass` is {mass!r}, and with `growth=False` it stays what it is.",
            remedy="growth=True, or mass='equal'.",
        )

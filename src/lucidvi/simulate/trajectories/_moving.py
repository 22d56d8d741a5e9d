"""Cells whose states move along a field, and the counts that they would have there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from anndata import AnnData
from numpy.typing import ArrayLike, NDArray

from lucidvi.checks import cell_times, check_column, positive_numbers
from lucidvi.dynamics import VectorField
from lucidvi.errors import DataError
from lucidvi.inference import posterior_of
from lucidvi.model import Cells
from lucidvi.simulate._covariates import Setting, columns_of, read_setting
from lucidvi.simulate._output import Output, columns_of_origin

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Decoding:
    """What moved cells are decoded under.

    Parameters
    ----------
    setting
        Covariates in place of the cells' own.
    exposures
        Exposures in place of the cells' own, shape ``(n_cells,)``; None for these.
    """

    setting: Setting
    exposures: Floats | None

    @classmethod
    def of(
        cls,
        model: Any,
        batch: Any,
        covariates: Mapping[str, Any] | None,
        library_size: float | ArrayLike | None,
        n_cells: int,
        rng: np.random.Generator | None = None,
    ) -> Decoding:
        """Check what was asked for.

        Parameters
        ----------
        model
            Model that decodes.
        batch, covariates, library_size
            See :func:`lucidvi.simulate.sample_cells`.
        n_cells
            How many cells there are.
        rng
            Generator that mixes cells where shares of categories are asked for.
        """
        setting = read_setting(model, batch, covariates, n_cells, rng)
        if library_size is None:
            return cls(setting, None)
        return cls(setting, positive_numbers("library_size", library_size, n_cells))

    def select(self, rows: NDArray[np.integer]) -> Decoding:
        """Return what some of the cells are decoded under, each perhaps several times."""
        values = {name: of_cells[rows] for name, of_cells in self.setting.values.items()}
        exposures = None if self.exposures is None else self.exposures[rows]
        return Decoding(replace(self.setting, values=values), exposures)


def check_field(model: Any, field: Any) -> None:
    """Raise an error unless a field moves the states of a model.

    Parameters
    ----------
    model
        Of counts.
    field
        What should be a field.
    """
    if not isinstance(field, VectorField):
        raise DataError(
            f"`field` is a {type(field).__name__}, and no field that cells can follow.",
            remedy='field = dynamics.fit_flow(model, time_key="day"), or dynamics.flow_of(model)',
        )
    n_latent = int(model.module.n_latent)
    if field.n_latent != n_latent:
        raise DataError(
            f"`field` has {field.n_latent} dimensions, and the model {n_latent}.",
            remedy='field = dynamics.fit_flow(model, time_key="day")',
        )


def times_of(cells: Cells, time_key: str | None, field: VectorField) -> NDArray[np.float64]:
    """Return when cells are where they are, shape ``(n_cells,)``.

    Parameters
    ----------
    cells
        The cells.
    time_key
        Column of their times; None where the field depends on no time, and they begin at zero.
    field
        The field.
    """
    if time_key is None:
        if field.is_stationary:
            return np.zeros(len(cells))
        raise DataError(
            "`time_key` is not given, and the field depends on time.",
            remedy='time_key="day", the column that the field was fitted with.',
        )
    obs = cells.obs
    check_column(obs, "time_key", time_key)
    return cell_times(obs[time_key], len(obs), obs.index)


class Drawn(NamedTuple):
    """Draws of what is latent in cells.

    Parameters
    ----------
    states
        All of it, log exposures too where these are latent, shape ``(n, n_cells, n_state)``.
    z
        Shape ``(n, n_cells, n_latent)``.
    """

    states: NDArray[np.float32]
    z: NDArray[np.float32]


def drawn_states(cells: Cells, posterior: str, n: int) -> Drawn:
    """Draw what is latent in cells from their posteriors, ``n`` times."""
    draws = []
    for _, target in cells.targets("Drawing states"):
        q = posterior_of(target, posterior)
        states = torch.stack([q.sample() for _ in range(n)])
        draws.append((states.float().cpu(), target.latent(states).float().cpu()))
    return Drawn(*(torch.cat(parts, dim=1).numpy() for parts in zip(*draws, strict=True)))


def decoded(
    cells: Cells, states: Floats, z: Floats, decoding: Decoding, names: list[str]
) -> AnnData:
    """Draw the counts that cells have in other states.

    Parameters
    ----------
    cells
        Cells whose covariates and exposures are kept, a row each, perhaps several times.
    states
        What was drawn of them, shape ``(n_cells, n_state)``.
    z
        Where they are, shape ``(n_cells, n_latent)``.
    decoding
        What they are decoded under.
    names
        Names of the rows.
    """
    output, exposures = Output(), np.empty(len(cells))
    for rows, original in cells.targets("Decoding"):
        target = decoding.setting.of(original, rows)
        own, there = (torch.as_tensor(x[rows]).to(original.q0.mean) for x in (states, z))
        state = target.with_latent(own, there)
        if decoding.exposures is not None:
            target, state = target.with_exposure(state, torch.tensor(decoding.exposures[rows]))
        output.add([(target.representation(state), target.likelihood(state))])
        exposures[rows] = target.exposure(state).cpu().numpy()
    columns = [*columns_of(cells.model), "lucidvi_origin"]
    obs = decoding.setting.write(columns_of_origin(cells)[columns].set_axis(names))
    return output.adata(cells.model, obs.assign(lucidvi_exposure=exposures))

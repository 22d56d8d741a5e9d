"""New cells."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from anndata import AnnData
from numpy.typing import ArrayLike
from scvi.model.base import BaseModelClass

from lucidvi._kinds import checked
from lucidvi.checks import check_choice, check_whole, positive_numbers
from lucidvi.data import category_codes
from lucidvi.errors import DataError
from lucidvi.inference import POSTERIORS, posterior_of
from lucidvi.model import Cells
from lucidvi.simulate._covariates import Setting, columns_of, read_setting
from lucidvi.simulate._drawing import drawing
from lucidvi.simulate._models import cells_with_counts, model_of_counts
from lucidvi.simulate._output import Output, columns_of_origin
from lucidvi.simulate._record import recorded

#: What is assumed, by the source of the states; ``"cells"`` where these were chosen.
ASSUMED_OF_STATES = {
    "prior": "Latent states are the prior's, so that cells are as the model expects them before "
    "it sees any: they are like the data where the aggregate posterior is like the prior.",
    "posterior": "Latent states are from the posteriors of random cells, so that types and states "
    "have the proportions of the data.",
    "cells": "Latent states are from the posteriors of the chosen cells; under other covariates "
    "than their own the states are assumed not to depend on these.",
}
#: The values of ``source``.
SOURCES = ("posterior", "prior")
ASSUMPTIONS = (
    "Given state, covariates and exposure, the genes' counts are independent, of the likelihood "
    "that the model was trained with.",
    "Exposures are those of cells of the data, or those that were asked for.",
)


@checked
def sample_cells(
    model: BaseModelClass,
    n_cells: int = 1000,
    *,
    source: Literal["posterior", "prior"] = "posterior",
    adata: AnnData | None = None,
    indices: Any | None = None,
    batch: Any = None,
    covariates: Mapping[str, Any] | None = None,
    library_size: float | ArrayLike | None = None,
    posterior: Literal["encoder", "refined"] = "refined",
    seed: int = 0,
) -> AnnData:
    r"""Draw new cells from the model.

    .. math::
        z \sim q(z \mid x_c, s_c) \;\text{ or }\; p(z), \qquad x \sim p(x \mid z, s, \ell)

    Every new cell follows one that was measured, from which it has whatever is not asked for:
    covariates :math:`s`, exposure :math:`\ell`, and unless it is the prior's, the posterior of its
    state.

    Parameters
    ----------
    model
        Trained model of counts, of LucidVI or scvi-tools, with its AnnData.
    n_cells
        Number of new cells.
    source
        ``"posterior"`` takes the states from the posteriors of the cells that are followed (of
        random ones, this is the aggregate posterior), ``"prior"`` from the prior given the
        covariates.
    adata
        Cells with counts to follow; by default the model's.
    indices
        Which cells to follow, each as often as the others up to one: positions, a boolean mask, a
        slice, or names. By default all of an ``adata``; without one, random cells of the model's
        data, with replacement, which have the batch and covariates that are asked for, and of a
        model of several modalities the main one.
    batch
        Batch of all cells, one for each, or a mapping from batches to shares; by default those of
        the cells that are followed. It says which random cells are followed, so that states and
        exposures are those of the batch; chosen cells are decoded under it.
    covariates
        By name of the column what ``batch`` may be. Labels count as one where the model was set up
        with them. A continuous one is a number for all cells or one for each, and never says which
        cells are followed.
    library_size
        Exposure of all cells, or one for each: the expected total count, or the size factor of a
        model that has these. By default that of the cell that is followed (of a latent library, a
        draw from its posterior, or for ``"prior"`` from its prior).
    posterior
        Posterior of the states, see :func:`lucidvi.inference.posterior_of`: ``"refined"`` for each
        cell, with a full covariance, or the ``"encoder"``'s.
    seed
        Seed of the draws.

    Returns
    -------
    Counts in ``X`` (CSR, float32), states in ``obsm["X_lucidvi"]``, ``var`` of the model, in
    ``obs`` the covariates, ``lucidvi_exposure`` and ``lucidvi_origin``, the cell whose posterior
    the state is from (not for the prior), and the request with its assumptions in
    ``uns["lucidvi_simulation"]``.

    Raises
    ------
    lucidvi.errors.DataError, lucidvi.errors.MissingKeyError
        If ``n_cells`` is below one, the model does not know a covariate or a category, no cell of
        the data has the wanted ones, an exposure is not positive, or something is wrong with the
        cells.
    lucidvi.errors.ModelTypeError
        If ``model`` has no counts.
    """
    request = {
        "n_cells": n_cells,
        "source": source,
        "adata": adata,
        "indices": indices,
        "batch": batch,
        "covariates": covariates,
        "library_size": library_size,
        "posterior": posterior,
        "seed": seed,
    }
    model = model_of_counts(model)
    check_whole("n_cells", n_cells, least=1)
    check_whole("seed", seed)
    check_choice("source", source, SOURCES)
    check_choice("posterior", posterior, POSTERIORS)
    rng = np.random.default_rng(seed)
    setting = read_setting(model, batch, covariates, n_cells, rng)
    exposure = (
        None if library_size is None else positive_numbers("library_size", library_size, n_cells)
    )
    are_chosen = adata is not None or indices is not None
    follow = _chosen if are_chosen else _random
    if are_chosen:
        candidates = cells_with_counts(model, adata, indices)
    else:
        candidates = Cells.of(model)
        candidates = candidates.select(candidates.have())
    followed = follow(candidates, setting, n_cells, rng)
    output, exposures = Output(), np.empty(n_cells)
    with drawing(model, seed):
        for rows, original in followed.targets("Sampling"):
            target = setting.of(original, rows)
            q = target.prior if source == "prior" else posterior_of(original, posterior)
            z = q.sample()
            if exposure is not None:
                target, z = target.with_exposure(z, torch.tensor(exposure[rows]))
            output.add([(target.representation(z), target.likelihood(z))])
            exposures[rows] = target.exposure(z).cpu().numpy()
    columns = [*columns_of(model), *(() if source == "prior" else ("lucidvi_origin",))]
    names = [f"sample{i}" for i in range(n_cells)]
    obs = setting.write(columns_of_origin(followed)[columns].set_axis(names))
    obs["lucidvi_exposure"] = exposures
    of_states = ASSUMED_OF_STATES["cells" if are_chosen and source != "prior" else source]
    return recorded(output.adata(model, obs), "sample_cells", request, [of_states, *ASSUMPTIONS])


def _chosen(cells: Cells, setting: Setting, n_cells: int, rng: np.random.Generator) -> Cells:
    """Follow each of the cells as often as the others, up to one, in random order."""
    order = rng.permutation(np.arange(len(cells)))
    return cells.select(rng.permutation(np.resize(order, n_cells)))


def _random(cells: Cells, setting: Setting, n_cells: int, rng: np.random.Generator) -> Cells:
    """Follow random cells that have the categories of each new one, with replacement."""
    names = setting.categorical
    if not names:
        return cells.select(rng.integers(len(cells), size=n_cells))
    wanted = pd.DataFrame({name: setting.values[name] for name in names})
    measured = pd.DataFrame(
        {
            name: category_codes(cells.obs[name], setting.columns[name].categories, name)
            for name in names
        }
    )
    both = pd.concat([measured, wanted])
    groups = both.groupby(names, sort=False).ngroup().to_numpy()
    measured_group, wanted_group = groups[: len(cells)], groups[len(cells) :]
    positions = np.empty(n_cells, dtype=int)
    for group in np.unique(wanted_group):
        rows = np.flatnonzero(wanted_group == group)
        candidates = np.flatnonzero(measured_group == group)
        if len(candidates) == 0:
            raise DataError(
                f"No cell of the data has {_categories(setting, rows[0])}.",
                remedy="Choose the cells whose states to decode so, `indices=...`, or take values "
                "that occur together.",
            )
        positions[rows] = rng.choice(candidates, size=len(rows))
    return cells.select(positions)


def _categories(setting: Setting, row: int) -> dict[str, str]:
    """Return the categories of a new cell as text, by column."""
    return {name: str(setting.shown(name)[row]) for name in setting.categorical}

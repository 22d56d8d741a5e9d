"""New cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
import scvi
import torch
from anndata import AnnData
from numpy.typing import ArrayLike, NDArray

from lucidvi.checks import check_choice, check_whole, positive_numbers
from lucidvi.data import category_codes
from lucidvi.errors import DataError
from lucidvi.inference import POSTERIORS, posterior_of
from lucidvi.model import SCVI, Cells, capable
from lucidvi.simulate._covariates import Setting, columns_of, read_setting
from lucidvi.simulate._drawing import drawing
from lucidvi.simulate._output import Output, columns_of_origin
from lucidvi.simulate._record import recorded

#: The values of ``around`` that are words.
AROUND = ("aggregate", "prior")
#: What is assumed, by what the states are drawn from.
FROM = {
    "prior": "Latent states are the prior's, so that cells are as the model expects them before "
    "it sees any: they are like the data where the aggregate posterior is like the prior.",
    "aggregate": "Latent states are from the posteriors of random cells, so that types and states "
    "have the proportions of the data.",
    "cells": "Latent states are from the posteriors of the given cells; under other covariates "
    "than their own the states are assumed not to depend on these.",
}
ASSUMPTIONS = (
    "Given state, covariates and exposure, the genes' counts are independent, of the likelihood "
    "that the model was trained with.",
    "Exposures are those of cells of the data, or those that were asked for.",
)


def sample_cells(
    model: SCVI | scvi.model.SCVI,
    n: int = 1000,
    *,
    around: Literal["aggregate", "prior"] | AnnData | Sequence[Any] | NDArray[Any] = "aggregate",
    batch: Any = None,
    covariates: Mapping[str, Any] | None = None,
    library_size: float | ArrayLike | None = None,
    posterior: Literal["refined", "encoder"] = "refined",
    seed: int = 0,
) -> AnnData:
    r"""Draw new cells from the model.

    .. math::
        z \sim p(z) \;\text{ or }\; q(z \mid x_c, s_c), \qquad x \sim p(x \mid z, s, \ell)

    Every new cell follows one of the data, from which it has whatever is not asked for: covariates
    :math:`s`, exposure :math:`\ell`, and unless it is the prior's, the posterior of its state.

    Parameters
    ----------
    model
        Trained :class:`lucidvi.model.SCVI`, or a SCVI of scvi-tools, with its AnnData.
    n
        Number of cells.
    around
        ``"aggregate"`` takes the states from the posteriors of random cells (the aggregate
        posterior), ``"prior"`` from the prior given the covariates. Cells, as an AnnData or as
        positions, a mask or names in the model's data, take them from the posteriors of these,
        each as often as the others up to one.
    batch
        Batch of all cells, one for each, or a mapping from batches to shares; by default as in the
        data. For ``"aggregate"`` and ``"prior"`` it says which cells are followed, so that states
        and exposures are those of the batch; given cells are decoded under it.
    covariates
        By name of the column what ``batch`` may be. Labels count as one where the model was set up
        with them. A continuous one is a number for all cells or one for each, and never says which
        cells are followed.
    library_size
        Exposure of all cells, or one for each: the expected total count, or the size factor of a
        model that has these. By default that of the cell that is followed (of a latent library, a
        draw from its posterior, or for ``"prior"`` from its prior).
    posterior
        Of the states: ``"refined"`` for each cell, with a full covariance
        (:func:`lucidvi.inference.refine`), or the ``"encoder"``'s.
    seed
        Of the draws.

    Returns
    -------
    Counts in ``X`` (CSR, float32), states in ``obsm["X_lucidvi"]``, ``var`` of the model, in
    ``obs`` the covariates, ``lucidvi_exposure`` and ``lucidvi_origin``, the cell whose posterior
    the state is from (not for the prior), and the request with its assumptions in
    ``uns["lucidvi_simulation"]``.

    Raises
    ------
    lucidvi.errors.DataError, lucidvi.errors.MissingKeyError
        If ``n`` is below one, the model does not know a covariate or a category, no cell of the
        data has the wanted ones, an exposure is not positive, or something is wrong with the
        cells.
    lucidvi.errors.ModelTypeError
        If ``model`` is no SCVI of counts.
    """
    request = {name: value for name, value in locals().items() if name != "model"}
    known = capable(model, "counts")
    check_whole("n", n, least=1)
    check_whole("seed", seed)
    check_choice("posterior", posterior, POSTERIORS)
    if isinstance(around, str):
        check_choice("around", around, AROUND)
    rng = np.random.default_rng(seed)
    setting = read_setting(known, batch, covariates, n, rng)
    exposure = None if library_size is None else positive_numbers("library_size", library_size, n)
    kind = around if isinstance(around, str) else "cells"
    followed = _followed(known, around, setting, n, rng)
    output, exposures = Output(), np.empty(n)
    with drawing(known, seed):
        for rows, own in followed.targets("Sampling"):
            target = setting.of(own, rows)
            q = target.prior if kind == "prior" else posterior_of(own, posterior)
            z = q.sample()
            if exposure is not None:
                target, z = target.with_exposure(z, torch.tensor(exposure[rows]))
            output.add([(target.representation(z), target.likelihood(z))])
            exposures[rows] = target.exposure(z).cpu().numpy()
    columns = [*columns_of(known), *(() if kind == "prior" else ("lucidvi_origin",))]
    names = [f"sample{i}" for i in range(n)]
    obs = setting.write(columns_of_origin(followed)[columns].set_axis(names))
    obs["lucidvi_exposure"] = exposures
    out = output.adata(known, obs)
    return recorded(out, "sample_cells", request, [FROM[kind], *ASSUMPTIONS])


def _followed(
    model: SCVI, around: Any, setting: Setting, n: int, rng: np.random.Generator
) -> Cells:
    """Choose the cell of the data that each new one follows."""
    if isinstance(around, str):
        cells = Cells.of(model, None)
        return Cells(model, cells.adata, _matching(cells.adata.obs, setting, n, rng))
    given = (around, None) if isinstance(around, AnnData) else (None, around)
    cells = Cells.of(model, *given)
    order = rng.permutation(np.arange(len(cells)))
    return cells.select(rng.permutation(np.resize(order, n)))


def _matching(
    obs: pd.DataFrame, setting: Setting, n: int, rng: np.random.Generator
) -> NDArray[np.integer]:
    """Draw cells that have the categories of each new one, with replacement."""
    if not setting.categorical:
        return rng.integers(len(obs), size=n)
    names = setting.categorical
    wanted = pd.DataFrame({name: setting.values[name] for name in names})
    has = {
        name: category_codes(obs[name], setting.columns[name].categories, name) for name in names
    }
    both = pd.concat([pd.DataFrame(has), wanted])
    groups = both.groupby(names, sort=False).ngroup().to_numpy()
    present, asked = groups[: len(obs)], groups[len(obs) :]
    chosen = np.empty(n, dtype=int)
    for group in np.unique(asked):
        rows, cells = np.flatnonzero(asked == group), np.flatnonzero(present == group)
        if len(cells) == 0:
            raise DataError(
                f"No cell of the data has {_first(setting, rows[0])}.",
                remedy="Give the cells whose states to decode so, `around=adata`, or take values "
                "that occur together.",
            )
        chosen[rows] = rng.choice(cells, size=len(rows))
    return chosen


def _first(setting: Setting, row: int) -> dict[str, str]:
    """Return the categories of a new cell as text, by column."""
    return {name: str(setting.shown(name)[row]) for name in setting.categorical}

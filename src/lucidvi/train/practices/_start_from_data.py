"""A start at the data, and not at random weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from scvi import REGISTRY_KEYS

from lucidvi.data import CellSplitter
from lucidvi.kernels import to_dense
from lucidvi.train.practices._practice import Practice, Training
from lucidvi.train.practices._start import GeneMoments, start_from

#: Training cells whose moments are taken.
N_CELLS = 50_000


@dataclass(eq=False)
class StartFromData(Practice):
    """Start of a new module at the mean and dispersion that each gene has in the training cells.

    A prior that can starts at some of the cells. Nothing changes for a module that was trained
    before, or whose cells come from a ``datamodule``.

    Parameters
    ----------
    start_from_data
        Start a new module at the mean and dispersion that each gene has in the training cells,
        and a prior that can at some of them; False by default, True in the preset ``"lucid"``.
        Not with a ``datamodule``.
    """

    start_from_data: bool = False

    def on_fit_start(self, training: Training) -> None:
        """Give a new module its start."""
        module, data = training.plain_module, training.data
        if data is None or not training.is_from_scratch:
            return
        cells = data.some_training_cells(N_CELLS)
        start_from(module, GeneMoments.of(cells, by_size_factor=module.use_size_factor_key))
        start_prior(module, data)


def start_prior(module: Any, data: CellSplitter) -> None:
    """Start a prior at as many training cells as it says."""
    n_cells = module.prior.n_starting_cells
    if n_cells == 0:
        return
    cells = data.spread_training_cells(n_cells)
    x = to_dense(module.encoder_input(cells[REGISTRY_KEYS.X_KEY]))
    module.prior.start_from(x, module.covariates(cells))

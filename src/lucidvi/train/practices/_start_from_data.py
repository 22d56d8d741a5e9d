"""A start at the data, and not at random weights."""

from __future__ import annotations

from dataclasses import dataclass

from lucidvi.module import Startable, offers
from lucidvi.train.practices._moments import moments_of
from lucidvi.train.practices._practice import Practice, Training

#: Training cells whose moments are taken.
N_CELLS = 50_000


@dataclass(eq=False)
class StartFromData(Practice):
    """Start of a new module at the mean and dispersion that each gene has in the training cells.

    A prior that can starts at some of the cells. Nothing changes for a module that was trained
    before, one that is not :class:`lucidvi.module.Startable`, or whose cells come from a
    ``datamodule``.

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
        if data is None or not training.is_from_scratch or not offers(module, Startable):
            return
        moments = moments_of(training.plain_module, data.some_training_cells(N_CELLS))
        n_cells = module.n_starting_cells
        module.start_from(moments, data.spread_training_cells(n_cells) if n_cells > 0 else None)

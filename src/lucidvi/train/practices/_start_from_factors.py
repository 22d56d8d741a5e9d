"""A start at linear factors of the cells, and not at a random encoder and decoder."""

from __future__ import annotations

from dataclasses import dataclass

from scvi import REGISTRY_KEYS

from lucidvi.module import Factorable, offers
from lucidvi.train.practices._factors import factors_of
from lucidvi.train.practices._practice import Practice, Training

#: Training cells, evenly spaced, of which the factors are.
N_CELLS = 4_000


@dataclass(eq=False)
class StartFromFactors(Practice):
    """Start of a new module at the linear factors along which the training cells vary most.

    The first epochs of a training go by until encoder and decoder agree on what the latent
    dimensions mean. A truncated singular value decomposition of a few thousand cells says so in
    less than the time of one epoch; the networks then start as the linear encoder and the
    log-linear decoder of these factors, and learn from there. Nothing changes for a module that
    was trained before, has several batches or is not :class:`lucidvi.module.Factorable`, or
    whose cells come from a ``datamodule``.

    Parameters
    ----------
    start_from_factors
        Start encoder and decoder of a new module at the linear factors along which the training
        cells vary most; False by default, True in the preset ``"lucid"`` for many cells. Not
        with several batches, nor with a ``datamodule``.
    """

    start_from_factors: bool = False

    def on_fit_start(self, training: Training) -> None:
        """Give a new module its start."""
        module, data = training.plain_module, training.data
        if data is None or not training.is_from_scratch or not offers(module, Factorable):
            return
        if module.n_factors == 0:
            return
        cells = data.spread_training_cells(min(N_CELLS, len(data.train_idx)))
        x = cells[REGISTRY_KEYS.X_KEY]
        factors = factors_of(x, module.encoder_input(x), module.n_factors)
        if factors.loadings.shape[1] > 0:
            module.start_from_factors(factors.directions, factors.loadings)

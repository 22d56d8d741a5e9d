"""How far the encoder is off: what the check of it finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pandas as pd

from lucidvi.results._finding import Finding


@dataclass(frozen=True)
class GroupGap:
    """Mean gaps of the cells of one batch or label.

    Parameters
    ----------
    by
        What the cells share: ``"batch"`` or ``"label"``.
    group
        Name of the batch or label.
    n_cells
        Number of cells that were measured.
    amortization_gap, approximation_gap
        Mean gaps, nats a cell.
    error_in_sd
        The encoder's error, see :class:`Amortization`.
    """

    by: str
    group: str
    n_cells: int
    amortization_gap: float
    approximation_gap: float
    error_in_sd: float


@dataclass(frozen=True, kw_only=True)
class Amortization(Finding):
    r"""What the encoder misses.

    Parameters
    ----------
    mean_amortization_gap, mean_approximation_gap
        Means over the cells, nats.
    missed_share
        Share of what the latent state could explain that the encoder misses.
    error_in_sd
        Typical error of the encoder in standard deviations of the posterior, see
        :func:`lucidvi.audit.checks.amortization`.
    neighbours_changed
        Share of the nearest neighbours that are others after refinement.
    neighbours_changed_by_chance
        Share that are others between two draws of the refined posteriors.
    cells
        A row for each cell, under its name: ``amortization_gap`` and ``approximation_gap`` in
        nats, the share of its nearest neighbours that are others after refinement
        (``neighbours_changed``), its ``label`` and its ``batch``.
    groups
        Means by label and by batch.
    """

    name: ClassVar[str] = "amortization"
    title: ClassVar[str] = "Does the encoder find each cell's place?"
    explanation: ClassVar[str] = (
        "The encoder guesses each cell's latent state in one pass. Refinement finds the best "
        "state of each cell, with the decoder fixed; the log likelihood gained is the "
        "amortization gap. It is given in standard deviations of the posterior too: an error of "
        "one means that the encoder is as far off as it says itself that it may be. What even "
        "the best normal posterior with independent axes misses is the approximation gap, "
        "which refinement with a full covariance closes. Cells whose neighbours change are those "
        "whose clusters, labels and trajectories the encoder's error can change."
    )
    reference: ClassVar[str] = (
        "Cremer et al., ICML (2018), Inference suboptimality in variational autoencoders."
    )

    mean_amortization_gap: float
    mean_approximation_gap: float
    missed_share: float
    error_in_sd: float
    neighbours_changed: float
    neighbours_changed_by_chance: float
    cells: pd.DataFrame
    groups: tuple[GroupGap, ...]

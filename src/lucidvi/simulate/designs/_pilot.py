"""The cells that an experiment is planned by, and how far their donors differ."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from anndata import AnnData
from numpy.typing import NDArray

from lucidvi.errors import DataError
from lucidvi.model import Cells
from lucidvi.simulate._models import cells_with_counts
from lucidvi.simulate.comparisons._groups import donors_of
from lucidvi.simulate.designs._design import Design


@dataclass(frozen=True, eq=False)
class Pilot:
    """Cells of measured donors.

    Parameters
    ----------
    cells
        The cells.
    donor
        Code of each cell's donor, shape ``(n_cells,)``; None where ``donor_sd`` says how far
        donors differ.
    donor_sd
        Standard deviation of donors' logarithms, one number or several; None where donors tell.
    """

    cells: Cells
    donor: NDArray[np.integer] | None
    donor_sd: Any

    @classmethod
    def of(
        cls,
        model: Any,
        design: Design,
        adata: AnnData | None,
        indices: Any | None,
        donor_key: str | None,
        donor_sd: Any,
    ) -> Pilot:
        """Choose the cells of a pilot, or raise if there are too few of them or of their donors.

        Parameters
        ----------
        model, adata, indices, donor_key, donor_sd
            See :func:`lucidvi.simulate.design_expression`.
        design
            The largest of its sizes is what the cells have to be enough for.
        """
        if not isinstance(design, Design):
            raise DataError(
                f"`design` is {design!r}, and no `simulate.Design`.",
                remedy="design = simulate.Design(n_cells=[50, 100], n_donors=[4, 8])",
            )
        cells = cells_with_counts(model, adata, indices)
        n_donors = 2 * max(design.n_donors)
        if len(cells) < n_donors:
            raise DataError(
                f"There are {len(cells):,} cells, fewer than the {n_donors:,} donors that "
                "`n_donors` asks for in two groups.",
                remedy="Take more cells, or fewer donors.",
            )
        if (donor_key is None) == (donor_sd is None):
            raise DataError(
                f"`donor_key` is {donor_key!r} and `donor_sd` is {donor_sd!r}.",
                remedy="Name the column of the donors, or say how far they differ; 0 if not at "
                "all.",
            )
        return cls(cells, None if donor_key is None else _donor_codes(cells, donor_key), donor_sd)

    def spread(
        self, n: int, what: str, estimated: Callable[[NDArray[np.integer]], NDArray[np.float64]]
    ) -> NDArray[np.float64]:
        """Return the standard deviations of donors' natural logarithms.

        Parameters
        ----------
        n
            Number of what differs between donors.
        what
            What that is, in the singular: ``"gene"`` or ``"label"``.
        estimated
            Estimates the standard deviations from the codes of the cells' donors.

        Returns
        -------
        Shape ``(n,)``.
        """
        if self.donor is not None:
            return estimated(self.donor)
        spread = np.asarray(self.donor_sd, dtype=float)
        if spread.shape not in ((), (n,)) or not (np.isfinite(spread) & (spread >= 0)).all():
            raise DataError(
                f"`donor_sd` is {self.donor_sd!r}.",
                remedy=f"Give a number that is not negative, or {n:,} of them, one a {what}.",
            )
        return np.full(n, spread)


def _donor_codes(cells: Cells, donor_key: str) -> NDArray[np.integer]:
    codes = donors_of(cells.adata, donor_key)[cells.positions]
    if (np.bincount(codes) > 1).sum() < 2:
        raise DataError(
            f"`donor_key` is {donor_key!r}, and fewer than two donors have two cells among "
            f"the {len(cells):,}.",
            remedy="Give `donor_sd=` instead.",
        )
    return codes

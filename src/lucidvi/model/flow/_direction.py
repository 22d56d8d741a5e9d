"""Whether molecules prefer the direction in which cells move to its reverse."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from anndata import AnnData
from scipy import stats
from scvi.model.base import BaseModelClass
from sklearn.neighbors import NearestNeighbors

from lucidvi._progress import track
from lucidvi._random import isolated
from lucidvi.checks import check_whole
from lucidvi.model._cells import Cells
from lucidvi.model.flow._cells import AT_ONCE, decoded_blocks, fitted, spliced_cells
from lucidvi.model.queries._query import query
from lucidvi.module.kinetics import Evidence
from lucidvi.results import Direction, judge

#: Chance of a score like this without a direction from which on there is none, and of the evidence
#: around a cell.
CHANCE, CHANCE_OF_CELL = 0.001, 0.05
#: Share of cells with a direction below which it is said.
FEW = 0.5
#: What to do where there is no direction.
NO_ARROWS = """import numpy as np
velocity = model.get_velocity()
is_identified = model.get_direction().cells["is_identified"].to_numpy()
velocity[~is_identified] = np.nan  # no arrow where there is no direction
"""
#: Each half of the genes is asked about what the other half says, which is one question asked from
#: both sides: the sum of both answers has twice the variance of independent ones.
BOTH_SIDES = np.sqrt(2.0)


class DirectionMixin(BaseModelClass):
    """What can be trusted of the velocities."""

    @query(needs_counts=True)
    def get_direction(
        self,
        adata: AnnData | None = None,
        indices: Sequence[int] | None = None,
        *,
        n_neighbors: int = 50,
    ) -> Direction:
        """Find whether spliced and unspliced molecules prefer the direction to its reverse.

        Parameters
        ----------
        adata, indices
            The cells, see :meth:`get_elbo`.
        n_neighbors
            Nearest cells whose molecules count for a cell, too.

        Returns
        -------
        Score of the genes, and evidence around each cell; see
        :class:`lucidvi.results.Direction`.
        """
        check_whole("n_neighbors", n_neighbors)
        kinetics = fitted(self)
        cells = spliced_cells(self, adata, indices)
        names = Cells.of(self, adata, indices).names
        score, variance, cosine = (np.empty(len(cells.z)) for _ in range(3))
        n_blocks = -(-len(cells.z) // AT_ONCE)
        blocks = decoded_blocks(self, cells.z, cells.covariates)
        with isolated(module=self.module), torch.no_grad():
            for block in track(blocks, "Weighing evidence", n_blocks):
                molecules = cells.molecules(block.rows)
                said = Evidence.of(kinetics, block.last, block.decoded, block.z, molecules)
                slopes = said.slopes - kinetics.mean_slope
                rows = block.rows.numpy()
                score[rows] = (said.residual * slopes).sum(dim=1).cpu().numpy()
                variance[rows] = (said.variance * slopes.square()).sum(dim=1).cpu().numpy()
                members = kinetics.velocity(block.z)
                halves = torch.cosine_similarity(members[0::2], members[1::2], dim=-1)
                cosine[rows] = halves.mean(dim=0).cpu().numpy()
        near = _neighbours(cells.z.cpu().numpy(), n_neighbors)
        information = np.maximum(variance[near].sum(axis=1), 1e-12)
        evidence = score[near].sum(axis=1) / np.sqrt(information) / BOTH_SIDES
        used = kinetics.is_used.cpu().numpy()
        agreement = np.where(used, kinetics.agreement.cpu().numpy(), np.nan)
        return judged(
            pd.DataFrame(
                {"agreement": agreement, "is_used": used},
                index=pd.Index(self.get_var_names(), name="gene"),
            ),
            pd.DataFrame({"evidence": evidence, "cosine": cosine}, index=names),
        )


def _neighbours(z: np.ndarray, n_neighbors: int) -> np.ndarray:
    """Return each cell and its neighbours, shape ``(n_cells, n_neighbors + 1)``."""
    n = min(n_neighbors + 1, len(z))
    return NearestNeighbors(n_neighbors=n).fit(z).kneighbors(z, return_distance=False)


def judged(genes: pd.DataFrame, cells: pd.DataFrame) -> Direction:
    """Judge what genes and cells say.

    Parameters
    ----------
    genes
        A row a gene: ``agreement``, NaN where it is not known, and ``is_used``.
    cells
        A row a cell: ``evidence`` and ``cosine``.
    """
    agreement = genes["agreement"].dropna().to_numpy()
    n = len(agreement)
    score = float(agreement.mean() / (agreement.std(ddof=1) / np.sqrt(n)) / BOTH_SIDES)
    p_value, agreeing = float(stats.t.sf(score, n - 1)), float((agreement > 0).mean())
    there = p_value <= CHANCE
    enough = cells["evidence"].to_numpy() > stats.norm.isf(CHANCE_OF_CELL)
    identified = float((enough & there).mean())
    found = "prefer the direction to its reverse" if there else "do not prefer any direction"
    return Direction(
        criteria=(
            judge(
                "score",
                score,
                f"Molecules {found}: {agreeing:.0%} of {n:,} genes agree with what was learned "
                f"from others (score {score:.1f}, p = {p_value:.1g}).",
                fail=float(stats.t.isf(CHANCE, n - 1)),
                worse="lower",
                cure=NO_ARROWS,
            ),
            judge(
                "cells",
                identified,
                f"Around {identified:.0%} of the cells the direction is identified.",
                warn=FEW,
                worse="lower",
                cure=NO_ARROWS,
            ),
        ),
        score=score,
        p_value=p_value,
        agreeing=agreeing,
        identified=identified,
        genes=genes,
        cells=cells.assign(is_identified=enough & there)[["evidence", "is_identified", "cosine"]],
    )

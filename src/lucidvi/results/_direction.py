"""Whether molecules tell in which direction cells move: what the check of it finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pandas as pd

from lucidvi.results._finding import Finding


@dataclass(frozen=True, kw_only=True)
class Direction(Finding):
    """Whether spliced and unspliced molecules prefer a direction to its reverse, and where.

    Parameters
    ----------
    score
        Mean agreement of the genes over its standard error: a standard normal number where
        molecules do not know of the direction, above zero where they speak for it.
    p_value
        Probability of such a score, or a higher one, without a direction.
    agreeing
        Share of the genes that speak for the direction and not for its reverse: a half by chance.
    identified
        Share of the cells around which the direction is identified.
    genes
        A row a gene: ``agreement``, what its own molecules say of a direction that was learned
        from other genes, a standard normal number by chance; ``is_used``, whether there are
        enough of both kinds of its molecules.
    cells
        A row a cell: ``evidence``, what the molecules of the cell and its neighbours say of the
        direction, likewise; ``is_identified``; and ``cosine`` between the velocities that were
        learned from two halves of the genes.
    """

    name: ClassVar[str] = "direction"
    title: ClassVar[str] = "Do spliced and unspliced molecules tell where cells go?"
    explanation: ClassVar[str] = (
        "Fields of velocity are learned from halves of the genes. Each gene is then asked about "
        "the direction that was learned from genes of the other half: whether more of its "
        "molecules are unspliced where it should rise. Where spliced and unspliced molecules are "
        "exchangeable, genes speak for the direction as often as for its reverse. The same "
        "is asked of the molecules around each cell; where they do not prefer the direction, no "
        "arrow should be drawn."
    )
    reference: ClassVar[str] = (
        "La Manno et al., Nature 560 (2018), RNA velocity of single cells. "
        "Rao, Proc. Cambridge Philos. Soc. 44 (1948), for tests by scores."
    )

    score: float
    p_value: float
    agreeing: float
    identified: float
    genes: pd.DataFrame
    cells: pd.DataFrame

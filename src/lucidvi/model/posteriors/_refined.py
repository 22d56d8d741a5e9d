"""Refined posteriors of the cells of an AnnData."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray

from lucidvi._brief import brief
from lucidvi._compat import ADATA_MINIFY_TYPE, MINIFY_TYPE_UNS_KEY
from lucidvi.data import collection_in_memory, copy_in_memory, is_collection
from lucidvi.errors import DataError
from lucidvi.results import Posteriors


@dataclass(frozen=True, eq=False, kw_only=True)
class RefinedPosteriors(Posteriors):
    r"""Each cell's own posterior, as ``model.refine_posterior`` found it.

    Parameters
    ----------
    loc, scale, scale_tril, names
        The posteriors and the cells' names, see :class:`lucidvi.results.Posteriors`;
        ``scale_tril`` with ``family="full"`` alone.
    library
        Exposure (linear), shape ``(n_cells,)``: the observed total, or of a latent library
        :math:`\exp` of the refined mean of its log.
    elbo_before, elbo
        Evidence lower bound of the encoder's posterior and of the refined one on the same fixed
        draws, in nats, shape ``(n_cells,)``.
    n_steps
        Steps of the optimisation, shape ``(n_cells,)``.
    positions, source
        Positions of the cells in the AnnData that was refined, by which :meth:`to_adata` finds
        them where names are repeated; and then a digest of all its names, by which it knows it.
    slots
        Where scvi-tools looks for a stored posterior: names of the mean and the variance in
        ``obsm`` and of the exposure in ``obs``.
    """

    library: NDArray[np.floating]
    elbo_before: NDArray[np.floating]
    elbo: NDArray[np.floating]
    n_steps: NDArray[np.integer]
    slots: tuple[str, str, str]
    positions: NDArray[np.integer] | None = None
    source: str | None = None

    def __repr__(self) -> str:
        n_cells, n_latent = self.loc.shape
        gain = f"{np.mean(self.elbo - self.elbo_before):+.3g}" if n_cells else "0"
        family = "diagonal" if self.scale_tril is None else "full"
        return brief(
            self,
            f"{n_cells:,} cells",
            f"{n_latent} latent dimensions",
            f"family={family!r}",
            f"ELBO {gain} nats a cell",
        )

    def diagnostics(self) -> pd.DataFrame:
        """Return how the refinement of each cell went, with the cells' names as index.

        Returns
        -------
        A row a cell with ``library``, ``elbo_before``, ``elbo`` and ``n_steps``.
        """
        columns = ("library", "elbo_before", "elbo", "n_steps")
        return pd.DataFrame({name: getattr(self, name) for name in columns}, index=self.names)

    def to_adata(self, adata: AnnData) -> AnnData:
        """Return the refined cells with their posterior where scvi-tools stores one.

        Bound to it, ``model.adata = refined.to_adata(adata)``, a model takes every latent state
        from there: latent representation, normalized expression, differential expression. With
        ``family="full"`` these see the marginal variances alone.

        Parameters
        ----------
        adata
            AnnData that holds the refined cells, and possibly more. It is not changed.

        Returns
        -------
        A copy with the refined cells, in their order, and their counts.

        Raises
        ------
        lucidvi.errors.DataError
            If ``adata`` lacks some of the cells, or has names more than once and is not the
            AnnData that was refined.
        """
        cells = self._cells_in(adata)
        same = np.array_equal(cells, np.arange(adata.n_obs))
        if is_collection(adata):  # a view of which is no AnnData
            adata, same = collection_in_memory(adata), False
        refined = copy_in_memory(adata if same else adata[cells])
        mean, variance, library = self.slots
        refined.obsm[mean], refined.obsm[variance] = self.loc, self.scale**2
        refined.obs[library] = self.library
        refined.uns[MINIFY_TYPE_UNS_KEY] = ADATA_MINIFY_TYPE.LATENT_POSTERIOR_WITH_COUNTS
        return refined

    def _cells_in(self, adata: AnnData) -> np.ndarray:
        """Return the positions of the refined cells in an AnnData."""
        names = adata.obs_names
        missing = np.setdiff1d(np.asarray(self.names), names)
        if len(missing):
            raise DataError(
                f"`adata` lacks {len(missing)} of the refined cells, such as {str(missing[0])!r}.",
                remedy="Give the AnnData whose cells were refined.",
            )
        if names.is_unique:
            return names.get_indexer(self.names)
        if self.positions is None or self.source != digest(names):
            repeated = names[names.duplicated()]
            raise DataError(
                f"`adata` has {repeated.nunique():,} names of cells more than once, such as "
                f"{str(repeated[0])!r}, so that the refined cells can be found by their positions "
                "alone; and it is not the AnnData that was refined, or its cells have changed.",
                remedy="Give the very AnnData whose cells were refined; or, before refining, "
                "`adata.obs_names_make_unique()`.",
            )
        return self.positions


def digest(names: pd.Index) -> str | None:
    """Return what tells a sequence of names that are repeated from others; None of unique ones."""
    if names.is_unique:
        return None
    return hashlib.sha256("\n".join(map(str, names)).encode()).hexdigest()

"""Reading a query of several modalities, joined as those of the reference were."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from anndata import AnnData
from numpy.typing import NDArray
from scipy import sparse

from lucidvi.atlas.mapping._counts import ModelCounts
from lucidvi.atlas.mapping._genes import MeasuredGenes
from lucidvi.atlas.mapping._modalities import MeasuredModality
from lucidvi.atlas.mapping._query import Query
from lucidvi.atlas.mapping._query_columns import query_columns
from lucidvi.atlas.mapping._read_query import errors_name
from lucidvi.atlas.mapping._request import Request
from lucidvi.atlas.mapping._setup import Setup
from lucidvi.data import JoinedModality, Panels, read_modalities, write_modalities
from lucidvi.errors import DataError
from lucidvi.model import Cells


@dataclass(frozen=True)
class JoinedQuery(Query):
    """Cells that say themselves which modalities they have, and which features were measured.

    Parameters
    ----------
    joined
        The cells, joined; see :func:`lucidvi.data.join`.
    """

    joined: AnnData = field(default_factory=AnnData)

    def read(self, indices: NDArray[np.integer]) -> AnnData:
        """See :meth:`Query.read`."""
        adata = self._with_genes(indices)
        part = self.joined[indices]
        for key in self.setup.others:
            adata.obsm[key] = part.obsm[key].copy()
        every = read_modalities(part)
        main = self.setup.main.key
        # Which genes were measured is the same for all, and said as of a query of genes alone.
        every[main] = replace(every[main], panels=_whole(every[main].panels))
        write_modalities(adata, every)
        return adata

    def having(self, modality: str) -> NDArray[np.bool_]:
        """See :meth:`Query.having`."""
        return read_modalities(self.joined)[modality].panels.present

    def cells(self, model: Any, adata: AnnData, rows: NDArray[np.integer]) -> Cells:
        """See :meth:`Query.cells`."""
        return Cells(model, adata, rows)


def read_joined(joined: AnnData, model: Any, request: Request) -> JoinedQuery:
    """Check a query of several modalities and bring it into the form of a model's data.

    Parameters
    ----------
    joined
        The cells, joined with the features of the model.
    model
        Model of the reference.
    request
        How the cells are to be mapped.

    Raises
    ------
    lucidvi.errors.DataError, lucidvi.errors.MissingKeyError
        Whatever is wrong with the query.
    """
    for name, value in (("layer", request.layer), ("gene_key", request.gene_key)):
        if value is not None:
            raise DataError(
                f"`{name}` is {value!r}, and the reference is of several modalities, which are "
                "read from where it had them, by their features' names.",
                remedy="put counts and names there, and leave it out.",
            )
    setup = Setup.of(model)
    with errors_name():
        obs, new_batches = query_columns(joined.obs, setup, request.batch_key)
    modalities = read_modalities(joined)
    main, n_genes = modalities[setup.main.key], setup.main.n_features
    genes = _measured_in_all(main)
    identity = sparse.identity(n_genes, np.float32, "csr")
    return JoinedQuery(
        obs=obs,
        counts=ModelCounts(joined.X, sparse.csr_matrix(identity.multiply(genes[:, None]))),
        measured=MeasuredGenes(selection=identity, mask=genes),
        new_batches=new_batches,
        setup=setup,
        modalities=_others(modalities, setup),
        joined=joined,
    )


def _measured_in_all(modality: JoinedModality) -> NDArray[np.bool_]:
    """Which features were measured in every cell that has the modality; none without a cell."""
    used = _used(modality)
    if not len(used):
        return np.zeros(len(modality.features), bool)
    measured = np.asarray(used.all(axis=0))
    if not measured.any():
        raise DataError(
            f"No feature of {modality.name!r} was measured in all of the query's cells that have "
            "it.",
            remedy="map the cells of each panel by themselves.",
        )
    return measured


def _used(modality: JoinedModality) -> NDArray[np.bool_]:
    """Return the panels that a cell was measured with, shape ``(n_used, n_features)``."""
    panels = modality.panels
    return panels.table[np.unique(panels.codes[panels.present])]


def _whole(panels: Panels) -> Panels:
    """Return panels as if all features had been measured in the cells that have the modality."""
    n_features = panels.table.shape[1]
    return Panels(np.where(panels.present, 0, panels.codes), np.ones((1, n_features), bool))


def _others(modalities: Mapping[str, JoinedModality], setup: Setup) -> dict[str, MeasuredModality]:
    """Return which features of the other modalities were measured in any cell."""
    return {
        key: MeasuredModality(
            setup.place(modality), np.asarray(_used(modalities[key]).any(axis=0))
        )
        for key, modality in setup.others.items()
    }

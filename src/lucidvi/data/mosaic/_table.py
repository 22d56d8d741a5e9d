"""Which cells have what: one row a batch."""

from __future__ import annotations

import numpy as np
import pandas as pd
from anndata import AnnData

from lucidvi.data.modalities._registered import read_modalities

#: What a modality is shown as where no cell has it.
NOTHING = "-"


def table(joined: AnnData, batch_key: str | None = None) -> pd.DataFrame:
    """Return which cells have what.

    Parameters
    ----------
    joined
        Cells as :func:`~lucidvi.data.mosaic.join` returns them.
    batch_key
        Column of ``obs`` that names batches; None for one batch.

    Returns
    -------
    One row a batch. Columns are pairs: of ``("cells", "n")`` the number of cells; of each
    modality ``"cells"``, those that have it, ``"measured"``, features that were measured in one
    of them, and ``"features"``, all there are.
    """
    batches = pd.Series("all cells", index=joined.obs_names)
    if batch_key is not None:
        batches = joined.obs[batch_key].astype(str)
    rows = {}
    modalities = read_modalities(joined)
    for batch in dict.fromkeys(batches):
        cells = np.flatnonzero(batches == batch)
        row = {("cells", "n"): len(cells)}
        for name, modality in modalities.items():
            codes = np.unique(modality.panels.codes[cells])
            measured = modality.panels.with_absent[codes].any(axis=0)
            row[name, "cells"] = int(modality.panels.present[cells].sum())
            row[name, "measured"] = int(measured.sum())
            row[name, "features"] = len(modality.features)
        rows[batch] = row
    return pd.DataFrame.from_dict(rows, orient="index")


def described(counts: pd.DataFrame) -> str:
    """Return such a table as text.

    Parameters
    ----------
    counts
        See :func:`table`.
    """
    shown = pd.DataFrame({"cells": counts["cells", "n"].map("{:,}".format)})
    for name in dict.fromkeys(name for name, _ in counts.columns[1:]):
        shown[name] = [
            f"{cells:,} ({measured:,} of {features:,} features)" if cells else NOTHING
            for cells, measured, features in counts[name][["cells", "measured", "features"]].values
        ]
    return shown.to_string()

"""A model of simulated cells of three modalities."""

import pytest
import scvi
from tests.model.mosaic.cells import KINDS, as_mudata, simulated

from lucidvi.model import MOSAICVI


@pytest.fixture(scope="session")
def mosaic():
    """Half of the cells have no protein, a quarter no RNA; accessibility is of all, reversed."""
    parts, z = simulated()
    names = parts["rna"].obs_names
    parts["rna"] = parts["rna"][:300].copy()
    parts["prot"] = parts["prot"][200:].copy()
    parts["atac"] = parts["atac"][::-1].copy()
    mdata = as_mudata(parts)
    order = names.get_indexer(mdata.obs_names)
    return mdata, z[order]


@pytest.fixture(scope="session")
def model(mosaic):
    scvi.settings.seed = 0
    MOSAICVI.setup_mudata(mosaic[0], KINDS, batch_key="batch")
    model = MOSAICVI(mosaic[0], n_latent=4, n_hidden=32)
    model.train(max_epochs=120, enable_progress_bar=False)
    return model

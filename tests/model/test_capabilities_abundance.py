"""Differential abundance: a planted shift is found, every argument at work."""

import inspect

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from torch.distributions import Normal, StudentT

from lucidvi.model import SCVI

pytestmark = pytest.mark.filterwarnings(
    # scvi-tools 1.5, whenever it hands a loader to itself
    "ignore:Using .* after custom Dataloader was initialize:UserWarning"
)


@pytest.fixture
def cells(make_adata):
    """Cells of two samples: one is nearly all T, the other nearly all B."""
    adata = make_adata(120, seed=5)
    chance = np.where(adata.obs["label"] == "T", 0.9, 0.1)
    adata.obs["sample"] = np.where(np.random.default_rng(0).random(120) < chance, "young", "old")
    return adata


@pytest.mark.parametrize("dof", [None, 4.0])
def test_planted_abundance_is_found(ours, cells, dof):
    ours.differential_abundance(cells, sample_key="sample", dof=dof, batch_size=50)
    log_probs = cells.obsm["da_log_probs"]
    assert set(log_probs.columns) == {"young", "old"}
    is_t = (cells.obs["label"] == "T").to_numpy()
    ratio = log_probs["young"] - log_probs["old"]
    assert stats.mannwhitneyu(ratio[is_t], ratio[~is_t], alternative="greater").pvalue < 1e-6
    mean, variance = ours.get_latent_representation(cells, return_dist=True)
    components = {None: Normal, 4.0: lambda m, s: StudentT(dof, m, s)}[dof]
    for sample in ("young", "old"):
        rows = np.flatnonzero(cells.obs["sample"] == sample)
        density = [
            components(*map(ours.module.px_r.new_tensor, (mean[row], np.sqrt(variance[row]))))
            .log_prob(ours.module.px_r.new_tensor(mean))
            .sum(-1)
            .detach()
            .numpy()
            for row in rows
        ]
        expected = np.logaddexp.reduce(density, axis=0) - np.log(len(rows))
        np.testing.assert_allclose(log_probs[sample], expected, rtol=1e-3, atol=1e-3)


def test_abundance_from_a_few_cells_of_each_sample(ours, cells, monkeypatch):
    counted, posterior = [], ours.get_aggregated_posterior
    monkeypatch.setattr(
        ours,
        "get_aggregated_posterior",
        lambda indices, **kw: counted.append(len(indices)) or posterior(indices=indices, **kw),
        raising=False,
    )
    ours.differential_abundance(cells, sample_key="sample", num_cells_posterior=17)
    assert counted == [17, 17]


@pytest.mark.skipif(
    "adata_sub" not in inspect.signature(SCVI.differential_abundance).parameters,
    reason="scvi-tools before 1.5",
)
def test_abundance_of_some_cells(ours, cells, loader):
    ours.differential_abundance(adata=cells, sample_key="sample")
    some = cells[::4].copy()
    del some.obsm["da_log_probs"]
    ours.differential_abundance(adata=cells, adata_sub=some, sample_key="sample")
    pd.testing.assert_frame_equal(
        some.obsm["da_log_probs"],
        cells.obsm["da_log_probs"].loc[some.obs_names, some.obsm["da_log_probs"].columns],
        rtol=1e-4,
    )

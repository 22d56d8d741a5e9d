"""Models of scvi-tools that take a SCVI take LucidVI's."""

import importlib.util

import numpy as np
import pytest
import scvi

from lucidvi.model import SCVI
from lucidvi.module import VAE

TRAINING = {"max_epochs": 1, "accelerator": "cpu", "enable_progress_bar": False, "logger": False}
SINCE_1_5 = importlib.util.find_spec("scvi.external.vivs") is not None


def test_a_module_is_one_of_scvi_tools_without_its_constructor():
    module = VAE(n_input=5, n_latent=2, n_hidden=4)
    assert isinstance(module, scvi.module.VAE)
    theirs = scvi.module.VAE(n_input=5, n_latent=2, n_hidden=4)
    assert list(module.state_dict()) == list(theirs.state_dict())
    # Nothing that scvi-tools computes is left: every method of the five is LucidVI's.
    own = (
        "_regular_inference",
        "_cached_inference",
        "generative",
        "loss",
        "sample",
        "marginal_ll",
    )
    assert not any(getattr(VAE, name) is getattr(scvi.module.VAE, name) for name in own)


@pytest.mark.skipif(not SINCE_1_5, reason="scvi-tools before 1.5")
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(
    "kwargs",
    [
        {},
        {"gene_likelihood": "poisson", "dispersion": "gene-batch"},
        {"use_observed_lib_size": False, "latent_distribution": "ln"},
        {"posterior": "flow", "prior": "mixture"},
    ],
)
def test_vivs_gives_the_same_with_either(make_adata, kwargs):
    from scvi.external.vivs._model import VIVS

    adata = make_adata(80)
    adata.obsm["protein_expression"] = np.random.default_rng(0).normal(size=(80, 3))
    SCVI.setup_anndata(adata, batch_key="batch")
    model = SCVI(adata, n_hidden=8, n_latent=2, **kwargs)
    model.train(**TRAINING)
    known_to_both = not {"posterior", "prior"} & set(kwargs)
    results = []
    for each in [model, model.to_scvi_model()] if known_to_both else [model]:
        VIVS.setup_anndata(adata, y_obsm_key="protein_expression", batch_key="batch")
        scvi.settings.seed = 0
        tested = VIVS(adata, x_model=each)
        assert tested.module.x_module is each.module
        tested.train(**TRAINING)
        results.append(tested.get_importance(n_mc_samples=10)["pvalues"])
        results.append(tested.get_gene_correlations())
    for ours, theirs in zip(results[:2], results[2:], strict=False):
        np.testing.assert_allclose(ours, theirs, atol=1e-3)
    assert np.isfinite(results[0]).all()
    assert results[0].shape == (20, 3)


@pytest.mark.filterwarnings("ignore:Prior to scvi-tools 1.1.3:UserWarning")
def test_doublets_and_labels(make_adata):
    adata = make_adata(80)
    SCVI.setup_anndata(adata, labels_key="label")
    model = SCVI(adata, n_hidden=8, n_latent=2)
    model.train(**TRAINING)
    solo = scvi.external.SOLO.from_scvi_model(model)
    solo.train(**TRAINING)
    assert set(solo.predict(soft=False)) <= {"singlet", "doublet"}
    labelled = scvi.model.SCANVI.from_scvi_model(model, "unknown")
    weights = model.module.state_dict()
    assert all(
        (value == weights[name]).all()
        for name, value in labelled.module.state_dict().items()
        if name in weights
    )

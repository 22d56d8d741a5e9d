"""Prior of the latent library: scvi-tools' numbers, but for batches too small to have any."""

import numpy as np
import pandas as pd
import pytest
import scvi
from anndata import AnnData
from scipy import sparse

from lucidvi.model import SCVI
from lucidvi.model._library import ENOUGH_CELLS, shrunken

pytestmark = pytest.mark.filterwarnings("ignore:Category .* fewer than 3 cells")
FAST = {"accelerator": "cpu", "enable_progress_bar": False, "max_epochs": 2}


def cells(sizes: list[int], seed: int = 0, spread: float = 0.5) -> AnnData:
    rng = np.random.default_rng(seed)
    n = sum(sizes)
    rate = rng.gamma(1.0, 3.0, 15) * rng.lognormal(0, spread, (n, 1))
    batch = np.repeat([f"b{i}" for i in range(len(sizes))], sizes)
    counts = rng.poisson(rate).astype("float32")
    counts[:, 0] += 1
    obs = pd.DataFrame({"batch": batch}, index=[f"cell{i}" for i in range(n)])
    return AnnData(sparse.csr_matrix(counts), obs=obs)


def prior(cls, adata: AnnData) -> tuple[np.ndarray, np.ndarray]:
    adata = adata.copy()
    cls.setup_anndata(adata, batch_key="batch")
    module = cls(adata, n_latent=2, use_observed_lib_size=False).module
    return module.library_log_means.numpy()[0], module.library_log_vars.numpy()[0]


def test_ordinary_batches_have_the_numbers_of_scvi_tools():
    adata = cells([10, 25, 40])
    ours, theirs = prior(SCVI, adata), prior(scvi.model.SCVI, adata)
    np.testing.assert_array_equal(ours[0], theirs[0])
    np.testing.assert_array_equal(ours[1], theirs[1])


def test_small_batches_are_filled_up_with_the_pooled_variance():
    adata = cells([40, 1, 2, 9, 30])
    mean, variance = prior(SCVI, adata)
    log_total = np.log(np.asarray(adata.X.sum(axis=1)).ravel())
    groups = [log_total[(adata.obs["batch"] == f"b{i}").to_numpy()] for i in range(5)]
    within = np.concatenate([group - group.mean() for group in groups])
    pooled = (within**2).sum() / (len(within) - 5)
    for group, m, v in zip(groups, mean, variance, strict=True):
        assert m == pytest.approx(group.mean(), rel=1e-5)
        # The variance of ten values, of which those missing lie a pooled deviation off.
        filled = np.concatenate(
            [(group - group.mean()) ** 2, np.full(max(0, ENOUGH_CELLS - len(group)), pooled)]
        )
        assert v == pytest.approx(filled.mean(), rel=1e-4)


@pytest.mark.parametrize("sizes", [[1, 1, 1], [1, 30], [2, 2], [1, 1, 1, 1, 50]])
def test_no_variance_is_zero(sizes: list[int]):
    adata = cells(sizes)
    _, variance = prior(SCVI, adata)
    assert (variance > 1e-4).all()
    equal = adata.copy()  # every cell has the same total
    equal.X = sparse.csr_matrix(np.full(adata.shape, 2, dtype="float32"))
    mean, variance = prior(SCVI, equal)
    np.testing.assert_allclose(mean, np.log(30), rtol=1e-6)
    np.testing.assert_allclose(variance, 0.1 / 30, rtol=1e-5)


def test_the_prior_of_single_cells_is_that_of_all_cells():
    mean = np.log([[10.0, 20.0, 40.0]])
    variance = shrunken(mean, np.zeros((1, 3)), np.array([1, 1, 1]))
    np.testing.assert_allclose(variance, 0.9 * mean.var())


def test_batches_without_cells_keep_their_placeholders():
    variance = shrunken(np.array([[5.0, 0.0]]), np.array([[0.3, 1.0]]), np.array([20, 0]))
    np.testing.assert_array_equal(variance, [[0.3, 1.0]])


def test_a_cell_alone_in_its_batch_fits_as_well_as_the_others():
    adata = cells([100, 100], seed=1)
    lonely = adata.copy()
    lonely.obs.loc[lonely.obs_names[5], "batch"] = "alone"
    elbo = []
    for data in (adata, lonely):
        scvi.settings.seed = 0
        SCVI.setup_anndata(data, batch_key="batch")
        model = SCVI(data, n_latent=2, use_observed_lib_size=False)
        model.train(**FAST | {"max_epochs": 10})
        elbo.append([float(model.get_elbo(indices=i)) for i in ([5], list(range(6, 200)))])
    assert (np.array(elbo[1]) > np.array(elbo[0]) - 5).all()


def test_it_converts_to_scvi_tools_and_back():
    adata = cells([30, 1])
    SCVI.setup_anndata(adata, batch_key="batch")
    model = SCVI(adata, n_latent=2, use_observed_lib_size=False)
    model.train(**FAST)
    theirs = SCVI.from_scvi_model(model.to_scvi_model())
    np.testing.assert_array_equal(theirs.module.library_log_vars, model.module.library_log_vars)

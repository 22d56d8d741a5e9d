"""The same cells under other covariates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from anndata import AnnData
from scvi.model.base import BaseModelClass
from torch import Tensor

from lucidvi._kinds import checked
from lucidvi.checks import check_choice, check_whole
from lucidvi.distributions import Likelihood
from lucidvi.inference import POSTERIORS, PosteriorTarget, posterior_of
from lucidvi.simulate._covariates import read_setting
from lucidvi.simulate._drawing import drawing
from lucidvi.simulate._models import cells_with_counts, model_of_counts
from lucidvi.simulate._output import Output, columns_of_origin
from lucidvi.simulate._record import recorded

ASSUMPTIONS = (
    "The latent state does not depend on the covariates that are switched: whatever the state "
    "still holds of them stays as it was.",
    "Cells like these would have the decoder's expression under the new covariates. Where the "
    "data have no such cells under them, that is an extrapolation which nothing has checked.",
    "Exposures stay those of the cells.",
)


@checked
def switch_covariates(
    model: BaseModelClass,
    adata: AnnData | None = None,
    *,
    batch: Any = None,
    covariates: Mapping[str, Any] | None = None,
    indices: Any | None = None,
    posterior: Literal["encoder", "refined"] = "refined",
    n_samples: int = 1,
    seed: int = 0,
) -> AnnData:
    r"""Return what would have been counted in the same cells under other covariates.

    .. math::
        z \sim q(z \mid x, s), \qquad x' \sim p(x \mid z, s')

    with the cell's own covariates :math:`s` and others :math:`s'`. Without any it is the posterior
    predictive distribution: replicates of the cells, to be compared with them.

    Parameters
    ----------
    model
        Trained model of counts, of LucidVI or scvi-tools.
    adata
        Cells with counts, by default the model's.
    batch
        Batch of all cells, or an array with one for each; their own by default.
    covariates
        New values by name of the column: a category, or a number for a continuous one, of all
        cells, or one for each. Labels count as one where the model was set up with them.
    indices
        Which cells: positions, a boolean mask, a slice, or names; all by default.
    posterior
        Posterior of the latent state, see :func:`lucidvi.inference.posterior_of`: ``"refined"``
        for each cell, with a full covariance, or the ``"encoder"``'s.
    n_samples
        Number of draws of the state. Of more than one there are the layers ``"expected"`` (mean
        of the expected counts), ``"expected_sd"`` (their standard deviation over the posterior)
        and ``"count_sd"`` (that of a count), dense float32, of ``n_cells x n_genes`` each.
    seed
        Seed of the draws.

    Returns
    -------
    ``obs`` of the cells with the new covariates, ``var`` of the model, counts of one draw in ``X``
    (CSR, float32), the states that they were drawn with in ``obsm["X_lucidvi"]``, and the request
    with its assumptions in ``uns["lucidvi_simulation"]``.

    Raises
    ------
    lucidvi.errors.DataError, lucidvi.errors.MissingKeyError
        If the model does not know a covariate or a category, or something is wrong with the cells.
    lucidvi.errors.ModelTypeError
        If ``model`` has no counts.
    """
    request = {
        "adata": adata,
        "batch": batch,
        "covariates": covariates,
        "indices": indices,
        "posterior": posterior,
        "n_samples": n_samples,
        "seed": seed,
    }
    model = model_of_counts(model)
    check_choice("posterior", posterior, POSTERIORS)
    check_whole("n_samples", n_samples, least=1)
    check_whole("seed", seed)
    cells = cells_with_counts(model, adata, indices)
    setting = read_setting(model, batch, covariates, len(cells))
    output = Output(n_samples)
    with drawing(model, seed):
        for rows, target in cells.targets("Switching"):
            output.add(_draws(target, setting.of(target, rows), posterior, n_samples))
    out = output.adata(model, setting.write(columns_of_origin(cells)))
    return recorded(out, "switch_covariates", request, ASSUMPTIONS)


def _draws(
    target: PosteriorTarget, switched: PosteriorTarget, posterior: str, n_samples: int
) -> Iterator[tuple[Tensor, Likelihood]]:
    """Yield states under the cells' own covariates, and the likelihood under the others."""
    q = posterior_of(target, posterior)
    for _ in range(n_samples):
        z = q.sample()
        yield target.representation(z), switched.likelihood(z)

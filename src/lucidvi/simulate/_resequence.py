"""The same cells, sequenced at another depth."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import torch
from anndata import AnnData
from numpy.typing import ArrayLike
from scvi.model.base import BaseModelClass
from torch import Tensor

from lucidvi import kernels
from lucidvi._kinds import checked
from lucidvi.checks import check_choice, check_whole, listed, positive_numbers
from lucidvi.distributions import Likelihood
from lucidvi.errors import DataError, MissingKeyError
from lucidvi.inference import POSTERIORS, PosteriorTarget, posterior_of
from lucidvi.simulate._depth import thinned
from lucidvi.simulate._drawing import drawing
from lucidvi.simulate._models import cells_with_counts, model_of_counts
from lucidvi.simulate._output import Output, columns_of_origin
from lucidvi.simulate._record import recorded

ASSUMPTIONS = (
    "Where depth falls, each molecule that was counted is kept with the same probability, "
    "independently of the others; no model is needed.",
    "Where depth rises, what was counted stays, and the library holds more molecules of the same "
    "cells in the proportions that the model infers: rate of a gene and capture do not change "
    "with depth, and sequencing is not saturated.",
    "A zero that is inflated stays a zero at every depth.",
)


@checked
def resequence(
    model: BaseModelClass,
    adata: AnnData | None = None,
    depth: float | ArrayLike | None = None,
    *,
    depth_factor: float | ArrayLike | None = None,
    indices: Any | None = None,
    layer: str | None = None,
    posterior: Literal["encoder", "refined"] = "refined",
    n_samples: int = 1,
    seed: int = 0,
) -> AnnData:
    r"""Return the same cells as if they had been sequenced to another depth.

    Where depth falls, counts are thinned: with :math:`r` the new depth over the old,

    .. math:: x'_g \sim \mathrm{Binomial}(x_g, r)

    Where it rises, the counts stay and further ones are drawn from their distribution given the
    observed ones: a state from the cell's posterior, :math:`z \sim q(z \mid x)`, and with the
    decoded mean :math:`\mu` and inverse dispersion :math:`\theta` the rate of each gene, which has
    a gamma distribution,

    .. math::
        \lambda_g \mid x, z \sim \mathrm{Gamma}(\theta + x_g, \; 1 + \theta / \mu_g), \qquad
        x'_g = x_g + \mathrm{Poisson}((r - 1) \lambda_g)

    so that thinning the result gives counts like the observed ones, and a cell that was drawn from
    the model at one depth becomes one that was drawn at the other. A zero that is inflated (ZINB)
    stays one, with the probability that it is given the zero. A Poisson likelihood has
    :math:`\lambda = \mu`.

    Parameters
    ----------
    model
        Trained model of counts, of LucidVI or scvi-tools.
    adata
        Cells with counts, by default the model's.
    depth
        Total count of the model's genes that a cell has on average afterwards, one number or one
        a cell. It is expected, not exact: both thinning and drawing are random.
    depth_factor
        Multiple of each cell's total to take in place of ``depth``, one number or one a cell.
    indices
        Which cells: positions, a boolean mask, a slice, or names; all by default.
    layer
        Layer with the counts, by default where the model was set up to look.
    posterior
        Posterior of the latent state where depth rises, see
        :func:`lucidvi.inference.posterior_of`: ``"refined"`` for each cell, with a full
        covariance, or the ``"encoder"``'s.
    n_samples
        Number of draws of the state. Of more than one there are the layers ``"expected"`` (mean
        of the predicted counts), ``"expected_sd"`` (its standard deviation over the draws) and
        ``"count_sd"`` (that of a predicted count), dense float32, of ``n_cells x n_genes`` each.
    seed
        Seed of the draws.

    Returns
    -------
    ``obs`` of the cells, ``var`` of the model, counts in ``X`` (CSR, float32), the states that
    they were drawn with in ``obsm["X_lucidvi"]``, the depth that was asked for in
    ``obs["lucidvi_depth"]``, and the request with its assumptions in
    ``uns["lucidvi_simulation"]``.

    Raises
    ------
    lucidvi.errors.DataError, lucidvi.errors.MissingKeyError
        If not exactly one of ``depth`` and ``depth_factor`` is given, one is not positive, or
        something is wrong with the cells.
    lucidvi.errors.ModelTypeError
        If ``model`` has no counts.

    References
    ----------
    Gelman et al., Bayesian Data Analysis (2013), 2.6, the Poisson model with a gamma prior.
    """
    request = {
        "adata": adata,
        "depth": depth,
        "depth_factor": depth_factor,
        "indices": indices,
        "layer": layer,
        "posterior": posterior,
        "n_samples": n_samples,
        "seed": seed,
    }
    model = model_of_counts(model, whole=True)
    check_choice("posterior", posterior, POSTERIORS)
    check_whole("n_samples", n_samples, least=1)
    check_whole("seed", seed)
    if (depth is None) == (depth_factor is None):
        raise DataError(
            f"`depth` is {depth!r} and `depth_factor` is {depth_factor!r}.",
            remedy="Give exactly one of them.",
        )
    cells = cells_with_counts(model, _from_layer(model, adata, layer), indices)
    is_factor = depth is None
    argument, value = ("depth_factor", depth_factor) if is_factor else ("depth", depth)
    wanted = positive_numbers(argument, value, len(cells))
    output, depths = Output(n_samples), np.empty(len(cells))
    with drawing(model, seed):
        for rows, target in cells.targets("Resequencing"):
            x = kernels.to_dense(target.x)
            totals = x.double().sum(dim=1).cpu().numpy()
            depths[rows] = wanted[rows] * totals if is_factor else wanted[rows]
            ratio = torch.as_tensor(depths[rows] / totals).to(x)[:, None]
            kept = thinned(x, ratio.clamp(max=1))
            more = (ratio - 1).clamp(min=0)
            output.add(_draws(target, x, more, posterior, n_samples), kept)
    out = output.adata(model, columns_of_origin(cells).assign(lucidvi_depth=depths))
    return recorded(out, "resequence", request, ASSUMPTIONS)


def _draws(
    target: PosteriorTarget, x: Tensor, more: Tensor, posterior: str, n_samples: int
) -> Iterator[tuple[Tensor, Likelihood]]:
    """Yield states, and the distribution of the further counts given each."""
    q = posterior_of(target, posterior)
    for _ in range(n_samples):
        z = q.sample()
        yield target.representation(z), target.likelihood(z).further(x, more)


def _from_layer(model: Any, adata: AnnData | None, layer: str | None) -> AnnData | None:
    """Return cells whose counts are in a layer as the model looks for them."""
    registered = model.registry["setup_args"].get("layer")
    if layer is None or layer == registered:
        return adata
    source = model.adata if adata is None else adata
    layers = [] if source is None else [name for name in source.layers if name is not None]
    if source is None or layer not in layers:
        raise MissingKeyError(
            f"`layer` is {layer!r}, which is no layer of the cells.",
            remedy=f"There are: {listed(layers)}.",
        )
    counts = source.layers[layer]
    copy = AnnData(counts, obs=source.obs.copy(), var=source.var.copy())
    if registered is not None:
        copy.layers[registered] = counts
    return copy

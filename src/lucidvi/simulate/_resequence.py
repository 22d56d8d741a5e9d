"""The same cells, sequenced at another depth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import scvi
import torch
from anndata import AnnData
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from lucidvi import kernels
from lucidvi.checks import check_choice
from lucidvi.distributions import Likelihood
from lucidvi.errors import DataError, MissingKeyError
from lucidvi.inference import PosteriorTarget
from lucidvi.model import SCVI, Cells, capable
from lucidvi.simulate._checks import check_whole, listed, positive
from lucidvi.simulate._depth import thinned
from lucidvi.simulate._drawing import POSTERIORS, drawing
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


def resequence(
    model: SCVI | scvi.model.SCVI,
    adata: AnnData | None = None,
    depth: float | ArrayLike | None = None,
    *,
    factor: float | ArrayLike | None = None,
    indices: Sequence[Any] | NDArray[Any] | None = None,
    layer: str | None = None,
    posterior: Literal["refined", "encoder"] = "refined",
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
        Trained :class:`lucidvi.model.SCVI`, or a SCVI of scvi-tools.
    adata
        Cells with counts, by default the model's.
    depth
        Total count of the model's genes that a cell has on average afterwards, one number or one
        a cell. It is expected, not exact: both thinning and drawing are random.
    factor
        In place of ``depth``, what to multiply each cell's total by.
    indices
        Which cells: positions, a boolean mask, or names; all by default.
    layer
        Layer with the counts, by default where the model was set up to look.
    posterior
        Of the latent state where depth rises: ``"refined"`` for each cell, with a full covariance
        (:func:`lucidvi.inference.refine`), or the ``"encoder"``'s.
    n_samples
        Draws of the state. Of more than one there are the layers ``"expected"`` (mean of the
        predicted counts), ``"expected_sd"`` (its standard deviation over the draws) and
        ``"count_sd"`` (that of a predicted count), dense float32, of ``n_cells x n_genes`` each.
    seed
        Of the draws.

    Returns
    -------
    ``obs`` of the cells, ``var`` of the model, counts in ``X`` (CSR, float32), the states that
    they were drawn with in ``obsm["X_lucidvi"]``, the depth that was asked for in
    ``obs["lucidvi_depth"]``, and the request with its assumptions in
    ``uns["lucidvi_simulation"]``.

    Raises
    ------
    lucidvi.errors.DataError, lucidvi.errors.MissingKeyError
        If not exactly one of ``depth`` and ``factor`` is given, one is not positive, or something
        is wrong with the cells.
    lucidvi.errors.ModelTypeError
        If ``model`` is no SCVI of counts.

    References
    ----------
    Gelman et al., Bayesian Data Analysis (2013), 2.6, the Poisson model with a gamma prior.
    """
    request = {name: value for name, value in locals().items() if name != "model"}
    known = capable(model, "counts")
    check_choice("posterior", posterior, POSTERIORS)
    check_whole("n_samples", n_samples, 1)
    check_whole("seed", seed, 0)
    if (depth is None) == (factor is None):
        raise DataError(
            f"`depth` is {depth!r} and `factor` is {factor!r}.", remedy="Give exactly one of them."
        )
    if known.registry["setup_args"].get("is_count_data", True) is False:
        raise DataError(
            "`model` was set up with `is_count_data=False`: what are no counts cannot be thinned.",
            remedy="Train a model of the counts.",
        )
    cells = Cells.of(known, _from_layer(known, adata, layer), indices)
    argument, value = ("depth", depth) if factor is None else ("factor", factor)
    asked = positive(argument, value, len(cells))
    output, depths = Output(n_samples), np.empty(len(cells))
    with drawing(known, seed):
        for rows, target in cells.targets("Resequencing"):
            x = kernels.to_dense(target.x)
            totals = x.double().sum(dim=1).cpu().numpy()
            depths[rows] = asked[rows] * totals if depth is None else asked[rows]
            ratio = torch.as_tensor(depths[rows] / totals).to(x)[:, None]
            kept = thinned(x, ratio.clamp(max=1))
            more = (ratio - 1).clamp(min=0)
            output.add(_draws(target, x, more, posterior, n_samples), kept)
    out = output.adata(known, columns_of_origin(cells).assign(lucidvi_depth=depths))
    return recorded(out, "resequence", request, ASSUMPTIONS)


def _draws(
    target: PosteriorTarget, x: Tensor, more: Tensor, posterior: str, n_samples: int
) -> Iterator[tuple[Tensor, Likelihood]]:
    """Yield states, and the distribution of the further counts given each."""
    q = POSTERIORS[posterior](target)
    for _ in range(n_samples):
        z = q.sample()
        yield target.representation(z), target.likelihood(z).further(x, more)


def _from_layer(model: SCVI, adata: AnnData | None, layer: str | None) -> AnnData | None:
    """Return cells whose counts are in a layer as the model looks for them."""
    own = model.registry["setup_args"].get("layer")
    if layer is None or layer == own:
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
    if own is not None:
        copy.layers[own] = counts
    return copy

"""A normal whose mean and scale depend on covariates."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import cast

import torch
from scvi.nn import FCLayers
from torch import Tensor, nn
from torch.distributions import Distribution, Normal
from torch.nn.functional import softplus

from lucidvi.checks import check_choice
from lucidvi.errors import DataError
from lucidvi.nn._layers import run_layers
from lucidvi.nn._prior import Covariates, Encode, Prior, Sizes

#: The smallest scale, and what softplus takes to a scale of one.
SCALE_MIN = 1e-3
UNIT = math.log(math.expm1(1 - SCALE_MIN))
#: Steps of L-BFGS each time that the axes are aligned; the next time goes on from there.
ALIGNING_STEPS = 20
#: How to get levels for a covariate.
REGISTER = {
    "batch": "batch_key=...",
    "labels": "labels_key=...",
    "categorical": "categorical_covariate_keys=[...]",
    "continuous": "continuous_covariate_keys=[...]",
}


class ConditionalNormal(Prior):
    r"""Prior :math:`z \mid u \sim \mathrm{Normal}(\mu(u), \mathrm{diag}(\sigma(u)^2))`.

    That of the identifiable VAE: given enough levels of :math:`u` that change the variances of
    the latent dimensions, each in its own way, these are determined up to their order, sign and
    scale, and what is learned comes near them if the training turns the latent space
    (:meth:`align`). The decoder should not know :math:`u`, or it explains with it what the
    dimensions should: labels are known to the prior alone, other covariates to both. It starts as
    the standard normal.

    Each level of a categorical covariate shifts mean and scale (a table, linear in the one-hot
    code), and the shifts add up over the covariates. Continuous covariates enter linearly, as
    they are: the decoder bends the space anyway, a line goes on where a query leaves the range of
    the reference, and the scale, a softplus, grows no faster than the covariate. What is common
    to all cells is the decoder's to learn, so there is no intercept.

    Tables are layers of scvi-tools, one a covariate with the levels as last axis, so that query
    surgery gives new levels columns of their own, which start as the standard normal, and trains
    the levels that the query's cells have.

    Parameters
    ----------
    sizes
        See :class:`Prior`.
    covariates
        Which covariates :math:`u` is: any of ``"labels"``, ``"batch"``, ``"categorical"`` and
        ``"continuous"``.

    Raises
    ------
    lucidvi.errors.DataError
        If one of them does not exist or has one level only.

    References
    ----------
    Khemakhem et al., AISTATS (2020), Variational autoencoders and nonlinear ICA: a unifying
    framework.
    Pham and Cardoso, IEEE Transactions on Signal Processing 49 (2001), Blind separation of
    instantaneous mixtures of nonstationary sources.
    """

    n_aligning_cells = 10_000

    def __init__(self, sizes: Sizes, covariates: Sequence[str] = ("labels",)) -> None:
        super().__init__(sizes)
        names = (covariates,) if isinstance(covariates, str) else tuple(covariates)
        if not names:
            raise DataError(
                "`covariates` in `prior_kwargs` is empty.",
                remedy="Name what the prior depends on, such as `('labels',)`.",
            )
        for name in names:
            check_choice("covariates` in `prior_kwargs", name, REGISTER)
        self.covariates = names
        self.tables = nn.ModuleDict({name: _tables(name, sizes) for name in names})

    def forward(self, z: Tensor, covariates: Covariates, encode: Encode) -> Normal:
        """See :meth:`Prior.forward`."""
        parameters = sum(self._terms(z, covariates), z.new_zeros(()))
        loc, scale = parameters.chunk(2, dim=-1)
        return Normal(loc, softplus(scale + UNIT) + SCALE_MIN, validate_args=False)

    def align(self, loc: Tensor, scale: Tensor, covariates: Covariates) -> Tensor:
        r"""See :meth:`Prior.align`.

        Minimizes over :math:`A` and the prior's own weights, by L-BFGS, the cross-entropy

        .. math::

            -\log |\det A| + \frac{1}{N} \sum_{nk} \log \sigma_{nk} +
            \frac{(A m_n - \mu_n)_k^2 + \sum_j A_{kj}^2 s_{nj}^2}{2 \sigma_{nk}^2}

        of posteriors with means :math:`m` and standard deviations :math:`s` to the prior. It
        starts where all axes have unit variance, and nothing changes the scale of an axis, as the
        prior's would follow. With groups of cells as the covariate this is independent component
        analysis by joint diagonalization of the groups' covariances (Pham and Cardoso 2001).
        """
        unit = (loc.var(dim=0, correction=0) + scale.square().mean(dim=0)).rsqrt()
        loc, variance = loc * unit, (scale * unit).square()
        matrix = torch.eye(len(unit), dtype=unit.dtype, device=unit.device, requires_grad=True)
        fit = torch.optim.LBFGS(
            [matrix, *self.parameters()], max_iter=ALIGNING_STEPS, line_search_fn="strong_wolfe"
        )

        def cross_entropy() -> Tensor:
            fit.zero_grad()
            pz = self(loc, covariates, no_encoder)
            squares = (loc @ matrix.T - pz.loc).square() + variance @ matrix.square().T
            nats = (pz.scale.log() + squares / pz.scale.square() / 2).sum(dim=-1).mean()
            nats = nats - torch.linalg.slogdet(matrix).logabsdet
            nats.backward()
            return nats

        with torch.enable_grad():
            fit.step(cross_entropy)
        fit.zero_grad()
        return matrix.detach() * unit

    def _terms(self, z: Tensor, covariates: Covariates) -> Iterator[Tensor]:
        """Yield the contribution of each covariate, ``(n_cells, 2 * n_latent)``."""
        for name in self.covariates:
            values, tables = covariates[name], cast(nn.ModuleList, self.tables[name])
            if values is None:
                raise DataError(
                    f"The prior depends on the covariate {name!r}, which is not given.",
                    remedy=f"Set up the data with it, `setup_anndata(adata, {REGISTER[name]})`.",
                )
            if name == "continuous":
                yield run_layers(cast(FCLayers, tables[0]), values.to(z.dtype), [])
                continue
            nothing = z.new_empty(len(values), 0)
            for table, level in zip(tables, values.split(1, dim=-1), strict=True):
                yield run_layers(cast(FCLayers, table), nothing, [level])


def no_encoder(x: Tensor, covariates: Covariates) -> Distribution:
    """Stand for the encoder, which this prior never asks."""
    raise AssertionError


class Table(FCLayers):
    """Linear layer without an intercept, as scvi-tools' query surgery knows it.

    Parameters
    ----------
    n_in
        Number of continuous columns.
    levels
        Number of levels of each one-hot code.
    n_out
        Dimension of the output.
    """

    def __init__(self, n_in: int, levels: list[int], n_out: int) -> None:
        super().__init__(
            n_in,
            n_out,
            levels,
            use_batch_norm=False,
            use_activation=False,
            dropout_rate=0.0,
            bias=False,
        )

    def set_online_update_hooks(self, hook_first_layer: bool = True) -> None:
        """Freeze what is of no level; scvi-tools' own hooks insist on an intercept."""
        frozen = [] if self.n_cat_list else list(self.parameters())
        self.hooks = [weight.register_hook(torch.zeros_like) for weight in frozen]


def _tables(covariate: str, sizes: Sizes) -> nn.ModuleList:
    """Zero weights of the levels of a covariate, or of the continuous ones."""
    widths: list[tuple[int, list[int]]] = [(0, [n]) for n in sizes.n_levels.get(covariate, ())]
    if covariate == "continuous" and sizes.n_continuous:
        widths = [(sizes.n_continuous, [])]
    if not widths or any(levels in ([0], [1]) for _, levels in widths):
        found = "has one level only" if widths else "does not exist"
        raise DataError(
            f"The prior depends on the covariate {covariate!r}, which {found}.",
            remedy=f"Register it, `setup_anndata(adata, {REGISTER[covariate]})`, or choose others "
            f"of {', '.join(map(repr, REGISTER))} by `prior_kwargs={{'covariates': (...,)}}`.",
        )
    tables = nn.ModuleList(Table(n_in, levels, 2 * sizes.n_latent) for n_in, levels in widths)
    for weight in tables.parameters():
        nn.init.zeros_(weight)
    return tables

"""What the model associates with other counts of some genes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from anndata import AnnData
from numpy.typing import NDArray
from scvi.model.base import BaseModelClass
from torch import Tensor
from torch.distributions import Distribution

from lucidvi import kernels
from lucidvi._kinds import checked
from lucidvi._positions import name_positions
from lucidvi._random import isolated
from lucidvi.checks import check_choice, check_whole, is_number
from lucidvi.errors import DataError, first_few
from lucidvi.inference import POSTERIORS, PosteriorTarget, posterior_of
from lucidvi.model import Cells
from lucidvi.simulate._drawing import drawing
from lucidvi.simulate._models import cells_with_counts, model_of_counts
from lucidvi.simulate._output import STATE, Output, columns_of_origin
from lucidvi.simulate._record import recorded

EFFECT = "lucidvi_effect"

ASSUMPTIONS = (
    "The effects are associations and not causes: they say which states of the data go with such "
    "counts of the gene, whatever is upstream and whatever downstream. A perturbed cell may be in "
    "no state that unperturbed cells show.",
    "A count is multiplied, so cells without a count of the genes stay as they are.",
    "Exposures stay those of the cells.",
    "`lucidvi_effect_sd` is how much the mean effect over the changed cells differs between draws "
    "of their latent states, in log2 units. It falls with the number of cells, and is not how "
    "much the effect differs between cells, donors or trainings of the model.",
)


@checked
def perturb(
    model: BaseModelClass,
    adata: AnnData | None = None,
    genes: Mapping[str, float] | None = None,
    *,
    indices: Any | None = None,
    posterior: Literal["encoder", "refined"] = "encoder",
    n_samples: int = 25,
    seed: int = 0,
) -> AnnData:
    r"""Return what the model expects of cells whose counts of some genes are changed.

    The counts :math:`x` become :math:`x'`, multiplied by :math:`f_g` for the genes named: a
    knock-out (:math:`f = 0`), a knock-down (below 1) or an over-expression (above 1). With states
    :math:`z \sim q(z \mid x)` and :math:`z' \sim q(z \mid x')`, drawn with the same noise, and the
    decoded means :math:`\mu` (before zero inflation), the effect on each gene is its log fold
    change averaged over the cells :math:`c` whose counts changed,

    .. math:: e_g = \frac{1}{n} \sum_c \log_2 \frac{\mu_g(z'_c)}{\mu_g(z_c)}

    It is an **association, not a cause**: the model knows which counts go together in the data,
    and not what would happen if one of them was changed in a living cell.

    Parameters
    ----------
    model
        Trained model of counts, of LucidVI or scvi-tools.
    adata
        Cells with counts, by default the model's.
    genes
        Factor by gene, such as ``{"STAT1": 0.0, "ISG15": 2.0}``, all at once.
    indices
        Which cells: positions, a boolean mask, a slice, or names; all by default.
    posterior
        What :math:`q` is, see :func:`lucidvi.inference.posterior_of`: the ``"encoder"``'s, an
        intervention on its input; or each cell's ``"refined"`` posterior, with a full covariance,
        which also judges by the likelihood of the changed counts: the model conditioned on the
        genes' values.
    n_samples
        Number of draws of the states that effects and their uncertainty are computed from, at
        least two.
    seed
        Seed of the draws.

    Returns
    -------
    ``obs`` of the cells with ``lucidvi_changed`` (whether a count of the genes was), counts drawn
    under :math:`z'` with each cell's own exposure in ``X`` (CSR, float32), one draw of :math:`z'`
    in ``obsm["X_lucidvi"]`` and of :math:`z` in ``obsm["X_lucidvi_before"]``, the request with its
    assumptions in ``uns["lucidvi_simulation"]``, and ``var`` of the model with

    ``lucidvi_effect``
        Log2 fold change of the gene's decoded mean, averaged over the changed cells and the draws.
    ``lucidvi_effect_sd``
        Standard deviation between the draws, log2, of that average over the changed cells: the
        uncertainty of the mean effect that comes from the posteriors of their states. It falls
        about as one over the root of the number of changed cells, and is not how much the effect
        differs between cells, donors or trainings of the model.
    ``lucidvi_effect_probability``
        Share of the draws in which it has the sign of the mean; 0.5 where nothing changes.
    ``lucidvi_effect_rank``
        1 for the gene with the largest effect, up or down; the genes named have no rank, 0.

    Raises
    ------
    lucidvi.errors.DataError, lucidvi.errors.MissingKeyError
        If a gene is none of the model's, a factor is negative or not finite, no cell has a count
        to change, or something is wrong with the cells.
    lucidvi.errors.ModelTypeError
        If ``model`` has no counts.
    """
    request = {
        "adata": adata,
        "genes": genes,
        "indices": indices,
        "posterior": posterior,
        "n_samples": n_samples,
        "seed": seed,
    }
    model = model_of_counts(model)
    check_choice("posterior", posterior, POSTERIORS)
    factors = _factors(model, genes)
    check_whole("n_samples", n_samples, least=2)
    check_whole("seed", seed)
    cells = cells_with_counts(model, adata, indices)
    changed = _changed(cells, factors)
    output, before = Output(), []
    sums = np.zeros((n_samples, len(factors)))
    with drawing(model, seed):
        for rows, target in cells.targets("Perturbing"):
            posteriors = _posteriors(target, factors, posterior)
            affected = torch.as_tensor(changed[rows], device=target.q0.mean.device)
            for i, (old, new) in enumerate(_pairs(*posteriors, n_samples)):
                same, new = target.with_exposure(new, target.exposure(old))
                px = same.likelihood(new)
                change = px.log_mean - target.likelihood(old).log_mean
                sums[i] += change[affected].double().sum(dim=0).cpu().numpy()
                if i == 0:
                    before.append(np.float32(target.representation(old).cpu().numpy()))
                    output.add([(target.representation(new), px)])
    out = output.adata(model, columns_of_origin(cells).assign(lucidvi_changed=changed))
    out.obsm[f"{STATE}_before"] = np.concatenate(before)
    effects = sums / max(1, changed.sum()) / np.log(2)
    perturbed = _gene_positions(model, genes or {})
    for name, column in _summary(effects, perturbed).items():
        out.var[name] = column
    return recorded(out, "perturb", request, ASSUMPTIONS)


def _posteriors(
    target: PosteriorTarget, factors: NDArray[np.float32], posterior: str
) -> tuple[Distribution, Distribution]:
    """Return the posteriors given the counts and given the changed ones, at equal exposures."""
    x = kernels.to_dense(target.x)
    as_is, other = (
        target.with_counts(counts).with_log_exposures(target.log_exposures)
        for counts in (x, x * torch.as_tensor(factors).to(x))
    )
    return posterior_of(as_is, posterior), posterior_of(other, posterior)


def _gene_positions(model: Any, genes: Iterable[str]) -> NDArray[np.integer]:
    """Return the positions of genes of the model; no gene has none."""
    names = list(genes)
    if not names:
        return np.empty(0, dtype=int)
    return name_positions(names, pd.Index(model.get_var_names()), "genes")


def _pairs(first: Distribution, second: Distribution, n: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield draws of two distributions that are made with the same noise."""
    for _ in range(n):
        seed = int(torch.randint(2**62, ()))
        draws = []
        for distribution in (first, second):
            with isolated(seed):
                draws.append(distribution.sample())
        yield draws[0], draws[1]


def _summary(effects: NDArray[np.float64], perturbed: NDArray[np.integer]) -> dict[str, Any]:
    """Return the columns of ``var`` for effects of shape ``(n_samples, n_genes)``.

    The perturbed genes, by their positions, have no rank.
    """
    mean = effects.mean(axis=0)
    same_sign = (np.sign(effects) == np.sign(mean)).mean(axis=0)
    others = np.setdiff1d(np.arange(len(mean)), perturbed)
    rank = np.zeros(len(mean), dtype=int)
    rank[others[np.argsort(-np.abs(mean[others]), kind="stable")]] = 1 + np.arange(len(others))
    return {
        EFFECT: mean,
        f"{EFFECT}_sd": effects.std(axis=0, ddof=1),
        f"{EFFECT}_probability": np.where(mean == 0, 0.5, same_sign),
        f"{EFFECT}_rank": rank,
    }


def _factors(model: Any, genes: Mapping[str, float] | None) -> NDArray[np.float32]:
    """Return the factor of each gene of the model."""
    if not isinstance(genes, Mapping) or not genes:
        raise DataError(
            f"`genes` is {genes!r}.", remedy='Give factors by gene, such as {"STAT1": 0.0}.'
        )
    positions = _gene_positions(model, genes)
    factors = np.ones(len(model.get_var_names()), dtype=np.float32)
    for gene, position, value in zip(genes, positions, genes.values(), strict=True):
        if not is_number(value) or value < 0:
            raise DataError(
                f"`genes[{gene!r}]` is {value!r}.",
                remedy="Give a factor: 0 for a knock-out, below 1 for a knock-down, above 1 for "
                "an over-expression.",
            )
        factors[position] = value
    return factors


def _changed(cells: Cells, factors: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Say which cells have a count that the factors change, or raise for a gene without any."""
    genes = np.flatnonzero(factors != 1)
    counts = cells.counts[:, genes]
    positive = np.asarray((counts > 0).sum(axis=0)).ravel()
    if (positive == 0).any():
        names = np.asarray(cells.model.get_var_names())[genes[positive == 0]]
        raise DataError(
            f"None of the {len(cells):,} cells has a count of {first_few(names)}, so multiplying "
            "it changes nothing.",
            remedy="Leave the gene out, or give cells that express it.",
        )
    return np.asarray((counts > 0).sum(axis=1)).ravel() > 0

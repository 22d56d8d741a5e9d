"""Likelihoods and posteriors of scvi-tools' mixins that are not as they should be there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from anndata import AnnData
from scvi.model.base import BaseModelClass
from torch import Tensor
from torch.distributions import (
    Categorical,
    Distribution,
    Independent,
    MixtureSameFamily,
    Normal,
    StudentT,
)

from lucidvi._progress import track
from lucidvi.checks import check_choice
from lucidvi.errors import DataError
from lucidvi.inference import Estimate, PosteriorTarget, Target, iwae, refined_ais
from lucidvi.model._arguments import keywords
from lucidvi.model.queries._query import query


def _iwae(target: Target, n_mc_samples: int, n_mc_samples_per_pass: int | None = None) -> Estimate:
    return iwae(target, n_mc_samples, n_per_pass=n_mc_samples_per_pass)


def _ais(target: Target, n_mc_samples: int) -> Estimate:
    return refined_ais(target, max(1, n_mc_samples // N_TEMPERATURES), N_TEMPERATURES)


N_TEMPERATURES = 20
#: The values of ``method``.
METHODS: dict[str, Callable[..., Estimate]] = {"iwae": _iwae, "ais": _ais}
#: Columns of the diagnostics of a marginal likelihood.
DIAGNOSTICS = ("log_px", "standard_error", "effective_sample_size", "k_hat", "trusted")


def to_estimator(model: Any, arguments: Mapping[str, Any]) -> set[str] | None:
    """Hand arguments on to the estimator of a marginal likelihood."""
    estimator = METHODS.get(arguments.get("method", "iwae"))
    return None if estimator is None else keywords(estimator) - {"target", "n_mc_samples"}


class LikelihoodMixin(BaseModelClass):
    """Marginal likelihood and aggregated posterior."""

    @query(needs_counts=True, passes_to=to_estimator)
    def get_marginal_ll(
        self,
        adata: AnnData | None = None,
        indices: Sequence[int] | None = None,
        n_mc_samples: int = 1000,
        batch_size: int | None = None,
        return_mean: bool = True,
        dataloader: Iterator[dict[str, Tensor | None]] | None = None,
        data_loader_kwargs: dict[str, Any] | None = None,
        *,
        method: Literal["iwae", "ais"] = "iwae",
        return_diagnostics: bool = False,
        **kwargs: Any,
    ) -> np.float64 | Tensor | pd.Series | pd.DataFrame:
        r"""Estimate the log likelihood of the cells by importance sampling, in nats a cell.

        .. math::
            \log p(x) \approx \log \frac{1}{K} \sum_{k=1}^{K} w_k, \quad
            w_k = \frac{p(x \mid z_k) p(z_k)}{q(z_k \mid x)}, \quad z_k \sim q(z \mid x)

        Differs from scvi-tools: the mean is over cells and not over minibatches, as many samples
        are averaged as are drawn, and the density of a logistic normal is that of the normal
        before the softmax. Standard errors and diagnostics on request, and annealed importance
        sampling where the encoder's posterior is too far from the true one. ``indices`` may be
        positions, a mask, a slice or names of cells.

        Parameters
        ----------
        adata, indices, batch_size, dataloader, data_loader_kwargs
            The cells, see :meth:`get_elbo`.
        n_mc_samples
            Number of samples :math:`K`.
        return_mean
            Return the mean over the cells.
        method
            ``"iwae"``, draws of the encoder's posterior as above; or ``"ais"``, annealed
            importance sampling that starts from each cell's own refined posterior: closer and
            slower. It runs ``n_mc_samples / 20`` chains of 20 temperatures.
        return_diagnostics
            Say how good the estimate is: the Monte Carlo standard error of the log, by the delta
            method, the effective sample size :math:`(\sum w)^2 / \sum w^2`, which is
            :math:`K` where the encoder's posterior is exact, the Pareto :math:`\hat k` of the
            weights, and the verdict, see :class:`lucidvi.inference.Estimate`. An estimate that is
            not trusted is too low and its error unknown.
        **kwargs
            With ``"iwae"``, ``n_mc_samples_per_pass``: samples that are decoded at once, by
            default as many as keep a pass at 16 million values.

        Returns
        -------
        The mean as a NumPy scalar, or with ``return_mean=False`` a tensor of shape ``(n_cells,)``.
        With ``return_diagnostics=True`` a Series or a DataFrame with ``log_px``,
        ``standard_error``, ``effective_sample_size``, ``k_hat`` and ``trusted``: a row a cell, by
        its name (by its number, of a ``dataloader``); or of the mean the smallest effective size,
        the largest :math:`\hat k` and the share of cells trusted.
        """
        check_choice("method", method, METHODS)
        parts = [
            METHODS[method](
                PosteriorTarget.from_module(self.module, tensors), n_mc_samples, **kwargs
            )
            for tensors in track(
                self._minibatches(adata, indices, batch_size, dataloader, data_loader_kwargs),
                "Estimating the likelihood",
                slow_steps=True,
            )
        ]
        estimate = Estimate.concatenate(parts)
        if not return_diagnostics:
            log_px = estimate.log_px
            return np.float64(log_px.mean()) if return_mean else log_px.float()
        columns = (
            estimate.log_px,
            estimate.standard_error,
            estimate.effective_sample_size,
            estimate.k_hat,
            estimate.is_trusted,
        )
        names = None
        if dataloader is None:
            cells = self.adata if adata is None else adata
            names = cells.obs_names if indices is None else cells.obs_names[np.asarray(indices)]
        frame = pd.DataFrame(
            {name: column.numpy() for name, column in zip(DIAGNOSTICS, columns, strict=True)},
            index=names,
        )
        if not return_mean:
            return frame
        mean_error = np.sqrt((frame["standard_error"] ** 2).sum()) / len(frame)
        of_mean = (
            frame["log_px"].mean(),
            mean_error,
            frame["effective_sample_size"].min(),
            frame["k_hat"].max(),
            frame["trusted"].mean(),
        )
        return pd.Series(of_mean, index=list(DIAGNOSTICS))

    @query
    @torch.inference_mode()
    def get_aggregated_posterior(
        self,
        adata: AnnData | None = None,
        indices: Sequence[int] | None = None,
        batch_size: int | None = None,
        dof: float | None = 3.0,
    ) -> Distribution:
        r"""Mixture of the cells' posteriors, :math:`\frac{1}{N} \sum_n q(z \mid x_n)`.

        Differs from scvi-tools: before 1.5 it takes the variance for the standard deviation;
        here ``indices`` may be positions, a mask, a slice or names of cells, and an empty choice
        is refused, which scvi-tools takes for all cells.

        Parameters
        ----------
        adata, indices, batch_size
            The cells, see :meth:`get_elbo`.
        dof
            Degrees of freedom of Student's t components with the posteriors' scales, for heavier
            tails; ``None`` for the normal posteriors themselves.

        Returns
        -------
        Mixture over ``(n_latent,)``, on the model's device.
        """
        self._check_if_trained(warn=False)
        if dof is not None and not dof > 0:
            raise DataError(
                f"`dof` is {dof}; degrees of freedom are above 0.", remedy="dof=3.0, or None."
            )
        loc, variance = (
            torch.as_tensor(parameter, device=self.device)
            for parameter in self.get_latent_representation(
                adata, indices, batch_size=batch_size, return_dist=True
            )
        )
        scale = variance.sqrt()
        components = Normal(loc, scale) if dof is None else StudentT(dof, loc, scale)
        equal = torch.zeros(len(loc), device=self.device)
        return MixtureSameFamily(Categorical(logits=equal), Independent(components, 1))

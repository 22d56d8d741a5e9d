"""Likelihoods and posteriors of scvi-tools' mixins that are not as they should be there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from anndata import AnnData
from scvi.model.base import BaseModelClass
from scvi.utils import unsupported_if_adata_minified
from torch import Tensor
from torch.distributions import (
    Categorical,
    Distribution,
    Independent,
    MixtureSameFamily,
    Normal,
    StudentT,
)

from lucidvi._compat import check_adata_or_dataloader


class LikelihoodMixin(BaseModelClass):
    """Marginal likelihood, likelihood parameters and aggregated posterior."""

    @unsupported_if_adata_minified
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
        return_diagnostics: bool = False,
        **kwargs: Any,
    ) -> float | Tensor | pd.Series | pd.DataFrame:
        r"""Estimate the log likelihood of the cells by importance sampling, in nats a cell.

        .. math::
            \log p(x) \approx \log \frac{1}{K} \sum_{k=1}^{K} w_k, \quad
            w_k = \frac{p(x \mid z_k) p(z_k)}{q(z_k \mid x)}, \quad z_k \sim q(z \mid x)

        Differs from scvi-tools: the mean is over cells and not over minibatches, as many samples
        are averaged as are drawn, and the density of a logistic normal is that of the normal
        before the softmax. Standard errors and effective sample sizes on request.

        Parameters
        ----------
        adata, indices, batch_size, dataloader, data_loader_kwargs
            The cells, see :meth:`get_elbo`.
        n_mc_samples
            Number of samples :math:`K`.
        return_mean
            Return the mean over the cells.
        return_diagnostics
            Say how good the estimate is: the Monte Carlo standard error of the log, by the delta
            method, and the effective sample size :math:`(\sum w)^2 / \sum w^2`, which is
            :math:`K` where the encoder's posterior is exact. An effective size of a few means
            that the estimate is too low and its error unknown.
        **kwargs
            ``n_mc_samples_per_pass``, see :meth:`lucidvi.module.VAE.log_weights`.

        Returns
        -------
        The mean as a float, or with ``return_mean=False`` a tensor of shape ``(n_cells,)``.
        With ``return_diagnostics=True`` a Series or a DataFrame with ``log_px``,
        ``standard_error`` and ``effective_sample_size``; of the mean, the smallest of the cells'.
        """
        parts = []
        for tensors in self._minibatches(
            adata, indices, batch_size, dataloader, data_loader_kwargs
        ):
            log_weights = self.module.log_weights(tensors, n_mc_samples, **kwargs).double()
            total = log_weights.logsumexp(dim=0)
            log_effective = 2 * total - (2 * log_weights).logsumexp(dim=0)
            parts.append((total - np.log(n_mc_samples), log_effective.exp()))
        log_px, effective = (torch.cat(part) for part in zip(*parts, strict=True))
        if not return_diagnostics:
            return log_px.mean().item() if return_mean else log_px.float()
        variance = (1 / effective - 1 / n_mc_samples) * n_mc_samples / max(1, n_mc_samples - 1)
        error = variance.clamp(min=0).sqrt()
        if return_mean:
            mean_error = float(error.square().sum().sqrt() / len(error))
            values = (float(log_px.mean()), mean_error, float(effective.min()))
            return pd.Series(values, index=list(DIAGNOSTICS))
        columns = (log_px.numpy(), error.numpy(), effective.numpy())
        return pd.DataFrame(dict(zip(DIAGNOSTICS, columns, strict=True)))

    @torch.inference_mode()
    def get_likelihood_parameters(
        self,
        adata: AnnData | None = None,
        indices: Sequence[int] | None = None,
        n_samples: int | None = 1,
        give_mean: bool | None = False,
        batch_size: int | None = None,
        dataloader: Iterator[dict[str, Tensor | None]] | None = None,
        **data_loader_kwargs: Any,
    ) -> dict[str, np.ndarray]:
        r"""Parameters of the likelihood of each count, at draws of ``z``.

        Differs from scvi-tools: Poisson and normal likelihoods have parameters too.

        Parameters
        ----------
        adata, indices, batch_size, dataloader, **data_loader_kwargs
            The cells, see :meth:`get_elbo`.
        n_samples
            Draws of ``z`` for each cell.
        give_mean
            Return the mean over the draws.

        Returns
        -------
        ``"mean"``, and as the likelihood has them ``"dispersions"`` (inverse dispersion; of a
        normal, the standard deviation) and ``"dropout"`` (probability of an inflated zero), all
        linear, of shape ``(n_cells, n_genes)``, or ``(n_samples, n_cells, n_genes)``.
        """
        n_samples = n_samples or 1
        collected: dict[str, list[np.ndarray]] = {}
        for tensors in self._minibatches(
            adata, indices, batch_size, dataloader, data_loader_kwargs
        ):
            px = self.module(
                tensors, inference_kwargs={"n_samples": n_samples}, compute_loss=False
            )[1]["px"]
            for name, values in px.likelihood_parameters().items():
                if give_mean and n_samples > 1:
                    values = values.mean(dim=0)
                collected.setdefault(name, []).append(values.cpu().numpy())
        return {name: np.concatenate(values, axis=-2) for name, values in collected.items()}

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
        here ``indices`` may be any sequence.

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
        indices = None if indices is None or len(indices) == 0 else indices
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

    def _minibatches(
        self,
        adata: AnnData | None,
        indices: Sequence[int] | None,
        batch_size: int | None,
        dataloader: Iterator[dict[str, Tensor | None]] | None,
        data_loader_kwargs: dict[str, Any] | None,
    ) -> Iterator[dict[str, Tensor | None]]:
        """Yield the minibatches of an AnnData, or those of a loader that was given."""
        check_adata_or_dataloader(self, adata, dataloader)
        if dataloader is None:
            adata = self._validate_anndata(adata)
            dataloader = self._make_data_loader(
                adata=adata, indices=indices, batch_size=batch_size, **(data_loader_kwargs or {})
            )
        return iter(dataloader)


#: Columns of the diagnostics of a marginal likelihood.
DIAGNOSTICS = ("log_px", "standard_error", "effective_sample_size")

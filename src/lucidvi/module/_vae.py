"""The variational autoencoder, as scvi-tools' five methods."""

from __future__ import annotations

import math
from typing import Any

import torch
from scvi import REGISTRY_KEYS
from scvi.module.base import LossOutput, auto_move_data
from scvi.utils import unsupported_if_adata_minified
from torch import Tensor
from torch.distributions import Distribution, Normal, kl_divergence

from lucidvi import kernels
from lucidvi._compat import MODULE_KEYS
from lucidvi.distributions import LIKELIHOODS
from lucidvi.module._architecture import DISPERSIONS, Architecture
from lucidvi.nn import log_density, rotated

#: Tensors and distributions by the names of ``REGISTRY_KEYS`` (a minibatch) or ``MODULE_KEYS``.
Record = dict[str, Any]

#: Among what ``inference`` returns, the latent state before the softmax of a logistic normal.
UNTRANSFORMED_Z = "untran_z"
#: Values, of samples x cells x genes, that are decoded at once.
PASS_SIZE = 2**24


class VAE(Architecture):
    r"""Variational autoencoder of counts.

    The generative process of a cell with covariates :math:`s` is

    .. math::
        z &\sim p(z \mid u), \quad \mathrm{Normal}(0, I) \text{ by default} \\
        \log \ell &\sim \mathrm{Normal}(\mu_s, \sigma_s^2)
            \quad \text{or observed, or a given size factor} \\
        x_g &\sim p(x \mid \mu = \ell \, \rho_g(z, s), \theta_g)

    and the encoder amortizes :math:`q(z \mid x, s)`. With a rotation :math:`R` in between,
    encoder and decoder keep their own axes: :math:`z` is :math:`R^\top` times the encoder's
    state, and the decoder is given :math:`R z`. For the arguments see :class:`Architecture`.

    References
    ----------
    Lopez et al., Nature Methods 15 (2018), Deep generative modeling for single-cell
    transcriptomics.
    """

    # -- q(z | x, s) -------------------------------------------------------------------------

    def _get_inference_input(self, tensors: Record, full_forward_pass: bool = False) -> Record:
        """Take from a minibatch what encoding needs: the counts, or the stored posterior."""
        if full_forward_pass or REGISTRY_KEYS.LATENT_QZM_KEY not in tensors:
            return {
                MODULE_KEYS.X_KEY: tensors[REGISTRY_KEYS.X_KEY],
                MODULE_KEYS.BATCH_INDEX_KEY: tensors[REGISTRY_KEYS.BATCH_KEY],
                MODULE_KEYS.CONT_COVS_KEY: tensors.get(REGISTRY_KEYS.CONT_COVS_KEY),
                MODULE_KEYS.CAT_COVS_KEY: tensors.get(REGISTRY_KEYS.CAT_COVS_KEY),
            }
        return {
            MODULE_KEYS.QZM_KEY: tensors[REGISTRY_KEYS.LATENT_QZM_KEY],
            MODULE_KEYS.QZV_KEY: tensors[REGISTRY_KEYS.LATENT_QZV_KEY],
            REGISTRY_KEYS.OBSERVED_LIB_SIZE: tensors[REGISTRY_KEYS.OBSERVED_LIB_SIZE],
        }

    @auto_move_data
    def _regular_inference(
        self,
        x: Tensor,
        batch_index: Tensor,
        cont_covs: Tensor | None = None,
        cat_covs: Tensor | None = None,
        n_samples: int = 1,
    ) -> Record:
        """Encode the counts ``x``, CSR or dense ``(n_cells, n_genes)``, and draw ``z``."""
        encoder_input = self.encoder_input(x)
        categories, rest = self._encoder_covariates(batch_index, cont_covs, cat_covs)
        qz = self.z_encoder(encoder_input, *categories, rest=rest)
        qz = qz if self.rotation is None else rotated(qz, self.rotation)
        z = self._draw(qz, n_samples)
        if self.use_observed_lib_size:
            ql, library = None, self._expand(kernels.row_sums(x).log(), n_samples)
        else:
            ql = self.l_encoder(encoder_input, *categories, rest=rest)
            library = self._draw(ql, n_samples)
        return {
            MODULE_KEYS.Z_KEY: self.z_encoder.z_transformation(z),
            UNTRANSFORMED_Z: z,
            MODULE_KEYS.QZ_KEY: qz,
            MODULE_KEYS.QL_KEY: ql,
            MODULE_KEYS.LIBRARY_KEY: library,
        }

    @auto_move_data
    def _cached_inference(
        self, qzm: Tensor, qzv: Tensor, observed_lib_size: Tensor, n_samples: int = 1
    ) -> Record:
        """Draw ``z`` from a stored posterior: its mean and variance, ``(n_cells, n_latent)``."""
        qz = Normal(qzm, qzv.sqrt(), validate_args=False)
        z = self._draw(qz, n_samples)
        return {
            MODULE_KEYS.Z_KEY: self.z_encoder.z_transformation(z),
            UNTRANSFORMED_Z: z,
            MODULE_KEYS.QZ_KEY: qz,
            MODULE_KEYS.QL_KEY: None,
            MODULE_KEYS.LIBRARY_KEY: self._expand(observed_lib_size.log(), n_samples),
        }

    @staticmethod
    def _draw(distribution: Distribution, n_samples: int) -> Tensor:
        if n_samples > 1 or not isinstance(distribution, Normal):
            return distribution.rsample((n_samples,) if n_samples > 1 else ())
        noise = torch.randn_like(distribution.loc)
        return torch.addcmul(distribution.loc, distribution.scale, noise)

    @staticmethod
    def _expand(tensor: Tensor, n_samples: int) -> Tensor:
        return tensor.expand(n_samples, *tensor.shape) if n_samples > 1 else tensor

    # -- p(x, z | s) -------------------------------------------------------------------------

    def _get_generative_input(
        self,
        tensors: Record,
        inference_outputs: Record,
    ) -> Record:
        """Take from a minibatch and from :meth:`inference` what decoding needs."""
        size_factor = tensors.get(REGISTRY_KEYS.SIZE_FACTOR_KEY)
        return {
            MODULE_KEYS.Z_KEY: inference_outputs[MODULE_KEYS.Z_KEY],
            MODULE_KEYS.LIBRARY_KEY: inference_outputs[MODULE_KEYS.LIBRARY_KEY],
            MODULE_KEYS.BATCH_INDEX_KEY: tensors[REGISTRY_KEYS.BATCH_KEY],
            MODULE_KEYS.Y_KEY: tensors[REGISTRY_KEYS.LABELS_KEY],
            MODULE_KEYS.CONT_COVS_KEY: tensors.get(REGISTRY_KEYS.CONT_COVS_KEY),
            MODULE_KEYS.CAT_COVS_KEY: tensors.get(REGISTRY_KEYS.CAT_COVS_KEY),
            MODULE_KEYS.SIZE_FACTOR_KEY: None if size_factor is None else size_factor.log(),
        }

    @auto_move_data
    def generative(
        self,
        z: Tensor,
        library: Tensor,
        batch_index: Tensor,
        cont_covs: Tensor | None = None,
        cat_covs: Tensor | None = None,
        size_factor: Tensor | None = None,
        y: Tensor | None = None,
        transform_batch: Tensor | int | None = None,
    ) -> Record:
        """Decode ``z``, shape ``(..., n_cells, n_latent)``.

        Parameters
        ----------
        z
            Latent state.
        library
            Log exposure, shape ``(..., n_cells, 1)``.
        batch_index, y
            Batch and label, integers of shape ``(n_cells, 1)``.
        cont_covs, cat_covs
            Continuous and categorical covariates, shape ``(n_cells, n_covariates)``.
        size_factor
            Log size factor, shape ``(n_cells, 1)``; used in place of ``library`` by a module
            made with ``use_size_factor_key``.
        transform_batch
            Decode every cell as one of this batch.

        Returns
        -------
        The likelihood ``px`` and the priors ``pz`` and, of a latent library, ``pl``.
        """
        if transform_batch is not None:
            batch_index = torch.ones_like(batch_index) * transform_batch
        covariates = ([] if cont_covs is None else [cont_covs]) + self._batch_embedding(
            batch_index
        )
        turned_back = z if self.rotation is None else z @ self.rotation.mT
        decoder_input = [turned_back, *(c.expand(*z.shape[:-1], -1) for c in covariates)]
        parameters = self.decoder(
            torch.cat(decoder_input, dim=-1), *self._categories(batch_index, cat_covs)
        )
        likelihood = LIKELIHOODS[self.gene_likelihood]
        levels = {MODULE_KEYS.BATCH_INDEX_KEY: batch_index, MODULE_KEYS.Y_KEY: y}
        level = levels.get(DISPERSIONS[self.dispersion])
        of_genes = [name for name in likelihood.names("gene") if name not in parameters]
        parameters |= {name: self._of_genes(name, level) for name in of_genes}
        parameters["log_library"] = size_factor if self.use_size_factor_key else library
        return {
            MODULE_KEYS.PX_KEY: likelihood(**parameters),
            MODULE_KEYS.PL_KEY: self._library_prior(batch_index),
            MODULE_KEYS.PZ_KEY: self.prior(
                z,
                {
                    "batch": batch_index,
                    "labels": y,
                    "categorical": cat_covs,
                    "continuous": cont_covs,
                },
                self._encode,
            ),
        }

    def _of_genes(self, name: str, level: Tensor | None) -> Tensor:
        """Parameter of genes, shape ``(n_genes,)``, or ``(n_cells, n_genes)`` by level."""
        values = self.gene_parameter(name)
        return values if level is None else values.T[level.squeeze(-1)]

    def _library_prior(self, batch_index: Tensor) -> Normal | None:
        """Prior of the log library, ``(n_cells, 1)``, if it is latent."""
        if self.use_observed_lib_size:
            return None
        means = self.library_log_means[0]
        # As in the encoder: a batch whose cells have one and the same depth has no variance.
        variances = self.library_log_vars[0].clamp(min=self.l_encoder.var_eps)
        return Normal(means[batch_index], variances[batch_index].sqrt(), validate_args=False)

    # -- the loss ----------------------------------------------------------------------------

    @unsupported_if_adata_minified
    def loss(
        self,
        tensors: Record,
        inference_outputs: Record,
        generative_outputs: Record,
        kl_weight: Tensor | float = 1.0,
    ) -> LossOutput:
        r"""Negative ELBO, averaged over the minibatch, with its terms a cell, in nats.

        .. math:: -\log p(x \mid z) + w \, \mathrm{KL}(q_z \| p_z) + \mathrm{KL}(q_\ell \| p_\ell)

        with the weight :math:`w` (``kl_weight``) on the first KL alone, as in scvi-tools.
        """
        qz, ql = inference_outputs[MODULE_KEYS.QZ_KEY], inference_outputs[MODULE_KEYS.QL_KEY]
        x = tensors[REGISTRY_KEYS.X_KEY]
        reconstruction_loss = -generative_outputs[MODULE_KEYS.PX_KEY].log_likelihood(x)
        z, pz = inference_outputs[UNTRANSFORMED_Z], generative_outputs[MODULE_KEYS.PZ_KEY]
        kl_z = self.prior.kl(qz, pz, z)
        loss = reconstruction_loss + kl_weight * kl_z
        if ql is None:
            kl_l = torch.zeros_like(kl_z)
        else:
            kl_l = kl_divergence(ql, generative_outputs[MODULE_KEYS.PL_KEY]).sum(dim=-1)
            loss = loss + kl_l
        payload = {
            "z": inference_outputs[MODULE_KEYS.Z_KEY],
            "batch": tensors[REGISTRY_KEYS.BATCH_KEY],
            "labels": tensors[REGISTRY_KEYS.LABELS_KEY],
        }
        return LossOutput(
            loss=loss.mean(),
            reconstruction_loss=reconstruction_loss,
            kl_local={MODULE_KEYS.KL_L_KEY: kl_l, MODULE_KEYS.KL_Z_KEY: kl_z},
            extra_metrics=payload if self.extra_payload_autotune else {},
        )

    # -- draws and likelihoods ---------------------------------------------------------------

    @torch.inference_mode()
    def sample(
        self,
        tensors: Record,
        n_samples: int = 1,
        max_poisson_rate: float = 1e8,
        generative_kwargs: dict[str, Any] | None = None,
    ) -> Tensor:
        """Draw counts from the posterior predictive distribution.

        Parameters
        ----------
        tensors
            A minibatch.
        n_samples
            Draws a cell, each with a ``z`` of its own.
        max_poisson_rate
            Upper bound of the draws' mean, for a Poisson likelihood; never above 1e8.
        generative_kwargs
            Passed to :meth:`generative`.

        Returns
        -------
        On the CPU, shape ``(n_cells, n_genes)``, or ``(n_cells, n_genes, n_samples)`` if
        ``n_samples > 1``.
        """
        _, generative_outputs = self.forward(
            tensors,
            inference_kwargs={"n_samples": n_samples},
            generative_kwargs=generative_kwargs,
            compute_loss=False,
        )
        samples = generative_outputs[MODULE_KEYS.PX_KEY].limited(max_poisson_rate).sample()
        return (samples.permute(1, 2, 0) if n_samples > 1 else samples).cpu()

    @torch.inference_mode()
    def marginal_ll(
        self,
        tensors: Record,
        n_mc_samples: int,
        return_mean: bool = False,
        n_mc_samples_per_pass: int | None = None,
    ) -> Tensor | float:
        r"""Importance-weighted estimate of the log likelihood of each cell, in nats.

        .. math::
            \log \frac{1}{K} \sum_{k=1}^{K} \frac{p(x \mid z_k) p(z_k)}{q(z_k \mid x)},
            \quad z_k \sim q(z \mid x)

        Parameters
        ----------
        tensors, n_mc_samples, n_mc_samples_per_pass
            See :meth:`log_weights`.
        return_mean
            Return the mean over the cells of the minibatch.

        Returns
        -------
        On the CPU, shape ``(n_cells,)``, or a float.

        References
        ----------
        Burda et al., ICLR (2016), Importance weighted autoencoders.
        """
        log_weights = self.log_weights(tensors, n_mc_samples, n_mc_samples_per_pass)
        log_px = log_weights.logsumexp(dim=0) - math.log(n_mc_samples)
        return log_px.mean().item() if return_mean else log_px

    @torch.inference_mode()
    @auto_move_data
    def log_weights(
        self, tensors: Record, n_mc_samples: int, n_mc_samples_per_pass: int | None = None
    ) -> Tensor:
        r"""Log importance weights :math:`\log p(x, z_k) - \log q(z_k \mid x)`, in nats.

        Parameters
        ----------
        tensors
            A minibatch.
        n_mc_samples
            Number of samples :math:`z_k` of each cell.
        n_mc_samples_per_pass
            Samples that are decoded at once; by default as many as keep a pass at 16 million
            values.

        Returns
        -------
        On the CPU, shape ``(n_mc_samples, n_cells)``. A latent library is sampled with ``z``.
        """
        outputs = self.inference(**self._get_inference_input(tensors, full_forward_pass=True))
        if n_mc_samples_per_pass is None:
            n_mc_samples_per_pass = max(1, PASS_SIZE // tensors[REGISTRY_KEYS.X_KEY].numel())
        passes = torch.arange(n_mc_samples).split(n_mc_samples_per_pass)
        return torch.cat([self._log_weights(tensors, outputs, len(p)).cpu() for p in passes])

    def _log_weights(
        self,
        tensors: Record,
        inference_outputs: Record,
        n_samples: int,
    ) -> Tensor:
        """Log importance weights of fresh draws, shape ``(n_samples, n_cells)``."""
        qz, ql = inference_outputs[MODULE_KEYS.QZ_KEY], inference_outputs[MODULE_KEYS.QL_KEY]
        # Densities are those of the normal variate; a logistic normal's softmax comes after it.
        z = qz.sample((n_samples,))
        library = inference_outputs[MODULE_KEYS.LIBRARY_KEY].expand(n_samples, -1, -1)
        library = library if ql is None else ql.sample((n_samples,))
        latent = {
            MODULE_KEYS.Z_KEY: self.z_encoder.z_transformation(z),
            MODULE_KEYS.LIBRARY_KEY: library,
        }
        generative = self.generative(**self._get_generative_input(tensors, latent))
        log_weight = generative[MODULE_KEYS.PX_KEY].log_likelihood(tensors[REGISTRY_KEYS.X_KEY])
        log_weight += log_density(generative[MODULE_KEYS.PZ_KEY], z) - log_density(qz, z)
        if ql is not None:
            pl = generative[MODULE_KEYS.PL_KEY]
            log_weight += (pl.log_prob(library) - ql.log_prob(library)).sum(dim=-1)
        return log_weight

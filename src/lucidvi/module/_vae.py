"""The variational autoencoder, as scvi-tools' five methods."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, cast

import torch
from scvi import REGISTRY_KEYS
from scvi.module.base import BaseMinifiedModeModuleClass, LossOutput, auto_move_data
from scvi.utils import unsupported_if_adata_minified
from torch import Tensor
from torch.distributions import Distribution, Normal

from lucidvi import kernels
from lucidvi._compat import MODULE_KEYS
from lucidvi.distributions import LIKELIHOODS
from lucidvi.module._base import GenerativeModule
from lucidvi.module._drawn import DrawnStates, made_now
from lucidvi.module._forward import ForwardPass, Record
from lucidvi.module._generative import Exposure, Modality, Observed
from lucidvi.module._practised import PractisedArchitecture
from lucidvi.module._sample import SampleMixin
from lucidvi.module._states import draw
from lucidvi.nn import Covariates, LastLayer, StateDistribution, rotated, sharing

#: Among what ``inference`` returns, the latent state before the softmax of a logistic normal.
UNTRANSFORMED_Z = "untran_z"
#: The only modality.
RNA = "rna"


class VAE(SampleMixin, GenerativeModule, PractisedArchitecture):
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

    A subclass with another encoder or decoder overrides :meth:`encode_latent`,
    :meth:`encode_library` or :meth:`decode_latent`: both the contract
    :class:`~lucidvi.module.Generative` and scvi-tools' methods go through them.

    References
    ----------
    Lopez et al., Nature Methods 15 (2018), Deep generative modeling for single-cell
    transcriptomics.
    """

    # -- the contract of every model ---------------------------------------------------------

    @cached_property
    def modalities(self) -> Mapping[str, Modality]:
        """See :attr:`Generative.modalities`."""
        exposure = Exposure.OBSERVED if self.use_observed_lib_size else Exposure.LATENT
        if self.use_size_factor_key:
            exposure = Exposure.SIZE_FACTOR
        likelihood = LIKELIHOODS[self.gene_likelihood]
        field = REGISTRY_KEYS.X_KEY
        return {RNA: Modality(RNA, self.n_input, likelihood, exposure, field=field)}

    def encode(self, observed: Mapping[str, Observed], s: Covariates) -> StateDistribution:
        """See :meth:`Generative.encode`."""
        batch_index = cast(Tensor, s["batch"])
        shown = self._shown(observed[RNA].x, batch_index, s["continuous"], s["categorical"])
        ql = None if self.use_observed_lib_size else self.encode_library(*shown)
        return StateDistribution(self.encode_latent(*shown), ql)

    def prior_of(self, z: Tensor, s: Covariates) -> StateDistribution:
        """See :meth:`Generative.prior_of`."""
        library_prior = self._library_prior(cast(Tensor, s["batch"]))
        return StateDistribution(self.prior(z, s, self._encode), library_prior)

    def decode(
        self, z: Tensor, s: Covariates, log_exposures: Mapping[str, Tensor]
    ) -> dict[str, Any]:
        """See :meth:`Generative.decode`."""
        return {RNA: self.decode_latent(self.representation(z), s, log_exposures[RNA])}

    def representation(self, z: Tensor) -> Tensor:
        """See :meth:`Generative.representation`."""
        return self.z_encoder.z_transformation(z)

    @property
    def is_rotation_invariant(self) -> bool:
        """See :attr:`GenerativeModule.is_rotation_invariant`."""
        return self.latent_distribution == "normal" and self.prior.is_rotation_invariant

    def shifted(self, log_shift: Tensor) -> VAE:
        """See :meth:`Generative.shifted`; shifts are added to the decoder's biases.

        Heads of parameters that are absent are not evaluated, if there is a family without them.
        """
        likelihood = self.modalities[RNA].likelihood
        family = likelihood.without_absent or self.gene_likelihood
        heads = [name for name in self.decoder.heads if name in LIKELIHOODS[family].parameters]
        absent = {name: likelihood.parameters[name].absent for name in heads}
        view: Any = sharing(self, decoder=self.decoder.shifted(log_shift, absent))
        view.gene_likelihood = family
        vars(view).pop("modalities", None)  # by its own family
        return cast(VAE, view)

    def kl(self, qz: Distribution, pz: Distribution, z: Tensor) -> Tensor:
        """See :meth:`GenerativeModule.kl`."""
        return self.prior.kl(qz, pz, z)

    # -- q(z | x, s) -------------------------------------------------------------------------

    # Regular or, of minified data, cached, as scvi-tools decides.
    inference = BaseMinifiedModeModuleClass.inference

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
        shown = self._shown(x, batch_index, cont_covs, cat_covs)
        qz = self.encode_latent(*shown)
        z = draw(qz, n_samples)
        if self.use_observed_lib_size:
            ql, library = None, self._expand(kernels.row_sums(x).log(), n_samples)
        else:
            ql = self.encode_library(*shown)
            library = draw(ql, n_samples)
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
        z = draw(qz, n_samples)
        return {
            MODULE_KEYS.Z_KEY: self.z_encoder.z_transformation(z),
            UNTRANSFORMED_Z: z,
            MODULE_KEYS.QZ_KEY: qz,
            MODULE_KEYS.QL_KEY: None,
            MODULE_KEYS.LIBRARY_KEY: self._expand(observed_lib_size.log(), n_samples),
        }

    def _shown(
        self, x: Tensor, batch_index: Tensor, cont_covs: Tensor | None, cat_covs: Tensor | None
    ) -> tuple[Tensor, tuple[Tensor, ...], list[Tensor]]:
        """Return what the encoders see: counts, categories, and further columns."""
        return self.encoder_input(x), *self._encoder_covariates(batch_index, cont_covs, cat_covs)

    def encode_latent(
        self, encoder_input: Tensor, categories: tuple[Tensor, ...], rest: list[Tensor]
    ) -> Distribution:
        """Return the posterior of :math:`z`.

        Parameters
        ----------
        encoder_input
            What the encoder sees of the counts, CSR or dense, shape ``(n_cells, n_genes)``.
        categories
            Categorical covariates that it sees, each of shape ``(n_cells, 1)``.
        rest
            Continuous ones and embeddings, each of shape ``(n_cells, n)``.
        """
        qz = self.z_encoder(encoder_input, *categories, rest=rest)
        return qz if self.rotation is None else rotated(qz, self.rotation)

    def encode_library(
        self, encoder_input: Tensor, categories: tuple[Tensor, ...], rest: list[Tensor]
    ) -> Normal:
        """Return the posterior of a latent log library; arguments as in :meth:`encode_latent`."""
        return self.l_encoder(encoder_input, *categories, rest=rest)

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
        s: Covariates = {
            "batch": batch_index,
            "labels": y,
            "categorical": cat_covs,
            "continuous": cont_covs,
        }
        log_exposure = cast(Tensor, size_factor) if self.use_size_factor_key else library
        return {
            MODULE_KEYS.PX_KEY: self.decode_latent(z, s, log_exposure),
            MODULE_KEYS.PL_KEY: self._library_prior(batch_index),
            MODULE_KEYS.PZ_KEY: self.prior(z, s, self._encode),
        }

    def decode_latent(self, z: Tensor, s: Covariates, log_exposure: Tensor) -> Any:
        """Return the likelihood of the counts.

        Parameters
        ----------
        z
            Latent states after the softmax of a logistic normal, ``(..., n_cells, n_latent)``.
        s
            Covariates of the cells.
        log_exposure
            Log exposure, broadcasting to ``(..., n_cells, 1)``.
        """
        mean, parameters = self.decoder.deferred(*self._decoder_input(z, s))
        parameters |= self._of_genes(s, without=parameters)
        likelihood = LIKELIHOODS[self.gene_likelihood]
        return likelihood(**mean, **made_now(parameters), log_library=log_exposure)

    def last_layer(self, s: Covariates) -> LastLayer | None:
        """See :class:`lucidvi.nn.LastLayer`; None where something else decodes."""
        own = ("decode", "decode_latent")
        if any(getattr(type(self), name) is not getattr(VAE, name) for name in own):
            return None
        parameters = self._of_genes(s, without=self.decoder.heads)
        return LastLayer.of(
            self.decoder, lambda z, s: self._decoder_input(self.representation(z), s), parameters
        )

    def _library_prior(self, batch_index: Tensor) -> Normal | None:
        """Prior of the log library, ``(n_cells, 1)``, if it is latent."""
        if self.use_observed_lib_size:
            return None
        means = self.library_log_means[0]
        # As in the encoder: a batch whose cells have one and the same depth has no variance.
        variances = self.library_log_vars[0].clamp(min=self.l_encoder.var_eps)
        return Normal(means[batch_index], variances[batch_index].sqrt(), validate_args=False)

    # -- the loss ----------------------------------------------------------------------------

    def read(
        self, tensors: Record, inference_outputs: Record, generative_outputs: Record
    ) -> ForwardPass:
        """See :meth:`GenerativeModule.read`."""
        ql = inference_outputs[MODULE_KEYS.QL_KEY]
        return ForwardPass(
            {RNA: Observed(tensors[REGISTRY_KEYS.X_KEY], None)},
            StateDistribution(inference_outputs[MODULE_KEYS.QZ_KEY], ql),
            StateDistribution(
                generative_outputs[MODULE_KEYS.PZ_KEY], generative_outputs[MODULE_KEYS.PL_KEY]
            ),
            inference_outputs[UNTRANSFORMED_Z],
            None if ql is None else inference_outputs[MODULE_KEYS.LIBRARY_KEY],
            {RNA: generative_outputs[MODULE_KEYS.PX_KEY]},
        )

    def with_draws(
        self,
        inference_outputs: Record,
        posterior: StateDistribution,
        z: Tensor,
        log_exposures: Tensor | None,
    ) -> Record:
        """See :meth:`GenerativeModule.with_draws`."""
        library = inference_outputs[MODULE_KEYS.LIBRARY_KEY]
        return inference_outputs | {
            MODULE_KEYS.Z_KEY: self.representation(z),
            UNTRANSFORMED_Z: z,
            MODULE_KEYS.QZ_KEY: posterior.latent,
            MODULE_KEYS.QL_KEY: posterior.log_exposures,
            MODULE_KEYS.LIBRARY_KEY: library if log_exposures is None else log_exposures,
        }

    @unsupported_if_adata_minified
    def loss(
        self,
        tensors: Record,
        inference_outputs: Record,
        generative_outputs: Record,
        kl_weight: Tensor | float = 1.0,
    ) -> LossOutput:
        """See :meth:`GenerativeModule.loss`."""
        losses = super().loss(tensors, inference_outputs, generative_outputs, kl_weight)
        if self.extra_payload_autotune:
            losses.extra_metrics = {
                "z": inference_outputs[MODULE_KEYS.Z_KEY],
                "batch": tensors[REGISTRY_KEYS.BATCH_KEY],
                "labels": tensors[REGISTRY_KEYS.LABELS_KEY],
            }
        return losses

    def drawn(self, tensors: Record, n_samples: int = 1) -> DrawnStates:
        """See :meth:`GenerativeModule.drawn`."""
        tensors = self._on_device(tensors)
        outputs = self.inference(**self._get_inference_input(tensors), n_samples=n_samples)
        log_exposure = outputs[MODULE_KEYS.LIBRARY_KEY]
        if self.use_size_factor_key:
            log_exposure = tensors[REGISTRY_KEYS.SIZE_FACTOR_KEY].log()
        return DrawnStates.of(
            self, outputs[UNTRANSFORMED_Z], self.covariates(tensors), {RNA: log_exposure}
        )

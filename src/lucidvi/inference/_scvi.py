"""Modules of scvi-tools behind the contract of LucidVI's."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from scvi import REGISTRY_KEYS
from scvi.module.base import BaseModuleClass
from torch import Tensor, nn

from lucidvi import kernels
from lucidvi._compat import MODULE_KEYS
from lucidvi._random import isolated
from lucidvi.distributions import likelihood_of
from lucidvi.module import (
    COVARIATE_KEYS,
    Exposure,
    Generative,
    Modality,
    Observed,
    ShiftedModule,
    covariates,
    observe,
)
from lucidvi.nn import Covariates, StateDistribution

#: The only modality.
RNA = "rna"


class ScviModule(nn.Module):
    """A ``VAE``, ``LDVAE`` or ``SCANVAE`` of scvi-tools, as :class:`lucidvi.module.Generative`.

    Of a ``SCANVAE`` the prior of the latent state is the standard normal that its ``generative``
    states, as in scvi-tools' own marginal likelihood.

    Parameters
    ----------
    module
        Module of scvi-tools; its weights are shared.
    """

    def __init__(self, module: Any) -> None:
        super().__init__()
        self.module = module
        # scvi-tools joins embeddings of batches with one draw at a time only.
        self.takes_several_draws = module.batch_representation != "embedding"
        self._priors: tuple[Tensor, StateDistribution] | None = None

    @cached_property
    def modalities(self) -> Mapping[str, Modality]:
        """See :attr:`Generative.modalities`."""
        module = self.module
        exposure = Exposure.OBSERVED if module.use_observed_lib_size else Exposure.LATENT
        if module.use_size_factor_key:
            exposure = Exposure.SIZE_FACTOR
        field = REGISTRY_KEYS.X_KEY
        return {RNA: Modality(RNA, module.n_input, likelihood_of(module), exposure, field=field)}

    @property
    def n_latent(self) -> int:
        """See :attr:`Generative.n_latent`."""
        return int(self.module.n_latent)

    @property
    def n_state(self) -> int:
        """See :attr:`Generative.n_state`."""
        return self.n_latent + (self.modalities[RNA].exposure is Exposure.LATENT)

    @property
    def encode_covariates(self) -> bool:
        """See :attr:`Generative.encode_covariates`."""
        return bool(self.module.encode_covariates)

    @property
    def uses_labels(self) -> bool:
        """See :attr:`Generative.uses_labels`."""
        return self.module.dispersion == "gene-label"

    @property
    def device(self) -> Any:
        """Where the weights are."""
        return self.module.device

    def observe(
        self, minibatch: Mapping[str, Tensor | None], features: Mapping[str, Tensor] | None = None
    ) -> dict[str, Observed]:
        """See :meth:`Generative.observe`; counts are dense."""
        x = minibatch[REGISTRY_KEYS.X_KEY]
        dense = {**minibatch, REGISTRY_KEYS.X_KEY: None if x is None else kernels.to_dense(x)}
        return {RNA: observe(self.modalities[RNA], dense, (features or {}).get(RNA))}

    def covariates(self, minibatch: Mapping[str, Tensor | None]) -> Covariates:
        """See :meth:`Generative.covariates`."""
        return covariates(minibatch)

    def encode(self, observed: Mapping[str, Observed], s: Covariates) -> StateDistribution:
        """See :meth:`Generative.encode`."""
        tensors = _tensors(s) | {REGISTRY_KEYS.X_KEY: observed[RNA].x}
        inputs = self.module._get_inference_input(tensors, full_forward_pass=True)
        with isolated(None):  # its draws are not looked at
            outputs = self.module.inference(**inputs)
        return StateDistribution(outputs[MODULE_KEYS.QZ_KEY], outputs[MODULE_KEYS.QL_KEY])

    def prior_of(self, z: Tensor, s: Covariates) -> StateDistribution:
        """See :meth:`Generative.prior_of`."""
        if self._priors is None or self._priors[0] is not z:
            self.decode(z, s, {RNA: z.new_zeros(*z.shape[:-1], 1)})
        assert self._priors is not None
        prior, self._priors = self._priors[1], None
        return prior

    def decode(
        self, z: Tensor, s: Covariates, log_exposures: Mapping[str, Tensor]
    ) -> dict[str, Any]:
        """See :meth:`Generative.decode`; likelihoods are those of scvi-tools."""
        latent = {
            MODULE_KEYS.Z_KEY: self.representation(z),
            MODULE_KEYS.LIBRARY_KEY: log_exposures[RNA],
        }
        inputs = self.module._get_generative_input(_tensors(s), latent)
        inputs[MODULE_KEYS.SIZE_FACTOR_KEY] = log_exposures[RNA]
        outputs = self.module.generative(**inputs)
        # They come with the likelihood, and would otherwise take decoding a second time.
        prior = StateDistribution(outputs[MODULE_KEYS.PZ_KEY], outputs.get(MODULE_KEYS.PL_KEY))
        self._priors = z, prior
        return {RNA: outputs[MODULE_KEYS.PX_KEY]}

    def representation(self, z: Tensor) -> Tensor:
        """See :meth:`Generative.representation`."""
        return self.module.z_encoder.z_transformation(z)

    def shifted(self, log_shift: Tensor) -> ShiftedModule:
        """See :meth:`Generative.shifted`."""
        return ShiftedModule(self, log_shift)


def as_generative(module: BaseModuleClass | Generative) -> Any:
    """Return a module that keeps the contract, whichever library it is of."""
    return module if hasattr(module, "modalities") else ScviModule(module)


def _tensors(s: Covariates) -> dict[str, Tensor]:
    return {COVARIATE_KEYS[name]: values for name, values in s.items() if values is not None}

"""The base class of modules: an author writes the model, and gets its training."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, cast

import torch
from scvi import REGISTRY_KEYS
from scvi.module.base import BaseModuleClass, LossOutput, auto_move_data
from torch import Tensor, nn
from torch.distributions import Distribution, Normal, kl_divergence

from lucidvi.module._contract import checked_likelihoods, checked_state
from lucidvi.module._drawn import DrawnStates
from lucidvi.module._forward import ForwardPass, Record, loss_output
from lucidvi.module._generative import Modality, Observed, Tensors
from lucidvi.module._observed import covariates, log_likelihood, observe
from lucidvi.module._shifted import ShiftedModule
from lucidvi.module._states import draw, encoded, exposures, latent_exposures
from lucidvi.nn import Covariates, StateDistribution, divergence, log_density

#: Values, of samples x cells x features, that are decoded at once.
PASS_SIZE = 2**24


class GenerativeModule(BaseModuleClass, ABC):
    """A module of which :class:`Generative` is what its author writes.

    An implementation gives ``n_latent``, :attr:`modalities`, :meth:`encode`, :meth:`prior_of` and
    :meth:`decode`; :meth:`observe` and :meth:`covariates` where data are not as they are by
    default; and :meth:`kl` where the prior knows a better way. The methods by which scvi-tools
    trains a module follow.
    """

    n_latent: int
    takes_several_draws = True
    encode_covariates: bool = True
    uses_labels: bool = False
    #: Whether the weights are still those that were drawn at random.
    is_fresh = True

    # -- the contract, see :class:`Generative` -------------------------------------------------

    @property
    @abstractmethod
    def modalities(self) -> Mapping[str, Modality]:
        """See :attr:`Generative.modalities`."""

    @abstractmethod
    def encode(self, observed: Mapping[str, Observed], s: Covariates) -> StateDistribution:
        """See :meth:`Generative.encode`."""

    @abstractmethod
    def prior_of(self, z: Tensor, s: Covariates) -> StateDistribution:
        """See :meth:`Generative.prior_of`."""

    @abstractmethod
    def decode(
        self, z: Tensor, s: Covariates, log_exposures: Mapping[str, Tensor]
    ) -> dict[str, Any]:
        """See :meth:`Generative.decode`."""

    @property
    def n_state(self) -> int:
        """See :attr:`Generative.n_state`."""
        return self.n_latent + len(latent_exposures(self.modalities))

    def observe(
        self, minibatch: Tensors, features: Mapping[str, Tensor] | None = None
    ) -> dict[str, Observed]:
        """See :meth:`Generative.observe`; by default each modality by :func:`observe`."""
        return {
            key: observe(modality, minibatch, (features or {}).get(key))
            for key, modality in self.modalities.items()
        }

    def covariates(self, minibatch: Tensors) -> Covariates:
        """See :meth:`Generative.covariates`."""
        return covariates(minibatch)

    def representation(self, z: Tensor) -> Tensor:
        """See :meth:`Generative.representation`."""
        return z

    def shifted(self, log_shift: Tensor) -> Any:
        """See :meth:`Generative.shifted`."""
        return ShiftedModule(self, log_shift)

    @property
    def is_rotation_invariant(self) -> bool:
        """Whether every rotation of the latent space, undone by the decoder, fits as well."""
        return False

    @property
    def encoders(self) -> tuple[nn.Module, ...]:
        """Parts that only :meth:`encode` uses: by default those with "encoder" in their name."""
        return tuple(part for name, part in self.named_children() if "encoder" in name)

    def kl(self, qz: Distribution, pz: Distribution, z: Tensor) -> Tensor:
        """Divergence of posteriors of :math:`z` from the prior; see :meth:`Prior.kl`."""
        return divergence(qz, pz, z)

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Take over weights; see :meth:`torch.nn.Module.load_state_dict`."""
        self.is_fresh = False
        return super().load_state_dict(*args, **kwargs)

    # -- as scvi-tools calls it ----------------------------------------------------------------

    def _get_inference_input(self, tensors: Record, full_forward_pass: bool = False) -> Record:
        return {"tensors": tensors}

    @auto_move_data
    def inference(self, tensors: Record, n_samples: int = 1) -> Record:
        """Encode a minibatch and draw its states: the first part of :meth:`forward`."""
        observed, s = self.observe(tensors), self.covariates(tensors)
        posterior = checked_state(self, self.encode(observed, s), "encode")
        if (stored := self.stored(tensors)) is not None:
            posterior = StateDistribution(stored, posterior.log_exposures)
        z, log_exposures = draw(posterior.latent, n_samples), None
        if posterior.log_exposures is not None:
            log_exposures = draw(posterior.log_exposures, n_samples)
        outputs = {"observed": observed, "covariates": s}
        return self.with_draws(outputs, posterior, z, log_exposures)

    def stored(self, tensors: Record) -> Normal | None:
        """Return the posterior of :math:`z` that is stored with cells, if one is to be used."""
        mean = tensors.get(REGISTRY_KEYS.LATENT_QZM_KEY)
        variance = tensors.get(REGISTRY_KEYS.LATENT_QZV_KEY)
        if getattr(self, "minified_data_type", None) is None or mean is None or variance is None:
            return None
        return Normal(mean, variance.sqrt(), validate_args=False)

    def with_draws(
        self,
        inference_outputs: Record,
        posterior: StateDistribution,
        z: Tensor,
        log_exposures: Tensor | None,
    ) -> Record:
        """Return what :meth:`inference` returned, with another posterior and its draws."""
        return inference_outputs | {
            "posterior": posterior,
            "untransformed_z": z,
            "log_exposures": log_exposures,
            "qz": posterior.latent,
            "z": self.representation(z),
        }

    def _get_generative_input(self, tensors: Record, inference_outputs: Record) -> Record:
        return {
            "z": inference_outputs["untransformed_z"],
            "covariates": inference_outputs["covariates"],
            "log_exposures": exposures(
                self.modalities, inference_outputs["observed"], inference_outputs["log_exposures"]
            ),
        }

    @auto_move_data
    def generative(
        self,
        z: Tensor,
        covariates: Covariates,
        log_exposures: Mapping[str, Tensor],
        transform_batch: Tensor | int | None = None,
    ) -> Record:
        """Decode states: the second part of :meth:`forward`.

        Parameters
        ----------
        z, covariates, log_exposures
            See :meth:`Generative.decode`.
        transform_batch
            Decode every cell as one of this batch.
        """
        if transform_batch is not None:
            batch = covariates["batch"]
            assert batch is not None
            covariates = {**covariates, "batch": torch.ones_like(batch) * transform_batch}
        decoded = self.decode(z, covariates, log_exposures)
        likelihoods = checked_likelihoods(self, decoded, z)
        return {
            "likelihoods": likelihoods,
            "prior": checked_state(self, self.prior_of(z, covariates), "prior_of"),
            "px": next(iter(likelihoods.values())),
        }

    def read(
        self, tensors: Record, inference_outputs: Record, generative_outputs: Record
    ) -> ForwardPass:
        """Read what a forward pass returned."""
        return ForwardPass(
            inference_outputs["observed"],
            inference_outputs["posterior"],
            generative_outputs["prior"],
            inference_outputs["untransformed_z"],
            inference_outputs["log_exposures"],
            generative_outputs["likelihoods"],
        )

    def log_likelihoods(self, passed: ForwardPass) -> dict[str, Tensor]:
        """Log likelihood of each modality, ``(..., n_cells)``; zero of cells without it."""
        return {
            key: log_likelihood(px, passed.observed[key], self.modalities[key].is_renormalized)
            for key, px in passed.likelihoods.items()
        }

    def weighted(self, log_likelihoods: Mapping[str, Tensor]) -> Tensor:
        """Sum over modalities by their weights in a training, nats, shape ``(..., n_cells)``."""
        terms = [
            value if self.modalities[key].weight == 1 else self.modalities[key].weight * value
            for key, value in log_likelihoods.items()
        ]
        return sum(terms[1:], terms[0])

    def loss(
        self,
        tensors: Record,
        inference_outputs: Record,
        generative_outputs: Record,
        kl_weight: Tensor | float = 1.0,
    ) -> LossOutput:
        r"""Negative ELBO, averaged over the minibatch, with its terms a cell, in nats.

        .. math::
            -\sum_m v_m \log p(x_m \mid z) + w \, \mathrm{KL}(q_z \| p_z)
            + \mathrm{KL}(q_\ell \| p_\ell)

        with the weights :math:`v_m` of the modalities, and the weight :math:`w` (``kl_weight``)
        on the first KL alone, as in scvi-tools. The terms are without weights.
        """
        passed = self.read(tensors, inference_outputs, generative_outputs)
        log_px_z = self.log_likelihoods(passed)
        kl_z = self.kl(passed.posterior.latent, passed.prior.latent, passed.z)
        loss = kl_weight * kl_z - self.weighted(log_px_z)
        kl_l = torch.zeros_like(kl_z)
        if passed.posterior.log_exposures is not None:
            of_prior = cast(Normal, passed.prior.log_exposures)
            kl_l = kl_divergence(passed.posterior.log_exposures, of_prior).sum(dim=-1)
            loss = loss + kl_l
        return loss_output(loss.mean(), log_px_z, kl_z, kl_l)

    # -- draws and likelihoods -----------------------------------------------------------------

    def drawn(self, tensors: Record, n_samples: int = 1) -> DrawnStates:
        """Draw states of the cells of a minibatch, as :meth:`forward` does.

        Parameters
        ----------
        tensors
            A minibatch.
        n_samples
            Draws of each cell.

        Returns
        -------
        ``n_samples * n_cells`` states, draw by draw.
        """
        outputs = self.inference(self._on_device(tensors), n_samples=n_samples)
        given = self._get_generative_input(tensors, outputs)
        return DrawnStates.of(self, given["z"], given["covariates"], given["log_exposures"])

    def _on_device(self, tensors: Record) -> Record:
        """Move a minibatch to where the module is."""
        device = self.device  # looks at every parameter
        return {
            key: None if values is None else values.to(device) for key, values in tensors.items()
        }

    @torch.inference_mode()
    def sample(self, tensors: Record, n_samples: int = 1) -> Any:
        """Draw values of every modality from the posterior predictive distribution.

        Parameters
        ----------
        tensors
            A minibatch.
        n_samples
            Draws a cell, each with a ``z`` of its own.

        Returns
        -------
        Draws by modality, on the CPU, of shape ``(n_cells, n_features)``, with a last axis of
        length ``n_samples`` if there are several.
        """
        _, outputs = self.forward(
            tensors, inference_kwargs={"n_samples": n_samples}, compute_loss=False
        )
        drawn = {key: px.sample() for key, px in outputs["likelihoods"].items()}
        return {
            key: (x.permute(1, 2, 0) if n_samples > 1 else x).cpu() for key, x in drawn.items()
        }

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
        On the CPU, shape ``(n_mc_samples, n_cells)``. Latent exposures are sampled with ``z``.
        """
        observed, s = self.observe(tensors), self.covariates(tensors)
        posterior = encoded(self, observed, s)
        if n_mc_samples_per_pass is None:
            n_values = max(modality.x.numel() for modality in observed.values())
            n_mc_samples_per_pass = max(1, PASS_SIZE // n_values)
        passes = torch.arange(n_mc_samples).split(n_mc_samples_per_pass)
        return torch.cat([self._log_weights(observed, s, posterior, len(p)).cpu() for p in passes])

    def _log_weights(
        self,
        observed: Mapping[str, Observed],
        s: Covariates,
        posterior: StateDistribution,
        n_samples: int,
    ) -> Tensor:
        """Log importance weights of fresh draws, shape ``(n_samples, n_cells)``."""
        # Densities are those of the normal variate; a logistic normal's softmax comes after it.
        ql, log_exposures = posterior.log_exposures, None
        z = posterior.latent.sample((n_samples,))
        if ql is not None:
            log_exposures = ql.sample((n_samples,))
        decoded = self.decode(z, s, exposures(self.modalities, observed, log_exposures))
        px = checked_likelihoods(self, decoded, z)
        prior = checked_state(self, self.prior_of(z, s), "prior_of")
        passed = ForwardPass(observed, posterior, prior, z, log_exposures, px)
        log_px_z = list(self.log_likelihoods(passed).values())
        log_weight = sum(log_px_z[1:], log_px_z[0])
        log_weight += log_density(prior.latent, z) - log_density(posterior.latent, z)
        if ql is not None and log_exposures is not None:
            pl = cast(Normal, prior.log_exposures)
            log_weight += (pl.log_prob(log_exposures) - ql.log_prob(log_exposures)).sum(dim=-1)
        return log_weight

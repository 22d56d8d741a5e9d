"""The posterior of a minibatch under any generative model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from scvi.module.base import BaseModuleClass
from torch import Tensor
from torch.distributions import Distribution

from lucidvi import module
from lucidvi._brief import brief
from lucidvi.checks import check_choice
from lucidvi.distributions import Likelihood, adopt
from lucidvi.errors import DataError
from lucidvi.inference._by_last_layer import ByLastLayer
from lucidvi.inference._features import feature_masks, select_observed
from lucidvi.inference._likelihood import log_likelihood, of_genes
from lucidvi.inference._normal import NormalPosterior
from lucidvi.inference._scvi import as_generative
from lucidvi.module import Exposure, Generative, Modality, Observed
from lucidvi.nn import Covariates, log_density, select_cells


@dataclass(frozen=True)
class PosteriorTarget(ByLastLayer):
    r"""Posterior of the cells of a minibatch, :math:`p(z \mid x, s) \propto p(x, z \mid s)`.

    .. math::
        \log p(x, z \mid s) = \log p(z \mid s) + \sum_m \log p(x_m \mid z, s)

    over the modalities that a cell has, and of each over the features that were measured. All
    that is latent in a cell is one vector, its state: :math:`z` before the softmax of a logistic
    normal and, of modalities whose exposure is latent, their log exposures.

    Made by :meth:`from_module`. The module is used as it is, so put it into evaluation mode.
    """

    #: Module that keeps the contract :class:`lucidvi.module.Generative`.
    module: Any
    #: What was observed, by modality.
    observed: dict[str, Observed]
    #: The minibatch besides what was observed, by registry key.
    covariates: dict[str, Tensor]
    q0: Distribution

    __repr__ = brief

    @classmethod
    def from_module(
        cls,
        module: BaseModuleClass | Generative,
        tensors: Mapping[str, Tensor | None],
        features: Any | Mapping[str, Any] | None = None,
    ) -> PosteriorTarget:
        r"""Make the target of a minibatch.

        Parameters
        ----------
        module
            A module of LucidVI's, or one of scvi-tools: ``VAE``, ``LDVAE``, ``SCANVAE``.
        tensors
            A minibatch, as the model's loader gives it.
        features
            Which features were measured: a boolean mask of shape ``(n_features,)`` of the main
            modality, or masks by modality; all by default. The values of the others are not
            looked at. Where the exposure is the observed total, it and the normalized expression
            are then those of the measured features alone; a latent exposure and a size factor are
            the whole cell's, so that leaving features out is exact.

        Raises
        ------
        lucidvi.errors.DataError
            If ``features`` is not such a mask.
        """
        generative = as_generative(module)
        minibatch = {
            key: value.to(generative.device) for key, value in tensors.items() if value is not None
        }
        masks = feature_masks(features, generative.modalities, generative.device)
        return cls._of(generative, generative.observe(minibatch, masks), minibatch)

    @classmethod
    def _of(
        cls, generative: Any, observed: dict[str, Observed], minibatch: Mapping[str, Tensor]
    ) -> PosteriorTarget:
        """Encode what was observed of a minibatch."""
        data = {key for m in generative.modalities.values() for key in m.fields}
        with torch.no_grad():
            posterior = module.encoded(generative, observed, generative.covariates(minibatch))
        return cls(
            module=generative,
            observed=observed,
            covariates={key: value for key, value in minibatch.items() if key not in data},
            q0=posterior.as_vector,
        )

    # -- what is latent ------------------------------------------------------------------------

    @property
    def n_state(self) -> int:  # type: ignore[override]
        """Length of a state: ``z``, and log exposures that are latent."""
        return int(self.module.n_state)

    @property
    def n_latent(self) -> int:
        """Length of ``z``."""
        return int(self.module.n_latent)

    def latent(self, state: Tensor) -> Tensor:
        """Return ``z`` of states, before the softmax of a logistic normal.

        Parameters
        ----------
        state
            All that is latent, shape ``(..., n_cells, n_state)``.

        Returns
        -------
        Shape ``(..., n_cells, n_latent)``.
        """
        return state[..., : self.n_latent]

    def with_latent(self, state: Tensor, latent: Tensor) -> Tensor:
        """Return states with other ``z``, of the shape that :meth:`latent` has."""
        return torch.cat([latent, state[..., self.n_latent :]], dim=-1)

    def representation(self, state: Tensor) -> Tensor:
        """Return ``z`` as the decoder sees it and as models hand it out, ``(..., n_latent)``."""
        return self.module.representation(self.latent(state))

    def latent_posterior(self, posterior: NormalPosterior) -> NormalPosterior:
        """Return the posteriors of ``z`` alone, of those of states."""
        return posterior.first(self.n_latent)

    @cached_property
    def prior(self) -> Distribution:  # type: ignore[override]
        """Prior of all that is latent."""
        return self._prior.as_vector

    @property
    def state_prior(self) -> Distribution:
        """Prior of ``z`` alone, before the softmax of a logistic normal."""
        return self._prior.latent

    @cached_property
    def _prior(self) -> Any:
        with torch.no_grad():
            prior = self.module.prior_of(self.latent(self.q0.mean), self._s)
            return module.checked_state(self.module, prior, "prior_of")

    # -- what was observed ---------------------------------------------------------------------

    def counts(self, modality: str | None = None) -> Tensor:
        """Return the values of the measured features of a modality, by default the main one.

        Returns
        -------
        CSR or dense, shape ``(n_cells, n_measured)``; all features where other ones were measured
        in other cells.
        """
        return self._measured[self._modality(modality).key]

    @property
    def x(self) -> Tensor:
        """Values of the measured features of the main modality; see :meth:`counts`."""
        return self.counts()

    @cached_property
    def _measured(self) -> dict[str, Tensor]:
        return {
            key: observed.x
            if observed.features is None or observed.features.ndim > 1
            else observed.x[:, observed.features]
            for key, observed in self.observed.items()
        }

    @property
    def width(self) -> int:  # type: ignore[override]
        """Number of features that are decoded."""
        return sum(modality.n_features for modality in self.module.modalities.values())

    @property
    def log_exposures(self) -> dict[str, Tensor]:
        """Log exposures that are not latent, by modality, each of shape ``(n_cells, 1)``."""
        return module.exposures(self.module.modalities, self.observed, None)

    def exposure(self, state: Tensor, modality: str | None = None) -> Tensor:
        """Return the exposure of each cell, linear; 1 in a modality that has none.

        Parameters
        ----------
        state
            All that is latent, shape ``(..., n_cells, n_state)``.
        modality
            Name of the modality, by default the main one.

        Returns
        -------
        Shape ``(..., n_cells)``.
        """
        log_exposure = self._exposures(state).get(self._modality(modality).key)
        if log_exposure is None:
            return torch.ones_like(state[..., 0])
        return log_exposure.squeeze(-1).exp().expand(state.shape[:-1])

    # -- other targets -------------------------------------------------------------------------

    def with_exposure(
        self, state: Tensor, exposure: Tensor, modality: str | None = None
    ) -> tuple[PosteriorTarget, Tensor]:
        """Return a target, and states of its cells, with other exposures.

        Parameters
        ----------
        state
            All that is latent, shape ``(n_cells, n_state)``.
        exposure
            Linear, shape ``(n_cells,)``: in place of the observed total, of the latent exposure
            or of the size factor.
        modality
            Name of the modality, by default the main one.
        """
        key, column = self._modality(modality).key, exposure.to(state)[:, None].log()
        if key in self.log_exposures:
            return self.with_log_exposures({key: column}), state
        latent = module.latent_exposures(self.module.modalities)
        if key not in latent:
            raise DataError(
                f"The modality {key!r} has no exposure.", remedy="choose another `modality`."
            )
        state = state.clone()
        state[:, self.n_latent + latent.index(key)] = column[:, 0]
        return self, state

    def with_log_exposures(self, log_exposures: Mapping[str, Tensor]) -> PosteriorTarget:
        """Return the target of the same cells, encoded as they are, with other exposures.

        Parameters
        ----------
        log_exposures
            Log exposures that are not latent, by modality, each of shape ``(n_cells, 1)``.
        """
        changes = {
            key: self.observed[key]._replace(log_exposure=column)
            for key, column in log_exposures.items()
        }
        return replace(self, observed=self.observed | changes)

    def with_covariates(self, changes: Mapping[str, Tensor]) -> PosteriorTarget:
        """Return the target of the same cells, encoded as they are, with other covariates.

        Parameters
        ----------
        changes
            Covariates by registry key, each of shape ``(n_cells, n)``.
        """
        return replace(self, covariates=self.covariates | dict(changes))

    def with_counts(self, x: Tensor, modality: str | None = None) -> PosteriorTarget:
        """Return the target of cells with the same covariates and other counts, encoded anew.

        Parameters
        ----------
        x
            Counts of all features, CSR or dense, ``(n_cells, n_features)``.
        modality
            Name of the modality, by default the main one.
        """
        minibatch = self.covariates | self._data
        key = self._modality(modality).key
        modalities = self.module.modalities
        minibatch[modalities[key].field] = x
        minibatch.pop(modalities[key].features_field, None)
        observed = self.module.observe(minibatch)
        # Exposures that no counts were changed of are those of the target, whosever they are.
        kept = {
            name: observed[name]._replace(log_exposure=self.observed[name].log_exposure)
            for name, m in modalities.items()
            if name != key or m.exposure is Exposure.SIZE_FACTOR
        }
        return self._of(self.module, observed | kept, minibatch)

    def with_shift(self, log_shift: Tensor) -> PosteriorTarget:
        """Return the target of the same cells, encoded as they are, whose features are shifted.

        Parameters
        ----------
        log_shift
            Shifts of the log means of the main modality's features, shape ``(n_features,)``; see
            :meth:`lucidvi.module.Generative.shifted`.
        """
        return replace(self, module=self.module.shifted(log_shift))

    @property
    def _data(self) -> dict[str, Tensor]:
        """What was observed, as a minibatch has it."""
        data: dict[str, Tensor] = {}
        for key, observed in self.observed.items():
            fields = self.module.modalities[key].fields
            values = (observed.x, observed.present, observed.features)
            data |= {f: v for f, v in zip(fields, values, strict=True) if v is not None}
        return data

    def select(self, cells: Tensor) -> PosteriorTarget:
        """See :meth:`Target.select`."""
        selected = replace(
            self,
            covariates={key: value[cells] for key, value in self.covariates.items()},
            observed={key: select_observed(value, cells) for key, value in self.observed.items()},
            q0=select_cells(self.q0, cells),
        )
        return self._passed_on(selected, cells)

    # -- densities -----------------------------------------------------------------------------

    def log_joint(self, z: Tensor) -> Tensor:
        """See :meth:`Target.log_joint`."""
        if not self.module.takes_several_draws:
            return torch.stack([self._log_joint(draw) for draw in z])
        return self._log_joint(z)

    def _log_joint(self, state: Tensor) -> Tensor:
        z = self.latent(state)
        terms = [self._log_likelihood(key, px) for key, px in self._decode(state, z).items()]
        return sum(terms[1:], terms[0]) + self._log_prior(state)

    def _log_prior(self, state: Tensor) -> Tensor:
        z = self.latent(state)
        prior = module.checked_state(self.module, self.module.prior_of(z, self._s), "prior_of")
        value = log_density(prior.latent, z)
        if prior.log_exposures is not None:
            value = value + log_density(prior.log_exposures, state[..., self.n_latent :])
        return value

    def _log_likelihood(self, key: str, px: Any) -> Tensor:
        """Log likelihood of a modality, of what was measured of it, ``(..., n_cells)``."""
        observed, renormalize = self.observed[key], self.module.modalities[key].is_renormalized
        if observed.features is not None and observed.features.ndim > 1:
            return module.log_likelihood(px, observed, renormalize)
        value = log_likelihood(px, self._measured[key], observed.features, renormalize)
        return value if observed.present is None else torch.where(observed.present, value, 0)

    def likelihood(self, z: Tensor, modality: str | None = None) -> Likelihood:
        r"""Likelihood :math:`p(x \mid z, s)` of all features at one draw of each cell.

        Parameters
        ----------
        z
            All that is latent, shape ``(n_cells, n_state)``.
        modality
            Name of the modality, by default the main one.

        Returns
        -------
        A likelihood of LucidVI's, whichever the module, of shape ``(n_cells, n_features)``.
        """
        return adopt(self._decode(z)[self._modality(modality).key])

    def measured_likelihood(self, z: Tensor, modality: str | None = None) -> Likelihood:
        """:meth:`likelihood` of the features of :meth:`counts`, by which cells are judged."""
        described = self._modality(modality)
        features = self.observed[described.key].features
        if features is None:
            return self.likelihood(z, modality)
        px = self._decode(z)[described.key]
        if features.ndim > 1:
            return module.measured_means(px, features) if described.is_renormalized else px
        return of_genes(px, features, described.is_renormalized)

    @cached_property
    def _s(self) -> Covariates:
        return self.module.covariates(self.covariates)

    def _modality(self, modality: str | None) -> Modality:
        """Return a modality by name, or the main one."""
        modalities = self.module.modalities
        if modality is None:
            return next(iter(modalities.values()))
        check_choice("modality", modality, modalities)
        return modalities[modality]

    def _exposures(self, state: Tensor) -> dict[str, Tensor]:
        """Log exposures of states, by modality."""
        log_exposures = state[..., self.n_latent :]
        return module.exposures(
            self.module.modalities,
            self.observed,
            log_exposures if log_exposures.shape[-1] else None,
        )

    def _decode(self, state: Tensor, z: Tensor | None = None) -> dict[str, Any]:
        """Return the likelihoods of states ``(..., n_cells, n_state)``, by modality."""
        z = self.latent(state) if z is None else z
        decoded = self.module.decode(z, self._s, self._exposures(state))
        return module.checked_likelihoods(self.module, decoded, z)

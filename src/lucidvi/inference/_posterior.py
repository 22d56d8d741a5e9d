"""The posterior of a minibatch under any module of the scVI family."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from scvi import REGISTRY_KEYS
from scvi.module.base import BaseModuleClass
from torch import Tensor
from torch.distributions import Distribution

from lucidvi import kernels, module
from lucidvi._brief import brief
from lucidvi._compat import MODULE_KEYS
from lucidvi.distributions import Likelihood, adopt
from lucidvi.errors import DataError
from lucidvi.inference._joined import joined, select_cells
from lucidvi.inference._likelihood import log_likelihood, of_genes
from lucidvi.inference._target import Target
from lucidvi.nn import frozen, log_density

#: Exposure of a cell of which no measured gene has a count: it says nothing of the cell.
EXPOSURE_MIN = 1e-8


@dataclass(frozen=True)
class PosteriorTarget(Target):
    r"""Posterior of the cells of a minibatch, :math:`p(z \mid x, s) \propto p(x, z \mid s)`.

    All that is latent in a cell is one vector: the latent state before the softmax of a logistic
    normal and, where the library is latent, the log library as its last number.

    Made by :meth:`from_module`. The module is used as it is, so put it into evaluation mode.
    """

    module: BaseModuleClass
    #: The minibatch besides its counts.
    covariates: dict[str, Tensor]
    #: Counts of the measured genes, CSR or dense, ``(n_cells, n_measured)``.
    x: Tensor
    #: Log exposure, ``(n_cells, 1)``, or None where it is latent.
    log_library: Tensor | None
    q0: Distribution
    #: Which genes were measured, a mask of shape ``(n_genes,)``; None for all.
    genes: Tensor | None = None

    __repr__ = brief

    @classmethod
    def from_module(
        cls,
        module: BaseModuleClass,
        tensors: Mapping[str, Tensor | None],
        genes: Any | None = None,
    ) -> PosteriorTarget:
        r"""Make the target of a minibatch.

        Parameters
        ----------
        module
            LucidVI's ``VAE`` or one of scvi-tools: ``VAE``, ``LDVAE``, ``SCANVAE``. Of the last
            the prior of the latent state is the standard normal that its ``generative`` states,
            as in scvi-tools' own marginal likelihood.
        tensors
            A minibatch, as the model's loader gives it.
        genes
            Which genes were measured, a boolean mask of shape ``(n_genes,)``; all by default.
            The counts of the others are not looked at. Where the exposure is the observed total,
            it and the normalized expression are then those of the measured genes alone; a latent
            library and a size factor are the whole cell's, so that leaving genes out is exact.

        Raises
        ------
        lucidvi.errors.DataError
            If ``genes`` is not such a mask.
        """
        given = {
            key: value.to(module.device) for key, value in tensors.items() if value is not None
        }
        x = given[REGISTRY_KEYS.X_KEY]
        x = x if _is_ours(module) else kernels.to_dense(x)
        measured = None if genes is None else _mask(genes, x)
        if measured is not None:
            x = kernels.to_dense(x) * measured  # to the encoder, what was not measured is zero
        given[REGISTRY_KEYS.X_KEY] = x
        with torch.no_grad():
            outputs = module.inference(
                **module._get_inference_input(given, full_forward_pass=True)
            )
        qz, ql = outputs[MODULE_KEYS.QZ_KEY], outputs[MODULE_KEYS.QL_KEY]
        if ql is None:
            log_library = outputs[MODULE_KEYS.LIBRARY_KEY]
            log_library = log_library.clamp(min=torch.tensor(EXPOSURE_MIN).log().item())
        else:
            log_library = None
        return cls(
            module=module,
            covariates={k: v for k, v in given.items() if k != REGISTRY_KEYS.X_KEY},
            x=x if measured is None else x[:, measured],
            log_library=log_library,
            q0=joined(qz, ql),
            genes=measured,
        )

    @property
    def n_state(self) -> int:  # type: ignore[override]
        """Length of a state: ``z`` and, where it is latent, the log library."""
        return self.q0.event_shape[0]

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

    def representation(self, state: Tensor) -> Tensor:
        """Return ``z`` as the decoder sees it and as models hand it out, of the same shape."""
        return self.module.z_encoder.z_transformation(self.latent(state))

    def exposure(self, state: Tensor) -> Tensor:
        """Return the exposure of each cell, linear, shape ``(..., n_cells)``."""
        if self.module.use_size_factor_key:
            return self.covariates[REGISTRY_KEYS.SIZE_FACTOR_KEY].squeeze(-1)
        return self._split(state)[1].squeeze(-1).exp()

    def with_exposure(self, state: Tensor, exposure: Tensor) -> tuple[PosteriorTarget, Tensor]:
        """Return a target, and states of its cells, with other exposures.

        Parameters
        ----------
        state
            All that is latent, shape ``(n_cells, n_state)``.
        exposure
            Linear, shape ``(n_cells,)``: in place of the observed total, of the latent library or
            of the size factor.
        """
        column = exposure.to(state)[:, None]
        if self.module.use_size_factor_key:
            return self.with_covariates({REGISTRY_KEYS.SIZE_FACTOR_KEY: column}), state
        if self.log_library is None:
            return self, torch.cat([self.latent(state), column.log()], dim=-1)
        return replace(self, log_library=column.log()), state

    def with_covariates(self, changes: Mapping[str, Tensor]) -> PosteriorTarget:
        """Return the target of the same cells, encoded as they are, with other covariates.

        Parameters
        ----------
        changes
            Covariates by registry key, each of shape ``(n_cells, n)``.
        """
        return replace(self, covariates=self.covariates | dict(changes))

    def with_counts(self, x: Tensor) -> PosteriorTarget:
        """Return the target of cells with the same covariates and other counts, encoded anew.

        Parameters
        ----------
        x
            Counts of all features, CSR or dense, ``(n_cells, n_features)``.
        """
        return self.from_module(self.module, self.covariates | {REGISTRY_KEYS.X_KEY: x})

    @property
    def width(self) -> int:  # type: ignore[override]
        """Number of genes that are decoded."""
        return self.x.shape[1] if self.genes is None else len(self.genes)

    @cached_property
    def prior(self) -> Distribution:  # type: ignore[override]
        """Prior of all that is latent."""
        pl = None if self.log_library is not None else self._priors[MODULE_KEYS.PL_KEY]
        return joined(self.state_prior, pl)

    @property
    def state_prior(self) -> Distribution:
        """Prior of the latent state alone, before the softmax of a logistic normal."""
        return self._priors[MODULE_KEYS.PZ_KEY]

    @cached_property
    def _priors(self) -> dict[str, Any]:
        with torch.no_grad():
            outputs = self._decode(self.q0.mean)
        return {key: outputs.get(key) for key in (MODULE_KEYS.PZ_KEY, MODULE_KEYS.PL_KEY)}

    def log_joint(self, z: Tensor) -> Tensor:
        """See :meth:`Target.log_joint`."""
        if not _is_ours(self.module) and self.module.batch_representation == "embedding":
            # scvi-tools joins embeddings of batches with one draw at a time only.
            return torch.stack([self._log_joint(draw) for draw in z])
        return self._log_joint(z)

    def _log_joint(self, z: Tensor) -> Tensor:
        outputs = self._decode(z)
        px = outputs[MODULE_KEYS.PX_KEY]
        value = log_likelihood(px, self.x, self.genes, self._renormalize)
        state, log_library = self._split(z)
        value = value + log_density(outputs[MODULE_KEYS.PZ_KEY], state)
        if self.log_library is None:
            value = value + log_density(outputs[MODULE_KEYS.PL_KEY], log_library)
        return value

    def likelihood(self, z: Tensor) -> Likelihood:
        r"""Likelihood :math:`p(x \mid z, s)` of all genes at one draw of each cell.

        Parameters
        ----------
        z
            All that is latent, shape ``(n_cells, n_state)``.

        Returns
        -------
        A likelihood of LucidVI's, whichever the module, of shape ``(n_cells, n_genes)``.
        """
        return adopt(self._decode(z)[MODULE_KEYS.PX_KEY])

    def measured_likelihood(self, z: Tensor) -> Likelihood:
        """:meth:`likelihood` of the measured genes, by which :meth:`log_joint` judges."""
        if self.genes is None:
            return self.likelihood(z)
        return of_genes(self._decode(z)[MODULE_KEYS.PX_KEY], self.genes, self._renormalize)

    def select(self, cells: Tensor) -> PosteriorTarget:
        """See :meth:`Target.select`."""
        return replace(
            self,
            covariates={key: value[cells] for key, value in self.covariates.items()},
            x=kernels.select_rows(self.x, cells),
            log_library=None if self.log_library is None else self.log_library[cells],
            q0=select_cells(self.q0, cells),
        )

    def evaluate_with_gradient(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """See :meth:`Target.evaluate_with_gradient`; no work goes into the weights' gradients."""
        with frozen(self.module):
            return super().evaluate_with_gradient(z)

    @property
    def _renormalize(self) -> bool:
        """Whether the normalized expression of the measured genes sums to one."""
        return self.log_library is not None and not self.module.use_size_factor_key

    def _split(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Latent state before its softmax, and log library, of shape ``(..., n_cells, 1)``."""
        if self.log_library is None:
            return z[..., :-1], z[..., -1:]
        return z, self.log_library.expand(*z.shape[:-1], 1)

    def _decode(self, z: Tensor) -> dict[str, Any]:
        """Return what ``generative`` makes of states ``(..., n_cells, n_state)``."""
        state, log_library = self._split(z)
        latent = {
            MODULE_KEYS.Z_KEY: self.module.z_encoder.z_transformation(state),
            MODULE_KEYS.LIBRARY_KEY: log_library,
        }
        return self.module.generative(**self.module._get_generative_input(self.covariates, latent))


def _is_ours(given: BaseModuleClass) -> bool:
    return isinstance(given, module.VAE)


def _mask(genes: Any, x: Tensor) -> Tensor:
    """Check the mask of the measured genes."""
    mask = torch.as_tensor(genes, device=x.device)
    if mask.dtype != torch.bool or mask.shape != x.shape[1:] or not mask.any():
        raise DataError(
            f"`genes` has the dtype {mask.dtype}, the shape {tuple(mask.shape)} and "
            f"{int(mask.count_nonzero())} values that are not zero.",
            remedy=f"Give a boolean mask of shape ({x.shape[1]},), true for measured genes.",
        )
    return mask

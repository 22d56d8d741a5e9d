"""Many states of the same cells at once, where one layer makes all that genes differ in."""

from __future__ import annotations

import math
from abc import abstractmethod
from functools import cached_property
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor

from lucidvi import kernels
from lucidvi.inference._normal import NormalPosterior
from lucidvi.inference._target import Target
from lucidvi.module import Observed
from lucidvi.nn import Covariates, LastLayer, frozen

#: Hidden units, of states x cells, that are held at once.
N_HIDDEN = 2**22


class Prepared(NamedTuple):
    """What all states of the cells have in common.

    Parameters
    ----------
    layer
        The decoder.
    weight, bias
        Of its outputs for the measured genes, ``(n_outputs, n_hidden)`` and ``(n_outputs,)``.
    counts
        The measured genes' counts.
    key
        Name of the modality.
    """

    layer: LastLayer
    weight: Tensor
    bias: Tensor
    counts: kernels.StateCounts
    key: str

    def select(self, cells: Tensor) -> Prepared:
        """Return what states of some of the cells have in common."""
        return self._replace(counts=self.counts.select(cells))


class ByLastLayer(Target):
    """A target that evaluates states by the compiled code, if its module has a ``last_layer``.

    Of any other module, and of observations that the code does not know, states are evaluated
    as of any target.
    """

    module: Any
    observed: dict[str, Observed]

    @property
    @abstractmethod
    def _s(self) -> Covariates:
        """Covariates of the cells."""

    @abstractmethod
    def latent(self, state: Tensor) -> Tensor:
        """Return ``z`` of states."""

    @abstractmethod
    def _exposures(self, state: Tensor) -> dict[str, Tensor]:
        """Log exposures of states, by modality."""

    def log_exposure(self, state: Tensor) -> Tensor:
        """Log exposure of the only modality, shape ``(..., n_cells, 1)``."""
        (log_exposure,) = self._exposures(state).values()
        return log_exposure.expand(*state.shape[:-1], 1)

    @abstractmethod
    def _log_prior(self, state: Tensor) -> Tensor:
        """Log prior density of states."""

    def evaluate(self, z: Tensor, n_per_pass: int | None = None) -> Tensor:
        """See :meth:`Target.evaluate`."""
        results = self._by_last_layer(z, want_gradient=False)
        return super().evaluate(z, n_per_pass) if results is None else results[0]

    def evaluate_with_gradient(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """See :meth:`Target.evaluate_with_gradient`; no work goes into the weights' gradients."""
        with frozen(self.module):
            results = self._by_last_layer(z, want_gradient=True)
            return super().evaluate_with_gradient(z) if results is None else results

    def _by_last_layer(self, z: Tensor, want_gradient: bool) -> tuple[Tensor, Tensor] | None:
        """Values and gradients, which are empty if not wanted; None where this does not apply."""
        if self.prepared is None:
            return None
        n_hidden = self.prepared.weight.shape[1]
        size = max(1, N_HIDDEN // max(1, len(z) * n_hidden))
        if size >= self.n_cells:
            results = [self._of_states(self.prepared, z, want_gradient)]
        else:
            parts = torch.arange(self.n_cells, device=z.device).split(size)
            results = []
            for cells in parts:
                some = self.select(cells)
                assert isinstance(some, ByLastLayer)
                assert some.prepared is not None
                results.append(some._of_states(some.prepared, z[:, cells], want_gradient))
        values, gradients = (torch.cat(part, dim=1) for part in zip(*results, strict=True))
        return (values, gradients) if math.isfinite(values.sum()) else None

    def _of_states(
        self, prepared: Prepared, z: Tensor, want_gradient: bool
    ) -> tuple[Tensor, Tensor]:
        with torch.set_grad_enabled(want_gradient):
            state = z.detach().requires_grad_(want_gradient)
            hidden = self.hidden(prepared, state)
            log_prior = self._log_prior(state)
            log_library = self.log_exposure(state)
        value, by_hidden, by_library = kernels.log_likelihood_of_states(
            prepared.counts,
            hidden.detach().transpose(0, 1),
            log_library.detach().squeeze(-1).T,
            prepared.weight,
            prepared.bias,
            want_gradient,
        )
        value = value.T + log_prior.detach()
        if by_hidden is None or by_library is None:
            return value, z.new_empty(0, z.shape[1], 0)
        outputs = [log_prior, hidden]
        weights = [torch.ones_like(log_prior), by_hidden.transpose(0, 1)]
        if log_library.requires_grad:
            outputs.append(log_library)
            weights.append(by_library.T.unsqueeze(-1))
        (gradient,) = torch.autograd.grad(outputs, state, weights)
        return value, gradient

    def expand(
        self, posterior: NormalPosterior, draws: Tensor
    ) -> tuple[Tensor, Tensor, Tensor] | None:
        r"""Expand the log joint around posteriors, with hidden units that are linear around them.

        Over the draws :math:`\epsilon` the hidden units of :math:`m + L \epsilon` are regressed
        on :math:`\epsilon`, so that what bends within the posterior is averaged, and one product
        with the last layer takes ``1 + n_state`` states a cell. The prior is averaged itself.

        Parameters
        ----------
        posterior
            Where to.
        draws
            Draws of a standard normal whose covariance is one, shape ``(n_draws, n_state)``.

        Returns
        -------
        In the coordinates :math:`\epsilon`: the log joint, ``(n_cells,)``, NaN where the compiled
        code does not reach; its slope, ``(n_cells, n_state)``; and minus its second derivatives,
        ``(n_cells, n_state, n_state)``. None where there is no compiled code at all.
        """
        prepared = self.prepared
        if prepared is None:
            return None
        along = torch.cat([torch.ones_like(draws[:, :1]), draws], dim=1) / len(draws)
        with torch.enable_grad():
            state = posterior.at(draws).detach().requires_grad_()
            log_prior = self._log_prior(state)
            (by_state,) = torch.autograd.grad(log_prior.sum(), state)
        with torch.no_grad():
            hidden = self.hidden(prepared, state)
            rows = torch.einsum("si,snk->nik", along, hidden)
            log_library = along.T @ self.log_exposure(state).squeeze(-1)
        value, slope, curvature = kernels.expanded_log_likelihood(
            prepared.counts, rows, log_library.T, prepared.weight, prepared.bias
        )
        by_draw = torch.einsum("nij,sni->snj", posterior.scale_tril, by_state)
        of_prior = torch.einsum("si,snj->nij", draws, by_draw) / -len(draws)
        return (
            value + log_prior.detach().mean(dim=0),
            slope + by_draw.mean(dim=0),
            curvature + (of_prior + of_prior.mT) / 2,
        )

    def hidden(self, prepared: Prepared, state: Tensor) -> Tensor:
        """Hidden units of states before the last layer, ``(..., n_cells, n_hidden)``."""
        return prepared.layer.hidden(self.latent(state), self._s)

    def _passed_on(self, other: Self, cells: Tensor) -> Self:
        """Let the target of some of the cells have what was prepared for them, if it was."""
        name = "prepared"
        if name in vars(self):
            vars(other)[name] = None if self.prepared is None else self.prepared.select(cells)
        return other

    @cached_property
    def prepared(self) -> Prepared | None:
        """What all states have in common; None where the compiled code does not apply."""
        of_module = getattr(self.module, "last_layer", None)
        if of_module is None or self.module.training or len(self.observed) > 1:
            return None
        ((key, observed),) = self.observed.items()
        modality, mask = self.module.modalities[key], observed.features
        layer = of_module(self._s)
        if layer is None or observed.present is not None:
            return None
        if mask is not None and (mask.ndim > 1 or not modality.is_renormalized):
            return None
        kinds = modality.likelihood.parameters
        if any(kinds[name].bounds for name in layer.heads):
            return None
        weight, bias = layer.weight, layer.bias
        clamped = {
            name: kinds[name].clamped(values.detach()) for name, values in layer.parameters.items()
        }
        x = observed.x
        if mask is not None:
            outputs = mask.repeat(1 + len(layer.heads))
            weight, bias, x = weight[outputs], bias[outputs], kernels.to_dense(x)[:, mask]
            clamped = {name: values[..., mask] for name, values in clamped.items()}
        family = modality.likelihood.family
        counts = kernels.StateCounts.of(family, x, weight, clamped, layer.heads)
        return None if counts is None else Prepared(layer, weight, bias, counts, key)

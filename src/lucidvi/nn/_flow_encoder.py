"""Amortized posterior by a normalizing flow."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Size, Tensor, nn
from torch.distributions import Distribution, constraints

from lucidvi.nn._draws import orthogonal_draws
from lucidvi.nn._encoder import Encoder
from lucidvi.nn._frozen import frozen
from lucidvi.nn._stop_gradient import stop_gradient

#: Fixed draws from which moments of a flow are taken.
N_MOMENT_DRAWS = 64


class FlowPosterior(Distribution):
    r"""Distribution that a normalizing flow makes of a standard normal.

    .. math:: z = \mu + \sigma \, T_h(\epsilon), \quad \epsilon \sim \mathrm{Normal}(0, I)

    Batch shape ``(n_cells,)``, event shape ``(n_latent,)``. The log density of the last draws is
    remembered, as torch's transforms do; that of other states takes ``n_latent`` passes.

    Parameters
    ----------
    shift, spread
        :math:`\mu` and :math:`\sigma`, shape ``(n_cells, n_latent)``.
    hidden
        What the transformations depend on, shape ``(n_cells, n_hidden)``.
    transforms
        Map ``hidden`` to the transformations whose composition, the first first, is :math:`T_h`.
    constant
        Take the weights of the transformations for constants.
    rotation
        Orthogonal matrix :math:`R` by which the draws are turned, :math:`R^\top z`; none by
        default.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.real_vector
    has_rsample = True

    def __init__(
        self,
        shift: Tensor,
        spread: Tensor,
        hidden: Tensor,
        transforms: Sequence[nn.Module],
        *,
        constant: bool = False,
        rotation: Tensor | None = None,
    ) -> None:
        self.shift, self.spread, self.hidden = shift, spread, hidden
        self.transforms, self.constant, self.rotation = transforms, constant, rotation
        self._drawn: tuple[Tensor, Tensor] | None = None
        super().__init__(shift.shape[:1], shift.shape[1:], validate_args=False)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draw, shape ``(*sample_shape, n_cells, n_latent)``, differentiable."""
        shape = Size(sample_shape) + self.shift.shape
        self._drawn = self._push(
            torch.randn(shape, dtype=self.shift.dtype, device=self.shift.device)
        )
        return self._drawn[0]

    def _push(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Turn draws of a standard normal into draws, and give their log density."""
        state = noise
        log_density = _log_standard_normal(noise) - self.spread.log().sum(dim=-1)
        for transform in self.transforms:
            state, log_det = transform(self.hidden).call_and_ladj(state)
            log_density = log_density - log_det
        state = torch.addcmul(self.shift, self.spread, state)
        return state if self.rotation is None else state @ self.rotation, log_density

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density, shape ``(..., n_cells)``."""
        if (remembered := self._remembered(value)) is not None:
            return remembered
        with frozen(*self.transforms) if self.constant else nullcontext():
            state = value if self.rotation is None else value @ self.rotation.mT
            state = (state - self.shift) / self.spread
            log_density = -self.spread.log().sum(dim=-1)
            for transform in reversed(self.transforms):
                state, log_det = transform(self.hidden).inv.call_and_ladj(state)
                log_density = log_density + log_det
        return log_density + _log_standard_normal(state)

    def _remembered(self, value: Tensor) -> Tensor | None:
        """Log density of the last draws; of draws without a graph no gradient is known."""
        if self._drawn is None or value is not self._drawn[0]:
            return None
        usable = self._drawn[1].requires_grad or not torch.is_grad_enabled()
        return self._drawn[1] if usable else None

    @cached_property
    def _moment_draws(self) -> Tensor:
        draws = orthogonal_draws(N_MOMENT_DRAWS, self.shift.shape[-1]).to(self.shift)
        return self._push(draws.unsqueeze(1).expand(-1, *self.shift.shape))[0]

    @property
    def mean(self) -> Tensor:
        """Means over fixed draws, shape ``(n_cells, n_latent)``."""
        return self._moment_draws.mean(dim=0)

    @property
    def variance(self) -> Tensor:
        """Marginal variances over fixed draws, shape ``(n_cells, n_latent)``."""
        return self._moment_draws.var(dim=0, correction=0)

    @property
    def loc(self) -> Tensor:
        """The means, by the name that scvi reads."""
        return self.mean

    @property
    def scale(self) -> Tensor:
        """Marginal standard deviations, shape ``(n_cells, n_latent)``."""
        return self.variance.sqrt()

    def select(self, cells: Tensor) -> FlowPosterior:
        """Return the posteriors of some cells, by position or mask."""
        parts = (self.shift[cells], self.spread[cells], self.hidden[cells])
        return FlowPosterior(*parts, self.transforms, rotation=self.rotation)

    def rotated(self, rotation: Tensor) -> FlowPosterior:
        """Return the same posteriors turned by an orthogonal matrix."""
        turn = rotation if self.rotation is None else self.rotation @ rotation
        parts = (self.shift, self.spread, self.hidden, self.transforms)
        return FlowPosterior(*parts, constant=self.constant, rotation=turn)


@stop_gradient.register
def _(q: FlowPosterior) -> FlowPosterior:
    parts = (q.shift.detach(), q.spread.detach(), q.hidden.detach())
    return FlowPosterior(*parts, q.transforms, constant=True, rotation=q.rotation)


class FlowEncoder(Encoder):
    r"""Encoder of a posterior that is an inverse autoregressive flow.

    .. math:: z = \mu + \sigma \, T_h(\epsilon), \quad \epsilon \sim \mathrm{Normal}(0, I)

    with the mean :math:`\mu` and :math:`\sigma` of :class:`Encoder`, and :math:`T_h` a
    composition of affine autoregressive transformations that depend on the last hidden layer
    :math:`h`, in alternating order. It starts as the identity, and holds every normal.

    Parameters
    ----------
    n_transforms
        Number of transformations.
    n_units
        Width of the hidden layer of each.
    **kwargs
        See :class:`Encoder`.

    References
    ----------
    Kingma et al., NeurIPS (2016), Improved variational inference with inverse autoregressive
    flow.
    """

    is_normal = is_diagonal = False

    def __init__(
        self,
        n_input: int,
        n_output: int,
        *,
        n_hidden: int = 128,
        n_transforms: int = 2,
        n_units: int = 64,
        **kwargs: Any,
    ) -> None:
        super().__init__(n_input, n_output, n_hidden=n_hidden, **kwargs)
        transform = _masked_autoregressive_transform()
        order = torch.arange(n_output)
        orders = [{"order": order}, {"order": order.flip(0)}] if n_output > 1 else [{}]
        self.transforms = nn.ModuleList(
            transform(n_output, n_hidden, hidden_features=(n_units,), **orders[i % len(orders)])
            for i in range(n_transforms)
        )
        for made in self.transforms:
            *_, last_weight, last_bias = made.parameters()
            nn.init.zeros_(last_weight)
            nn.init.zeros_(last_bias)

    def posterior(self, hidden: Tensor) -> FlowPosterior:
        """See :meth:`Encoder.posterior`."""
        return FlowPosterior(*self._heads(hidden), hidden, list(self.transforms))


def _log_standard_normal(state: Tensor) -> Tensor:
    log_density = state.square().sum(dim=-1) / -2
    return log_density - state.shape[-1] / 2 * math.log(2 * math.pi)


def _masked_autoregressive_transform() -> Callable[..., nn.Module]:
    """Import zuko, which switches the checks of all of torch's distributions off, without that."""
    checks = Distribution._validate_args
    from zuko.flows import MaskedAutoregressiveTransform

    Distribution.set_default_validate_args(checks)
    return MaskedAutoregressiveTransform

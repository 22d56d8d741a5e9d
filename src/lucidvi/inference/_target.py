"""What every inference algorithm needs to know of a model: its joint density and a first guess."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor
from torch.distributions import Distribution

#: Values, of draws x cells x genes, that are evaluated at once.
PASS_SIZE = 2**24


class Target(ABC):
    r"""Unnormalized posteriors :math:`p(x, z)` of several cells, as functions of :math:`z`.

    Implementations give the three attributes and :meth:`log_joint` and :meth:`select`; bounds,
    refinement and samplers are functions of a target and of nothing else.
    """

    #: Length of a state, all that is latent in a cell: ``z``, and exposures that are latent.
    n_state: int
    #: The first guess of the posterior: batch shape ``(n_cells,)``, event shape ``(n_state,)``.
    q0: Distribution
    #: Prior of ``z``, of the same shapes.
    prior: Distribution
    #: Values that one draw of one cell takes to evaluate (genes), for the size of a pass.
    width: int = 1

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return self.q0.batch_shape[0]

    @abstractmethod
    def log_joint(self, z: Tensor) -> Tensor:
        r"""Evaluate :math:`\log p(x, z) = \log p(x \mid z) + \log p(z)`, in nats.

        Parameters
        ----------
        z
            Latent states, shape ``(n_samples, n_cells, n_state)``.

        Returns
        -------
        Shape ``(n_samples, n_cells)``, differentiable by ``z``.
        """

    @abstractmethod
    def select(self, cells: Tensor) -> Target:
        """Return the target of some of the cells, given by their positions."""

    def evaluate(self, z: Tensor, n_per_pass: int | None = None) -> Tensor:
        """Return :meth:`log_joint` without a graph.

        Parameters
        ----------
        z
            Latent states, shape ``(n_samples, n_cells, n_state)``.
        n_per_pass
            Draws that are evaluated at once; by default 16 million values.
        """
        passes = self._passes(z) if n_per_pass is None else z.split(n_per_pass)
        with torch.no_grad():
            return torch.cat([self.log_joint(part) for part in passes])

    def evaluate_with_gradient(self, z: Tensor) -> tuple[Tensor, Tensor]:
        r"""Return :meth:`log_joint` and its gradient by ``z``, without a graph.

        Parameters
        ----------
        z
            Latent states, shape ``(n_samples, n_cells, n_state)``.

        Returns
        -------
        Shapes ``(n_samples, n_cells)`` and ``(n_samples, n_cells, n_state)``.
        """
        values, gradients = [], []
        for part in self._passes(z):
            with torch.enable_grad():
                part = part.detach().requires_grad_()
                value = self.log_joint(part)
                # The likelihood kernels prepare the gradient of minus the mean.
                (gradient,) = torch.autograd.grad(-value.mean(), part)
            values.append(value.detach())
            gradients.append(gradient * -value.numel())
        return torch.cat(values), torch.cat(gradients)

    def _passes(self, z: Tensor) -> tuple[Tensor, ...]:
        return z.split(max(1, math.floor(PASS_SIZE / (self.n_cells * self.width))))

"""One natural gradient step on the normal posteriors of many cells."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lucidvi.inference._normal import FAMILIES, NormalPosterior
from lucidvi.inference._target import Target

#: A step widens no direction's variance by more than this factor: the curvature that it sees at
#: the start is less than what it meets. Larger, and more steps have to be taken back.
WIDEST = 4.0
#: Least curvature that the promise of a step counts with, where the start's own is 1.
FLATTEST = 1e-4


@dataclass(frozen=True)
class Step:
    """Where the cells go next.

    Parameters
    ----------
    proposal
        The next posteriors, within a trust region.
    whole
        Posteriors after the whole step, where the log joint has its maximum if its curvature is
        constant.
    promise
        What the whole step then gains, in nats, shape ``(n_cells,)``.
    """

    proposal: NormalPosterior
    whole: NormalPosterior
    promise: Tensor

    def select(self, cells: Tensor) -> Step:
        """Return the steps of some cells."""
        return Step(self.proposal.select(cells), self.whole.select(cells), self.promise[cells])


@dataclass(frozen=True)
class State:
    """Where the cells in the working set are, and what their next step needs.

    In whitened coordinates, in which the posterior is a standard normal: the ``gradient``
    ``(n_cells, n_latent)`` and the ``curvature`` ``(n_cells, n_latent, n_latent)`` of the log
    joint, smoothed. ``share`` is the length of the next step, 1 for all of it.
    """

    posterior: NormalPosterior
    elbo: Tensor
    gradient: Tensor
    curvature: Tensor
    share: Tensor

    @classmethod
    def at(cls, target: Target, posterior: NormalPosterior, draws: Tensor) -> State:
        """Evaluate the log joint and its gradient at the posterior's draws."""
        value, gradient = target.evaluate_with_gradient(posterior.at(draws))
        whitened = torch.einsum("nij,sni->snj", posterior.scale_tril, gradient)
        curvature = torch.einsum("si,snj->nij", draws, whitened) / -len(draws)
        elbo = value.mean(dim=0) + posterior.entropy
        symmetric = (curvature + curvature.mT) / 2
        return cls(posterior, elbo, whitened.mean(dim=0), symmetric, torch.ones_like(elbo))

    def step(self, family: str) -> Step:
        """Say where to go."""
        values, vectors = torch.linalg.eigh(self.curvature)
        # A direction that curves the wrong way is a way out of a saddle, not to be turned round.
        values = values.abs()
        whole, promise = self._newton(family, values.clamp(min=FLATTEST), vectors)
        near, _ = self._newton(family, values.clamp(min=1 / WIDEST), vectors)
        here, share = self.posterior, self.share[:, None]
        proposal = NormalPosterior(
            torch.lerp(here.loc, near.loc, share),
            torch.lerp(here.scale_tril, near.scale_tril, share[:, None]),
        )
        return Step(proposal, whole, promise)

    def _newton(
        self, family: str, values: Tensor, vectors: Tensor
    ) -> tuple[NormalPosterior, Tensor]:
        """Return the best posteriors for a curvature, and what is gained if it is constant."""
        scale_tril = self.posterior.scale_tril
        outward = scale_tril @ vectors
        inward = torch.linalg.solve_triangular(scale_tril.mT, vectors, upper=True)
        factor = FAMILIES[family](
            (outward / values[:, None]) @ outward.mT, (inward * values[:, None]) @ inward.mT
        )
        along = torch.einsum("nij,ni->nj", vectors, self.gradient)
        shift = torch.einsum("nij,nj->ni", outward, along / values)
        best = NormalPosterior(self.posterior.loc + shift, factor)
        by_loc_and_scale = along.square() / values + values - 1
        by_entropy = best.entropy - self.posterior.entropy
        return best, by_loc_and_scale.sum(dim=-1) / 2 + by_entropy

    @property
    def covariance(self) -> Tensor:
        """Inverse of the curvature, within a trust region, ``(n_cells, n_latent, n_latent)``."""
        values, vectors = torch.linalg.eigh(self.curvature)
        return (vectors / values.abs().clamp(min=1 / WIDEST)[:, None]) @ vectors.mT

    def accept(self, other: State) -> State:
        """Go on from the other state where it is better, else from this one by a shorter step."""
        better = other.elbo >= self.elbo
        share = torch.where(better, (self.share * 2).clamp(max=1.0), self.share / 4)
        return State(
            other.posterior.where(better, self.posterior),
            torch.where(better, other.elbo, self.elbo),
            torch.where(better[:, None], other.gradient, self.gradient),
            torch.where(better[:, None, None], other.curvature, self.curvature),
            share,
        )

    def select(self, cells: Tensor) -> State:
        return replace(
            self,
            posterior=self.posterior.select(cells),
            **{
                name: getattr(self, name)[cells]
                for name in ("elbo", "gradient", "curvature", "share")
            },
        )

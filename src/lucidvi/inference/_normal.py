"""Normal posteriors of many cells at once: their families and their ELBO."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, MultivariateNormal, Normal

from lucidvi._brief import brief
from lucidvi.inference._target import Target


@dataclass(frozen=True)
class NormalPosterior:
    r"""Posteriors :math:`q(z) = \mathrm{Normal}(m, L L^\top)`.

    Parameters
    ----------
    loc
        Means :math:`m`, shape ``(n_cells, n_latent)``.
    scale_tril
        Factors :math:`L`, lower triangular with a positive diagonal, shape
        ``(n_cells, n_latent, n_latent)``.
    """

    loc: Tensor
    scale_tril: Tensor

    __repr__ = brief

    @classmethod
    def from_distribution(cls, q: Distribution) -> NormalPosterior:
        """Take over the mean and, of a normal with a full covariance, its factor.

        Of any other distribution the marginal standard deviations are taken over.
        """
        if isinstance(q, MultivariateNormal):
            return cls(q.loc, q.scale_tril)
        return cls(q.mean.detach(), q.stddev.detach().diag_embed())

    @property
    def scale(self) -> Tensor:
        """Marginal standard deviations, shape ``(n_cells, n_latent)``."""
        return self.scale_tril.square().sum(dim=-1).sqrt()

    @property
    def distribution(self) -> MultivariateNormal:
        """The same as a distribution, of batch shape ``(n_cells,)``."""
        return MultivariateNormal(self.loc, scale_tril=self.scale_tril, validate_args=False)

    @property
    def entropy(self) -> Tensor:
        """Differential entropy, in nats, shape ``(n_cells,)``."""
        log_det = self.scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(dim=-1)
        return log_det + self.loc.shape[-1] * 0.5 * (1 + math.log(2 * math.pi))

    def at(self, draws: Tensor) -> Tensor:
        """Turn draws of a standard normal, ``(n_draws, n_latent)``, into draws of the cells."""
        return self.loc + torch.einsum("nij,sj->sni", self.scale_tril, draws.to(self.loc))

    def select(self, cells: Tensor) -> NormalPosterior:
        """Return the posteriors of some cells, by position or mask."""
        return NormalPosterior(self.loc[cells], self.scale_tril[cells])

    def first(self, n: int) -> NormalPosterior:
        """Return the posteriors of the first ``n`` numbers of a state, such as ``z`` alone.

        Of a lower triangular factor, what is of them does not depend on what comes after them.
        """
        return NormalPosterior(self.loc[:, :n], self.scale_tril[:, :n, :n])

    def put(self, cells: Tensor, other: NormalPosterior) -> None:
        """Overwrite the posteriors of some cells, in place."""
        self.loc[cells], self.scale_tril[cells] = other.loc, other.scale_tril

    def where(self, condition: Tensor, other: NormalPosterior) -> NormalPosterior:
        """Return these posteriors where the condition, ``(n_cells,)``, holds, else the other's."""
        return NormalPosterior(
            torch.where(condition[:, None], self.loc, other.loc),
            torch.where(condition[:, None, None], self.scale_tril, other.scale_tril),
        )

    def elbo(self, target: Target, draws: Tensor) -> Tensor:
        r"""Evidence lower bound, in nats, shape ``(n_cells,)``.

        .. math:: \mathrm{E}_q[\log p(x, z)] + \mathrm{H}(q)

        with the mean over fixed draws, see :func:`orthogonal_draws`, and the exact entropy.
        """
        return target.evaluate(self.at(draws)).mean(dim=0) + self.entropy


def is_diagonal(q: Distribution) -> bool:
    """Whether it is a normal with a diagonal covariance."""
    return isinstance(q, Independent) and isinstance(q.base_dist, Normal)


def is_normal(q: Distribution) -> bool:
    """Whether it is a normal."""
    return is_diagonal(q) or isinstance(q, MultivariateNormal)


def standardized(q: Distribution, z: Tensor) -> Tensor | None:
    """Bring draws of a normal, ``(n_draws, n_cells, n_latent)``, to a standard normal."""
    if not is_normal(q):
        return None
    normal = NormalPosterior.from_distribution(q)
    centred = (z - normal.loc).movedim(0, -1)
    return torch.linalg.solve_triangular(normal.scale_tril, centred, upper=False).movedim(-1, 0)


def full_factor(covariance: Tensor, precision: Tensor) -> Tensor:
    """Factor of the normal with this precision."""
    return torch.linalg.cholesky(covariance)


def diagonal_factor(covariance: Tensor, precision: Tensor) -> Tensor:
    """Factor of the best diagonal normal: its variances are the precision's reciprocals."""
    return precision.diagonal(dim1=-2, dim2=-1).rsqrt().diag_embed()


#: The values of ``family``: the factor of the member of the family that is nearest, by its ELBO,
#: to the normal with a given covariance and precision.
FAMILIES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "diagonal": diagonal_factor,
    "full": full_factor,
}

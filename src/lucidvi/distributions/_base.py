"""What all count likelihoods share: a mean held in log space, and fused log likelihoods."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from lucidvi.errors import DataError
from lucidvi.kernels import LOG_MU_MAX, log_likelihood, log_prob

#: Bounds of ``log_theta``. Above, the negative binomial is a Poisson to eight digits; below, a
#: spike at zero. Its gradient is zero to float32 either way.
LOG_THETA_BOUND = 20.0

#: Largest Poisson rate that is drawn from; float32 has no exact integers of this size.
RATE_MAX = 1e8


class CountLikelihood(Distribution):
    r"""Likelihood of counts whose mean is held as logarithms.

    The mean is :math:`\mu = \ell \, \rho`, with the exposure (library) :math:`\ell` of the cell
    and its normalized expression :math:`\rho = \mathrm{softmax}(\mathrm{logits})`. All of it is
    kept and combined as logarithms, so neither a rare gene nor a deep cell leaves the range of
    float32.

    Parameters
    ----------
    logits
        Unnormalized log expression, shape ``(..., n_cells, n_genes)``.
    log_library
        Log exposure, shape ``(..., n_cells, 1)``.
    log_scale
        Log normalized expression, shape ``(..., n_cells, n_genes)``, in place of ``logits``
        where it is not a softmax.

    Raises
    ------
    ValueError
        If not exactly one of ``logits`` and ``log_scale`` is given.
    """

    #: Name of the formulas in :mod:`lucidvi.kernels`.
    family: ClassVar[str]
    #: Names of the parameters besides the mean that the decoder has to provide.
    parameters: ClassVar[tuple[str, ...]] = ()
    support = constraints.nonnegative_integer

    def __init__(
        self,
        logits: Tensor | None = None,
        log_library: Tensor | None = None,
        *,
        log_scale: Tensor | None = None,
    ) -> None:
        # Held as given until something else is asked for: the kernels take logits as they are.
        self._log_mean, log_library = check_mean(logits, log_library, log_scale)
        self._softmax = log_scale is None
        self._log_mu: Tensor | None = None
        # One for each draw, so that parameters can be joined along the axis of the cells.
        self.log_library = log_library.expand(*self._log_mean.shape[:-1], 1)
        Distribution.__init__(self, batch_shape=self._log_mean.shape, validate_args=False)

    @property
    def log_scale(self) -> Tensor:
        """Log normalized expression, shape ``(..., n_cells, n_genes)``."""
        if self._softmax:
            self._log_mean, self._softmax = self._log_mean.log_softmax(dim=-1), False
        return self._log_mean

    @property
    def scale(self) -> Tensor:
        """Normalized expression, linear, shape ``(..., n_cells, n_genes)``."""
        return self.log_scale.exp()

    @property
    def log_mu(self) -> Tensor:
        """Log mean before zero inflation, shape ``(..., n_cells, n_genes)``."""
        return self.log_scale + self.log_library if self._log_mu is None else self._log_mu

    @log_mu.setter
    def log_mu(self, log_mu: Tensor) -> None:
        # scvi-tools' importance weights put another cell's exposure into a stored distribution.
        self._log_mu = log_mu

    @property
    def mu(self) -> Tensor:
        """Mean of the counts before zero inflation, linear, ``(..., n_cells, n_genes)``."""
        return self.log_mu.clamp(max=LOG_MU_MAX).exp()

    @mu.setter
    def mu(self, mu: Tensor) -> None:
        self.log_mu = mu.log()

    def get_normalized(self, key: str) -> Tensor:
        """Return ``mu`` or ``scale`` (linear) by name, as scvi-tools' mixins ask for them."""
        if key not in ("mu", "scale"):
            raise DataError(
                f"`key` is {key!r}; it must be 'mu' or 'scale'.",
                remedy="likelihood.get_normalized('mu')",
            )
        return getattr(self, key)

    def likelihood_parameters(self) -> dict[str, Tensor]:
        """Parameters by the names of ``get_likelihood_parameters``, linear."""
        return {"mean": self.mu}

    def log_likelihood(self, x: Tensor) -> Tensor:
        """Sum of :meth:`log_prob` over the genes, in nats, shape ``(..., n_cells)``.

        Computed by the fused kernel of the device, with its gradients.

        Parameters
        ----------
        x
            Counts (linear), CSR of shape ``(n_cells, n_genes)``, or as in :meth:`log_prob`.
        """
        log_mean, log_library, softmax = self._log_mean, self.log_library, self._softmax
        if self._log_mu is not None:
            log_mean, log_library, softmax = self._log_mu, torch.zeros_like(log_library), False
        return log_likelihood(
            self.family, log_mean, log_library, x, *self._shape_parameters, softmax=softmax
        )

    def log_prob(self, value: Tensor) -> Tensor:
        """Log probability of each count, in nats, shape ``(..., n_cells, n_genes)``.

        Parameters
        ----------
        value
            Counts (linear), dense, of a shape that broadcasts with the parameters', or CSR.
        """
        return log_prob(self.family, value, self.log_mu, *self._shape_parameters)

    @property
    def _shape_parameters(self) -> tuple[Tensor, ...]:
        """What the formulas take besides the mean: of shapes that broadcast with it."""
        return ()


def missing(parameter: str) -> DataError:
    """Return the error for a parameter that a family of likelihoods cannot do without."""
    return DataError(
        f"`{parameter}` is missing, which this likelihood needs.",
        remedy=f"give `{parameter}`, of a shape that broadcasts with the mean.",
    )


def check_mean(
    logits: Tensor | None, log_library: Tensor | None, log_scale: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return the one of `logits` and `log_scale` that was given, and the log exposure."""
    given = [tensor for tensor in (logits, log_scale) if tensor is not None]
    if log_library is None or len(given) != 1:
        raise DataError(
            f"A likelihood takes `log_library` and exactly one of `logits` and `log_scale`; it "
            f"was given {'no' if log_library is None else 'a'} `log_library` and {len(given)} of "
            "the other two.",
            remedy="give `log_library` and one of the two.",
        )
    return given[0], log_library


def draw_poisson(rate: Tensor) -> Tensor:
    """Draw counts, of rates up to ``RATE_MAX``; on the CPU where the device cannot (MPS)."""
    place = torch.device("cpu") if rate.device.type == "mps" else rate.device
    return torch.poisson(rate.clamp(max=RATE_MAX).to(place)).to(rate.device)

"""The mean of a likelihood: normalized expression times exposure, as logarithms."""

from __future__ import annotations

import torch
from torch import Tensor

from lucidvi.errors import DataError
from lucidvi.kernels import LOG_MU_MAX


class Mean:
    """What of a :class:`Likelihood` is its mean before zero inflation.

    It is held as it comes until something else is asked for: the kernels take logits as they are.
    """

    #: Logits, or log normalized expression where that is no softmax.
    _unnormalized: Tensor
    _softmax: bool
    #: Log mean where it is not the product of normalized expression and exposure.
    _log_mean: Tensor | None
    log_library: Tensor

    @property
    def log_scale(self) -> Tensor:
        """Log normalized expression, shape ``(..., n_cells, n_genes)``."""
        if self._softmax:
            self._unnormalized = self._unnormalized.log_softmax(dim=-1)
            self._softmax = False
        return self._unnormalized

    @property
    def scale(self) -> Tensor:
        """The same as :attr:`normalized`, where a family has no other use for the name."""
        return self.normalized

    @property
    def normalized(self) -> Tensor:
        """Normalized expression, linear, shape ``(..., n_cells, n_genes)``."""
        if self._softmax and not torch.is_grad_enabled():  # one pass, and the logits stay
            return self._unnormalized.softmax(dim=-1)
        return self.log_scale.exp()

    def write_normalized(self, out: Tensor) -> None:
        """Write :attr:`normalized` to where it is wanted, of its shape and type."""
        if self._softmax and not torch.is_grad_enabled():
            torch.softmax(self._unnormalized, dim=-1, out=out)
        else:
            out.copy_(self.normalized)

    @property
    def log_mean(self) -> Tensor:
        """Log mean before zero inflation, shape ``(..., n_cells, n_genes)``."""
        return self.log_scale + self.log_library if self._log_mean is None else self._log_mean

    @property
    def mu(self) -> Tensor:
        """Mean before zero inflation, linear, shape ``(..., n_cells, n_genes)``."""
        if self._log_mean is None and self._softmax and not torch.is_grad_enabled():
            log_library = self.log_library
            if bool((log_library <= LOG_MU_MAX).all()):  # and so is the mean, which is smaller
                return self.normalized.mul_(log_library.exp())
        return self.log_mean.clamp(max=LOG_MU_MAX).exp()

    @mu.setter
    def mu(self, mu: Tensor) -> None:
        # scvi-tools' importance weights put another cell's exposure into a stored distribution.
        self._log_mean = mu.log()

    def get_normalized(self, key: str) -> Tensor:
        """Return ``mu`` or ``scale`` (linear) by name, as scvi-tools' mixins ask for them."""
        if key not in ("mu", "scale"):
            raise DataError(
                f"`key` is {key!r}; it must be 'mu' or 'scale'.",
                remedy="likelihood.get_normalized('mu')",
            )
        return self.mu if key == "mu" else self.normalized

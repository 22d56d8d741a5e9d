"""Normal likelihood, for values that are not counts."""

from __future__ import annotations

from typing import ClassVar

import scvi.distributions
from torch import Tensor

from lucidvi.distributions._base import check_mean, missing
from lucidvi.kernels import LOG_MU_MAX, to_dense

#: Bounds of the log standard deviation.
LOG_SCALE_BOUNDS = (-10.0, 20.0)


class Normal(scvi.distributions.Normal):
    r"""Normal with mean :math:`\mu = \ell \, \rho` and standard deviation :math:`\theta`.

    Parameters
    ----------
    logits, log_library, log_scale
        The mean, see :class:`CountLikelihood`.
    log_theta
        Log standard deviation, of a shape that broadcasts to ``(..., n_cells, n_genes)``.
        Clamped to ``[-10, 20]``, so that squared deviations stay float32 numbers.
    """

    parameters: ClassVar[tuple[str, ...]] = ("log_theta",)

    def __init__(
        self,
        logits: Tensor | None = None,
        log_library: Tensor | None = None,
        log_theta: Tensor | None = None,
        *,
        log_scale: Tensor | None = None,
    ) -> None:
        log_mean, log_library = check_mean(logits, log_library, log_scale)
        log_scale = log_mean if logits is None else log_mean.log_softmax(dim=-1)
        if log_theta is None:
            raise missing("log_theta")
        super().__init__(
            mu=(log_scale + log_library).clamp(max=LOG_MU_MAX).exp(),
            scale=log_theta.clamp(*LOG_SCALE_BOUNDS).exp(),
            validate_args=False,
            normal_mu=log_scale.exp(),
        )

    def likelihood_parameters(self) -> dict[str, Tensor]:
        """Mean and standard deviation, linear."""
        return {"mean": self.loc, "dispersions": self.scale}

    def log_likelihood(self, x: Tensor) -> Tensor:
        """Sum of the log density over the genes, in nats, shape ``(..., n_cells)``.

        Parameters
        ----------
        x
            Values (linear), CSR or dense, shape ``(n_cells, n_genes)``.
        """
        return self.log_prob(to_dense(x)).sum(dim=-1)

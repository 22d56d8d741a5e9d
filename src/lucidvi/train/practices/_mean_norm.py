"""Batch norm on the means of the posteriors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from lucidvi._ranks import computing, mean_and_variance
from lucidvi.errors import DataError
from lucidvi.module import Normalizable, offers
from lucidvi.nn import Encoder
from lucidvi.train.practices._practice import Practice, Training

#: Share that a minibatch has in the running statistics.
MOMENTUM = 0.1
#: Added to variances.
EPS = 1e-5


@dataclass(eq=False)
class MeanNorm(Practice):
    r"""Means of the posteriors with one standard deviation over each minibatch.

    .. math::
        \mu'_k = \bar\mu_k + \gamma \frac{\mu_k - \bar\mu_k}{s_k}

    with mean :math:`\bar\mu_k` and standard deviation :math:`s_k` over the minibatch: batch norm
    with the scale :math:`\gamma` (``mean_norm``) fixed and a shift that is learned, by the bias
    of the encoder's linear layer. Under the standard normal prior no dimension can then fall to
    the prior, for

    .. math::
        \overline{\mathrm{KL}}_k \ge \tfrac{1}{2} (\gamma^2 + \bar\mu_k^2)

    Nothing is added to the module: the norm is in place while the loss of a training minibatch is
    computed. As its running statistics make it an affine map, :meth:`fold` puts it into the weight
    and bias of the linear layer, by which the normalized means do not change. Folded after each
    step, the module is at any time one that files, other libraries and inference can use.

    Parameters
    ----------
    mean_norm
        Standard deviation of the posteriors' means over the cells, above zero and at most 1, that
        of the prior; None by default, for whatever it comes to.

    Raises
    ------
    lucidvi.errors.DataError
        For another number, or a module whose KL has no lower bound from it: a posterior by a
        flow, another prior than the standard normal, or an encoder that is frozen.

    References
    ----------
    Zhu et al., ACL (2020), A batch normalized inference network keeps the KL vanishing away.
    """

    mean_norm: float | None = None

    def __post_init__(self) -> None:
        """Check the standard deviation, and begin without statistics."""
        self.mean: Tensor | None = None
        self.variance: Tensor | None = None
        if self.mean_norm is not None and not 0 < self.mean_norm <= 1:
            raise DataError(
                f"`mean_norm` is {self.mean_norm}; it is the standard deviation of the posterior "
                "means over the cells, above 0 and at most 1, that of the prior. `None` is for "
                "none.",
                remedy='model.train(plan_kwargs={"mean_norm": 0.5})',
            )

    def check(self, module: Any) -> None:
        """Raise if the norm does not keep the KL of a module up."""
        problem = self._problem(module)
        if problem is None:
            return
        raise DataError(
            f"`mean_norm` cannot be used with this model: {problem}. It needs the standard normal "
            "prior, and a diagonal or full posterior whose encoder is trained.",
            remedy='`free_bits` goes with others, model.train(plan_kwargs={"free_bits": 0.5})',
        )

    @staticmethod
    def _problem(module: Any) -> str | None:
        if not offers(module, Normalizable):
            return f"a {type(module).__name__} has no single encoder and prior"
        encoder, prior = module.z_encoder, module.prior
        if not encoder.is_normal:
            return f"its posterior is that of a {type(encoder).__name__}"
        if not prior.is_standard_normal:
            return f"its prior is a {type(prior).__name__}, which can move to the means"
        return None if encoder.mean_encoder.weight.requires_grad else "its encoder is frozen"

    def around_minibatch(self, training: Training) -> AbstractContextManager[None]:
        """Normalize the means of the minibatch; folding them in is pending from then on."""
        self.is_pending = True
        return self.in_place(training.plain_module.z_encoder)

    def on_step_end(self, training: Training) -> None:
        """Leave a module that needs no norm of its means."""
        self.fold(training.plain_module.z_encoder.mean_encoder)
        self.is_pending = False

    @contextmanager
    def in_place(self, encoder: Encoder) -> Iterator[None]:
        """Normalize what an encoder returns while it is in training mode."""
        encoder.change_means = self
        try:
            yield
        finally:
            del encoder.change_means

    def __call__(self, means: Tensor) -> Tensor:
        """Normalize the means of a minibatch, shape ``(n_cells, n_latent)``."""
        if computing().are_several:
            mean, variance, _ = mean_and_variance(means)
            mean, variance = mean.to(means), variance.to(means)
            self._follow(mean.detach(), variance.detach())
        elif len(means) == 1:  # one cell has no variance of its own
            if self.mean is None or self.variance is None:
                return means
            mean, variance = self.mean, self.variance
        else:
            variance, mean = torch.var_mean(means, dim=0, correction=0)
            self._follow(mean.detach(), variance.detach())
        return mean + (means - mean) * cast(float, self.mean_norm) / (variance + EPS).sqrt()

    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        if self.mean is None or self.variance is None:
            self.mean, self.variance = mean, variance
        else:
            self.mean = torch.lerp(self.mean, mean, MOMENTUM)
            self.variance = torch.lerp(self.variance, variance, MOMENTUM)

    @torch.no_grad()
    def fold(self, layer: nn.Linear) -> None:
        """Put the norm, by its running statistics, into the layer of the means."""
        if self.mean is None or self.variance is None:
            return
        factor = cast(float, self.mean_norm) / (self.variance + EPS).sqrt()
        layer.weight.mul_(factor.unsqueeze(-1))
        layer.bias.sub_(self.mean).mul_(factor).add_(self.mean)
        self.variance = self.variance * factor.square()

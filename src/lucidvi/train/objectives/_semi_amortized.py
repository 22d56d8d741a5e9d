"""Training on refined posteriors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from scvi.module.base import LossOutput
from torch import Tensor
from torch.distributions import Distribution, Normal

from lucidvi._random import in_evaluation
from lucidvi.data import Minibatch
from lucidvi.errors import DataError
from lucidvi.inference import NormalPosterior, PosteriorTarget, step_means
from lucidvi.nn import FullNormal, StateDistribution, frozen
from lucidvi.train.objectives._objective import ELBO, Objective, Step


@dataclass(frozen=True)
class SemiAmortized(Objective):
    r"""Semi-amortized training: the generative model learns from refined posteriors.

    Each cell's posterior takes a few steps from the encoder's, see
    :func:`lucidvi.inference.step_means`, to :math:`\tilde q`. The loss is

    .. math::
        -\mathrm{E}_{\tilde q}[\log p(x \mid z)] + \beta \, \mathrm{KL}(\tilde q \| p_z)

    with :math:`\tilde q` held constant, for the generative model; for the encoder it is the
    negative ELBO of its own posterior, as ever. While the weight :math:`\beta` of the KL term
    rises, the whole training is that of the ELBO: the best posterior under a decoder that has
    learned nothing is the prior.

    Parameters
    ----------
    n_steps
        Steps of a cell.

    References
    ----------
    Kim et al., ICML (2018), Semi-amortized variational autoencoders. Krishnan et al., AISTATS
    (2018), On the challenges of learning with inference networks on sparse, high-dimensional
    data.
    """

    n_steps: int = 1

    def __post_init__(self) -> None:
        """Check the number of steps."""
        if self.n_steps < 1:
            raise DataError(
                f"`n_steps` of the semi-amortized objective is {self.n_steps}; at least 1.",
                remedy='model.train(plan_kwargs={"refine_steps": 1})',
            )

    def __call__(self, step: Step, minibatch: Minibatch) -> tuple[dict[str, Any], LossOutput]:
        """See :meth:`Objective.__call__`."""
        if step.kl_weight < step.max_kl_weight:
            return ELBO()(step, minibatch)
        module = step.plain_module
        with in_evaluation(module):
            target = PosteriorTarget.from_module(module, dict(minibatch))
            first = NormalPosterior.from_distribution(target.q0)
            refined = step_means(target, first, self.n_steps)
        with frozen(module, but=module.encoders):
            inference, generative, losses = step.forward(minibatch, loss_kwargs=step.loss_kwargs)
        amortized = module.read(minibatch, inference, generative).posterior
        drawn = module.with_draws(inference, *_redraw(refined, amortized))
        generative = module.generative(**module._get_generative_input(minibatch, drawn))
        learned = module.loss(minibatch, drawn, generative, **step.loss_kwargs)
        # The value stays that of the ELBO, to be compared with the validation cells'.
        losses.loss = losses.loss + learned.loss - learned.loss.detach()
        return generative, losses


def _redraw(
    refined: NormalPosterior, amortized: StateDistribution
) -> tuple[StateDistribution, Tensor, Tensor | None]:
    """Refined posteriors, of the encoder's kind, and draws of them."""
    n, of_z = amortized.n_latent, refined.first(amortized.n_latent)
    of_exposures, log_exposures = None, None
    if amortized.log_exposures is not None:
        loc, scale = refined.loc[:, n:], refined.scale[:, n:]
        of_exposures = Normal(loc, scale, validate_args=False)
        log_exposures = of_exposures.sample()
    latent: Distribution = FullNormal(of_z.loc, of_z.scale_tril)
    if type(amortized.latent) is Normal:
        scale = of_z.scale_tril.diagonal(dim1=-2, dim2=-1)
        latent = Normal(of_z.loc, scale, validate_args=False)
    return StateDistribution(latent, of_exposures), latent.sample(), log_exposures

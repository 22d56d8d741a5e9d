"""Training on refined posteriors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scvi.module.base import LossOutput
from torch.distributions import Distribution, Normal

from lucidvi._compat import MODULE_KEYS
from lucidvi._random import in_evaluation
from lucidvi.data import Minibatch
from lucidvi.errors import DataError
from lucidvi.inference import NormalPosterior, PosteriorTarget, step_means
from lucidvi.module import UNTRANSFORMED_Z
from lucidvi.nn import FullNormal, frozen
from lucidvi.train._objective import ELBO, Objective

if TYPE_CHECKING:
    from lucidvi.train.plan._plan import TrainingPlan


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

    def __call__(
        self, plan: TrainingPlan, minibatch: Minibatch
    ) -> tuple[dict[str, Any], LossOutput]:
        """See :meth:`Objective.__call__`."""
        if plan.kl_weight < plan.max_kl_weight:
            return ELBO()(plan, minibatch)
        module = plan.plain_module
        with in_evaluation(module):
            target = PosteriorTarget.from_module(module, dict(minibatch))
            first = NormalPosterior.from_distribution(target.q0)
            refined = step_means(target, first, self.n_steps)
        with frozen(module, but=(module.z_encoder, module.l_encoder)):
            inference, _, losses = plan.forward(minibatch, loss_kwargs=plan.loss_kwargs)
        drawn = {**inference, **_redraw(module, refined, inference)}
        generative = module.generative(**module._get_generative_input(minibatch, drawn))
        learned = module.loss(minibatch, drawn, generative, **plan.loss_kwargs)
        # The value stays that of the ELBO, to be compared with the validation cells'.
        losses.loss = losses.loss + learned.loss - learned.loss.detach()
        return generative, losses


def _redraw(module: Any, refined: NormalPosterior, inference: dict[str, Any]) -> dict[str, Any]:
    """Refined posteriors and their draws, under the names that ``inference`` gives them."""
    loc, factor = refined.loc, refined.scale_tril
    ql, library = None, inference[MODULE_KEYS.LIBRARY_KEY]
    if inference[MODULE_KEYS.QL_KEY] is not None:
        ql = Normal(loc[:, -1:], refined.scale[:, -1:], validate_args=False)
        loc, factor, library = loc[:, :-1], factor[:, :-1, :-1], ql.sample()
    qz: Distribution = FullNormal(loc, factor)
    if type(inference[MODULE_KEYS.QZ_KEY]) is Normal:
        qz = Normal(loc, factor.diagonal(dim1=-2, dim2=-1), validate_args=False)
    z = qz.sample()
    return {
        MODULE_KEYS.QZ_KEY: qz,
        MODULE_KEYS.QL_KEY: ql,
        MODULE_KEYS.Z_KEY: module.z_encoder.z_transformation(z),
        UNTRANSFORMED_Z: z,
        MODULE_KEYS.LIBRARY_KEY: library,
    }

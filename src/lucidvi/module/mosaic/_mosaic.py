"""The variational autoencoder of several modalities."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from scvi import REGISTRY_KEYS
from scvi.module.base import LossOutput
from torch import Tensor, nn
from torch.distributions import Distribution, Normal, kl_divergence

from lucidvi import kernels
from lucidvi.checks import check_choice
from lucidvi.distributions import FAMILIES, Moments
from lucidvi.errors import DataError
from lucidvi.module._base import GenerativeModule
from lucidvi.module._forward import Record
from lucidvi.module._generative import Exposure, Modality, Observed, Tensors
from lucidvi.module._states import draw
from lucidvi.module.mosaic._kinds import KINDS
from lucidvi.module.mosaic._part import Part
from lucidvi.nn import (
    PRIORS,
    Covariates,
    ProductOfExperts,
    Sizes,
    StateDistribution,
    make_prior,
)

#: Among what ``inference`` returns in a training, the posterior from all that a cell has.
WHOLE = "whole"


class MosaicVAE(GenerativeModule):
    r"""Variational autoencoder of cells of which several modalities are measured, or some.

    .. math::
        z &\sim p(z) \\
        x_m &\sim p(x_m \mid z, s) \quad \text{for each modality that the cell has}

    with a decoder a modality, and the encoders' product :class:`lucidvi.nn.ProductOfExperts` for
    the posterior, so that any subset of the modalities has one.

    A training makes the posteriors of parts as good as that of the whole in two ways. With
    probability ``modality_dropout`` a cell is encoded from one of its modalities and decoded to
    all of them. And the posterior of all that a cell has is the teacher of those of single
    modalities: with the weight ``alignment``,

    .. math:: \frac{1}{M} \sum_m \mathrm{KL}\left(q(z \mid x) \,\|\, q(z \mid x_m)\right)

    is added to the loss of cells with :math:`M > 1` modalities, in which :math:`q(z \mid x)` is
    held fixed. Over the cells its minimum is where :math:`q(z \mid x_m)` has the mean and the
    variance of :math:`p(z \mid x_m)`, the mixture of what the other modalities may say.

    Parameters
    ----------
    parts
        Of each modality, by name: ``kind``, a row of :data:`KINDS`; ``n_features``; and, where it
        is not the kind's own, ``likelihood``, and the ``weight`` of its log likelihood in a
        training. The first is the main one, whose field is ``"X"``.
    n_batch
        Number of batches.
    n_continuous_cov
        Number of continuous covariates.
    n_cats_per_cov
        Number of categories of each further categorical covariate.
    n_hidden, n_latent, n_layers
        Width of the hidden layers, dimension of ``z``, and hidden layers of each network.
    dropout_rate
        Dropout rate of the encoders.
    encode_covariates
        Show the covariates to the encoders too.
    alignment
        Weight of the alignment of single modalities in a training.
    modality_dropout
        Probability that a cell of several modalities is encoded from one of them, in a training.
    prior
        ``"standard_normal"``, ``"mixture"`` or ``"conditional"``, see
        :data:`lucidvi.nn.PRIORS`.
    prior_kwargs
        Arguments of the prior.
    measured
        In which batches each modality was measured, bool, shape ``(n_modalities, n_batch)``; by
        default in all.
    typical_exposures
        Exposure of a typical cell, one a modality; by default 1.
    n_cells
        Number of cells that have each modality, against which the priors of weights are held in a
        training; by default these are left out.

    Raises
    ------
    lucidvi.errors.DataError
        For an option that does not exist.

    References
    ----------
    Wu and Goodman, NeurIPS (2018), Multimodal generative models for scalable weakly-supervised
    learning.
    Suzuki et al., ICLR workshop (2017), Joint multimodal learning with deep generative models.
    """

    def __init__(
        self,
        parts: Mapping[str, Mapping[str, Any]],
        n_batch: int = 1,
        n_continuous_cov: int = 0,
        n_cats_per_cov: Sequence[int] | None = None,
        n_hidden: int = 128,
        n_latent: int = 20,
        n_layers: int = 1,
        dropout_rate: float = 0.1,
        encode_covariates: bool = False,
        alignment: float = 0.1,
        modality_dropout: float = 0.5,
        prior: str = "standard_normal",
        prior_kwargs: dict[str, Any] | None = None,
        measured: NDArray[np.bool_] | None = None,
        typical_exposures: Sequence[float] | None = None,
        n_cells: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        check_choice("prior", prior, PRIORS)
        self.n_latent, self.n_batch = n_latent, n_batch
        self.encode_covariates = encode_covariates
        self.alignment = alignment
        self.modality_dropout = modality_dropout
        self.n_cells = None if n_cells is None else tuple(n_cells)
        self.specifications = {key: dict(part) for key, part in parts.items()}
        n_cat_list = [n_batch, *(n_cats_per_cov or ())]
        self.parts = nn.ModuleDict()
        for key, modality in self.modalities.items():
            self.parts[key] = KINDS[parts[key]["kind"]].part(
                modality.likelihood,
                modality.n_features,
                n_latent=n_latent,
                n_hidden=n_hidden,
                n_layers=n_layers,
                dropout_rate=dropout_rate,
                n_cat_list=n_cat_list,
                n_continuous=n_continuous_cov,
                encode_covariates=encode_covariates,
            )
        measured = np.ones((len(parts), n_batch), dtype=bool) if measured is None else measured
        exposures = np.ones(len(parts)) if typical_exposures is None else typical_exposures
        self.register_buffer("measured", torch.from_numpy(np.asarray(measured, dtype=bool)))
        log_exposures = torch.as_tensor(np.log(exposures), dtype=torch.float32)
        self.register_buffer("typical_log_exposure", log_exposures)
        levels = {"batch": (n_batch,), "categorical": tuple(n_cats_per_cov or ())}
        self.prior = make_prior(prior, Sizes(n_latent, 0, levels, n_continuous_cov), prior_kwargs)
        if self.prior.n_starting_cells > 0:
            raise DataError(
                f"`prior` is {prior!r}, which starts at inputs of one encoder, and each modality "
                "has its own.",
                remedy='prior="mixture"',
            )

    # -- the contract of every model ---------------------------------------------------------

    @cached_property
    def modalities(self) -> Mapping[str, Modality]:
        """See :attr:`Generative.modalities`."""
        modalities: dict[str, Modality] = {}
        for key, part in self.specifications.items():
            kind = KINDS[part["kind"]]
            name = part.get("likelihood") or kind.likelihoods[0]
            check_choice(f"likelihood of {key!r}", name, kind.likelihoods)
            modalities[key] = Modality(
                key,
                part["n_features"],
                FAMILIES[name],
                kind.exposure,
                weight=part.get("weight", 1.0),
                field=key if modalities else REGISTRY_KEYS.X_KEY,
            )
        return modalities

    def part(self, key: str) -> Part:
        """Return the networks of a modality."""
        return cast(Part, self.parts[key])

    @property
    def encoders(self) -> tuple[nn.Module, ...]:
        """See :attr:`GenerativeModule.encoders`."""
        return tuple(self.part(key).encoder for key in self.modalities)

    @property
    def counts_per_weight(self) -> float:
        """Counts of the modality that has fewest, for each weight that decodes its features.

        Of those whose exposure is their total; infinite where nobody said how many cells there
        are.
        """
        exposures = cast(Tensor, self.typical_log_exposure).exp().tolist()
        ratios = [
            n * exposure / self.part(key).n_weights
            for (key, modality), n, exposure in zip(
                self.modalities.items(), self.n_cells or (), exposures, strict=False
            )
            if n > 0 and modality.exposure is Exposure.OBSERVED
        ]
        return min(ratios, default=math.inf)

    @property
    def is_rotation_invariant(self) -> bool:
        """See :attr:`GenerativeModule.is_rotation_invariant`."""
        return self.prior.is_rotation_invariant

    def encode(self, observed: Mapping[str, Observed], s: Covariates) -> StateDistribution:
        """See :meth:`Generative.encode`."""
        categories, rest = self._encoder_covariates(s)
        experts = {
            key: self.part(key).expert(what.x, what.present, categories, rest)
            for key, what in observed.items()
        }
        return StateDistribution(ProductOfExperts(experts))

    def prior_of(self, z: Tensor, s: Covariates) -> StateDistribution:
        """See :meth:`Generative.prior_of`."""
        return StateDistribution(self.prior(z, s, _no_encoder))

    def decode(
        self, z: Tensor, s: Covariates, log_exposures: Mapping[str, Tensor]
    ) -> dict[str, Any]:
        """See :meth:`Generative.decode`."""
        categories, rest = self._covariates(s)
        columns = [z, *(values.expand(*z.shape[:-1], -1) for values in rest)]
        given = torch.cat(columns, dim=-1) if rest else z
        without = torch.zeros_like(z[..., :1])
        return {
            key: self.part(key).decode(given, categories, log_exposures.get(key, without))
            for key in self.modalities
        }

    def kl(self, qz: Distribution, pz: Distribution, z: Tensor) -> Tensor:
        """See :meth:`GenerativeModule.kl`."""
        return self.prior.kl(qz, pz, z)

    def _covariates(self, s: Covariates) -> tuple[tuple[Tensor, ...], list[Tensor]]:
        """Covariates as categories, each ``(n_cells, 1)``, and as further columns."""
        batch, categorical, continuous = s["batch"], s["categorical"], s["continuous"]
        categories: tuple[Tensor, ...] = (cast(Tensor, batch),)
        if categorical is not None:
            categories += torch.split(categorical, 1, dim=1)
        return categories, [] if continuous is None else [continuous]

    def _encoder_covariates(self, s: Covariates) -> tuple[tuple[Tensor, ...], list[Tensor]]:
        return self._covariates(s) if self.encode_covariates else ((), [])

    def observe(
        self, minibatch: Tensors, features: Mapping[str, Tensor] | None = None
    ) -> dict[str, Observed]:
        """See :meth:`Generative.observe`; what has a binary likelihood is there or not."""
        observed = super().observe(minibatch, features)
        for key, what in observed.items():
            if self.modalities[key].likelihood.is_binary:
                observed[key] = what._replace(x=_is_there(what.x))
        return observed

    # -- in a training -----------------------------------------------------------------------

    def inference(self, tensors: Record, n_samples: int = 1) -> Record:
        """See :meth:`GenerativeModule.inference`.

        In a training some cells are encoded from one of their modalities alone.
        """
        outputs = super().inference(tensors, n_samples)
        if not self.training:
            return outputs
        observed, posterior = outputs["observed"], outputs["posterior"]
        outputs[WHOLE] = posterior.latent
        if self.modality_dropout == 0 or len(self.modalities) == 1:
            return outputs
        heard = one_of_several(posterior.latent, observed, self.modality_dropout)
        posterior = StateDistribution(posterior.latent.where(heard))
        return self.with_draws(outputs, posterior, draw(posterior.latent, n_samples), None)

    def loss(
        self,
        tensors: Record,
        inference_outputs: Record,
        generative_outputs: Record,
        kl_weight: Tensor | float = 1.0,
    ) -> LossOutput:
        """See :meth:`GenerativeModule.loss`; in a training with the term that aligns."""
        losses = super().loss(tensors, inference_outputs, generative_outputs, kl_weight)
        if self.training and self.alignment > 0 and len(self.modalities) > 1:
            term = aligned(inference_outputs[WHOLE], inference_outputs["observed"])
            losses.loss = losses.loss + self.alignment * term.mean()
        if self.training:
            losses.loss = losses.loss + self._shrinkage()
        return losses

    def _shrinkage(self) -> Tensor | float:
        """Minus the log prior of the weights, nats a cell, of modalities that have one."""
        terms = [
            self.part(key).shrinkage(scale) / n
            for key, n in zip(self.modalities, self.n_cells or (), strict=False)
            if n > 0 and (scale := KINDS[self.specifications[key]["kind"]].weight_scale)
        ]
        return sum(terms, 0.0)

    # -- what a training starts at, see :class:`lucidvi.module.Startable` ----------------------

    @property
    def n_starting_cells(self) -> int:
        """See :attr:`Startable.n_starting_cells`."""
        return self.prior.n_starting_cells

    @torch.no_grad()
    def start_from(self, moments: Mapping[str, Moments], cells: Tensors | None) -> None:
        """See :meth:`Startable.start_from`."""
        for key, of_modality in moments.items():
            self.part(key).start_from(of_modality)


def one_of_several(
    qz: ProductOfExperts, observed: Mapping[str, Observed], rate: float
) -> dict[str, Tensor]:
    """Choose one modality of some of the cells, of those that they have.

    Parameters
    ----------
    qz
        Posteriors of the cells.
    observed
        What was observed of them.
    rate
        Probability that a cell is among them.

    Returns
    -------
    Which cells hear of each modality, bool, shape ``(n_cells,)``.
    """
    present = _presence(qz, observed)
    weights = torch.stack(list(present.values()), dim=-1).clamp(min=1e-9)
    chosen = torch.multinomial(weights, 1).squeeze(-1)
    is_whole = torch.rand_like(weights[:, 0]) >= rate
    return {key: is_whole | (chosen == number) for number, key in enumerate(present)}


def _presence(qz: ProductOfExperts, observed: Mapping[str, Observed]) -> dict[str, Tensor]:
    """Which cells have a modality, one or zero, shape ``(n_cells,)``."""
    everywhere = torch.ones_like(qz.loc[:, 0])
    return {
        key: everywhere if what.present is None else what.present.to(everywhere)
        for key, what in observed.items()
    }


def _is_there(x: Tensor) -> Tensor:
    """Return ones where there are counts, CSR or dense."""
    if not kernels.is_csr(x):
        return x.clamp(max=1)
    return kernels.csr(x.crow_indices(), x.col_indices(), x.values().clamp(max=1), x.shape[1])


def aligned(qz: ProductOfExperts, observed: Mapping[str, Observed]) -> Tensor:
    """Mean divergence of the posterior from those of single modalities, nats, ``(n_cells,)``.

    Zero for cells of one modality. The posterior is a constant.

    Parameters
    ----------
    qz
        Posterior from all that was observed.
    observed
        What was, by modality.
    """
    teacher = Normal(qz.loc.detach(), qz.scale.detach(), validate_args=False)
    present = _presence(qz, observed)
    n_present = torch.stack(list(present.values())).sum(dim=0)
    terms = [present[key] * kl_divergence(teacher, qz.only([key])).sum(dim=-1) for key in observed]
    total = sum(terms[1:], terms[0]) / n_present.clamp(min=1)
    return torch.where(n_present > 1, total, 0.0)


def _no_encoder(*_: Any) -> Distribution:
    raise AssertionError("no prior of this module consists of posteriors")

"""What inference, training and audit ask of a module: the contract of every model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from lucidvi.distributions import Likelihood
from lucidvi.nn import Covariates, StateDistribution

#: Tensors by registry key, as a loader gives them.
Tensors = Mapping[str, Tensor | None]


class Exposure(StrEnum):
    """Where the exposure of a modality comes from, by which its normalized means are scaled."""

    #: The total of the features that were measured.
    OBSERVED = "observed"
    #: A size factor that came with the data.
    SIZE_FACTOR = "size_factor"
    #: It is latent, with a prior of its own, and part of the state.
    LATENT = "latent"
    #: The modality has none.
    NONE = "none"


@dataclass(frozen=True)
class Modality:
    """One kind of what is observed of a cell.

    Parameters
    ----------
    key
        Its name, such as ``"rna"``.
    n_features
        Number of features.
    likelihood
        Class of the distribution of its values given the latent state; see
        :data:`lucidvi.distributions.LIKELIHOODS`.
    exposure
        Source of its exposure.
    weight
        Weight of its log likelihood in a training; inference always takes 1.
    field
        Key of a minibatch under which its values are; by default ``key``.
    """

    key: str
    n_features: int
    likelihood: type[Likelihood]
    exposure: Exposure = Exposure.OBSERVED
    weight: float = 1.0
    field: str = ""

    def __post_init__(self) -> None:
        """Name the field after the modality, unless it has a name."""
        object.__setattr__(self, "field", self.field or self.key)

    @property
    def present_field(self) -> str:
        """Key of a minibatch for the mask of cells that have it; without the key, all have."""
        return f"{self.field}_present"

    @property
    def features_field(self) -> str:
        """Key of a minibatch for the mask of measured features; without the key, all are."""
        return f"{self.field}_features"

    @property
    def fields(self) -> tuple[str, str, str]:
        """Its keys of a minibatch: values, which cells have it, which features were measured."""
        return self.field, self.present_field, self.features_field

    @property
    def is_renormalized(self) -> bool:
        """Whether its normalized means are those of the measured features alone.

        So they are where the exposure is the total of what was measured. Any other exposure is
        that of the whole cell, of which leaving features out changes nothing.
        """
        return self.exposure is Exposure.OBSERVED

    @property
    def is_normalized(self) -> bool:
        """Whether its normalized means sum to one: whether its exposure is a total."""
        return self.exposure in (Exposure.OBSERVED, Exposure.LATENT)


class Observed(NamedTuple):
    """One modality of a minibatch.

    Parameters
    ----------
    x
        Values (linear), CSR or dense, shape ``(n_cells, n_features)``; zero, for the encoder,
        where nothing was measured.
    log_exposure
        Log exposure, shape ``(n_cells, 1)``; None where it is latent or there is none.
    present
        Mask of the cells that have the modality, bool, shape ``(n_cells,)``; None for all.
    features
        Mask of the measured features, bool, shape ``(n_features,)`` or ``(n_cells, n_features)``;
        None for all. What was not measured is not in the likelihood; it is never zero.
    """

    x: Tensor
    log_exposure: Tensor | None
    present: Tensor | None = None
    features: Tensor | None = None

    @property
    def measured(self) -> Tensor | None:
        """What was measured of each cell, ``(n_cells, n_features)``; None for all of it."""
        if self.present is None and self.features is None:
            return None
        measured = torch.ones(self.x.shape, dtype=torch.bool, device=self.x.device)
        measured = measured if self.features is None else measured & self.features
        return measured if self.present is None else measured & self.present[:, None]


class Generative(Protocol):
    r"""A generative model of cells and its encoder.

    The state of a cell is all that is latent in it: :math:`z`, then the log exposure of each
    modality whose exposure is latent, in their order.

    .. math::
        \log p(x, \text{state} \mid s) = \log p(\text{state} \mid s)
            + \sum_m \log p(x_m \mid z, s, \text{exposure}_m)

    over the modalities that a cell has, and of each over the features that were measured.
    """

    #: Length of ``z``.
    n_latent: int
    #: Whether several draws of each cell can be decoded at once.
    takes_several_draws: bool
    #: Whether the encoder sees the covariates, so that cells are encoded by their batch.
    encode_covariates: bool
    #: Whether the likelihood depends on labels, so that those of every cell have to be known.
    uses_labels: bool

    @property
    def modalities(self) -> Mapping[str, Modality]:
        """What is observed, by name; the first is the main one."""

    @property
    def n_state(self) -> int:
        """Length of a state."""

    def observe(
        self, minibatch: Tensors, features: Mapping[str, Tensor] | None = None
    ) -> dict[str, Observed]:
        """Read what was observed from a minibatch.

        Parameters
        ----------
        minibatch
            Tensors by registry key, as a loader gives them.
        features
            Masks of the measured features by modality, each of shape ``(n_features,)``.
        """

    def covariates(self, minibatch: Tensors) -> Covariates:
        """Read the covariates :math:`s` from a minibatch, by name."""

    def encode(self, observed: Mapping[str, Observed], s: Covariates) -> StateDistribution:
        """Return the amortized posterior of the state; no random number is drawn."""

    def prior_of(self, z: Tensor, s: Covariates) -> StateDistribution:
        """Return the prior of the state given covariates; ``z`` gives shape, type and device."""

    def decode(
        self, z: Tensor, s: Covariates, log_exposures: Mapping[str, Tensor]
    ) -> dict[str, Any]:
        """Return the likelihood of each modality.

        Parameters
        ----------
        z
            Latent states before the softmax of a logistic normal, ``(..., n_cells, n_latent)``.
        s
            Covariates of the cells.
        log_exposures
            Log exposures by modality, each broadcasting to ``(..., n_cells, 1)``; without the
            modalities that have none.
        """

    def representation(self, z: Tensor) -> Tensor:
        """Return ``z`` as models hand it out: its softmax, for a logistic normal."""

    def shifted(self, log_shift: Tensor) -> Generative:
        """Return a module of the same weights that decodes features of a batch otherwise.

        Parameters
        ----------
        log_shift
            Shifts of the log means of the main modality's features, shape ``(n_features,)``, of
            which gradients can be taken; see :meth:`lucidvi.distributions.Likelihood.shifted`.
        """

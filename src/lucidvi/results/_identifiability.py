"""What of the latent axes is arbitrary: what the check of it finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from lucidvi.results._finding import Finding


@dataclass(frozen=True, kw_only=True)
class Identifiability(Finding):
    """What of the latent axes is arbitrary.

    Parameters
    ----------
    rotation_loss
        Nats of ELBO a cell that a random rotation of the latent space loses, since posteriors
        with independent axes no longer fit: all that prefers the model's axes to others.
    rotation_loss_canonical
        The same for the rotation to the canonical directions; can be negative.
    posterior_correlation
        Typical (root mean square) correlation between axes in a cell's full posterior, which
        independent axes cannot hold.
    distinct_axes
        Canonical directions in use that resampled cells give again and that move more or less
        expression than their neighbours.
    n_axes
        Canonical directions that are in use.
    eigenvalues
        Expression that each canonical direction moves (Fisher information), falling, shape
        ``(n_latent,)``.
    eigenvalue_ratio
        Each eigenvalue over the next, shape ``(n_latent - 1,)``; near 1, the two directions are
        not distinct.
    distinct
        Whether each canonical direction is distinct, shape ``(n_latent,)``.
    axis_stability
        Absolute cosine between each canonical direction and that of resampled cells, median
        over resamplings, shape ``(n_latent,)``.
    rotation_losses
        Nats a cell of each random rotation, shape ``(n_rotations,)``.
    correlation
        Root mean square over cells of the posterior correlation of each pair of axes, shape
        ``(n_latent, n_latent)``.
    directions
        The canonical directions as columns, shape ``(n_latent, n_latent)``.
    """

    name: ClassVar[str] = "identifiability"
    title: ClassVar[str] = "Do single latent axes mean anything?"
    explanation: ClassVar[str] = (
        "With a standard normal prior every rotation of the latent space, undone by the decoder, "
        "explains the counts equally well, so an axis taken for itself is arbitrary. What prefers "
        "some axes is only that the encoder's posteriors have independent axes; how much it "
        "prefers them is the likelihood that a rotation loses. Distances, neighbours and clusters "
        "do not change under rotation. Axes that are ordered by the expression that they move "
        "are well defined where these amounts differ: directions that move nearly the same "
        "amount can still be exchanged for mixtures of each other."
    )
    reference: ClassVar[str] = (
        "Rolinek et al., CVPR (2019), Variational autoencoders pursue PCA directions (by "
        "accident). Locatello et al., ICML (2019), Challenging common assumptions."
    )

    rotation_loss: float
    rotation_loss_canonical: float
    posterior_correlation: float
    distinct_axes: int
    n_axes: int
    eigenvalues: np.ndarray
    eigenvalue_ratio: np.ndarray
    distinct: np.ndarray
    axis_stability: np.ndarray
    rotation_losses: np.ndarray
    correlation: np.ndarray
    directions: np.ndarray

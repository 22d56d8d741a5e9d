"""What each direction of the latent space is worth, and which of them count."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from lucidvi.inference import NormalPosterior, PosteriorTarget

#: A direction counts if at least this share of what all directions are worth is its own. In
#: simulations with 2, 4, 5 and 10 dimensions (linear and not, of equal and unequal strength, 10,
#: 30 and 50 latent dimensions) directions without a true counterpart had up to 1.0 % of what is
#: worth something beyond the directions before, those with one 3.0 % and more.
WORTH_SHARE = 0.02
#: ... and if it is worth this many nats a cell; less cannot be told from nothing.
WORTH_MIN = 0.5
#: Draws of each cell's posterior.
N_DRAWS = 2
#: Cells that a coordinate is predicted from.
N_NEIGHBOURS = 30


def log_likelihood(target: PosteriorTarget, state: Tensor) -> Tensor:
    """Log likelihood of all that was measured of cells, of each modality that they have.

    Parameters
    ----------
    target
        The cells.
    state
        A draw of all that is latent in each cell, shape ``(n_cells, n_state)``.

    Returns
    -------
    Nats, shape ``(n_cells,)``.
    """
    terms = []
    for key, observed in target.observed.items():
        value = target.measured_likelihood(state, key).log_likelihood(target.counts(key))
        present = observed.present
        terms.append(value if present is None else torch.where(present, value, 0))
    return sum(terms[1:], terms[0])


def direction_losses(
    target: PosteriorTarget, directions: np.ndarray, values: np.ndarray
) -> np.ndarray:
    r"""Log p(x given z) that each cell loses without a direction, in nats.

    .. math::
        \mathrm{E}_q[\log p(x \mid z) - \log p(x \mid z - v (v^\top z - c))]

    for each direction :math:`v` and the value :math:`c` that takes the place of what the cell
    has, such as the cells' mean. Not a draw of the prior, since the harm that a wrong value does
    is not what the right one is worth.

    Parameters
    ----------
    target
        The cells.
    directions
        Orthogonal directions as columns, shape ``(n_latent, n_latent)``.
    values
        The values :math:`c`, broadcasting to ``(n_cells, n_latent)``.

    Returns
    -------
    Shape ``(n_cells, n_latent)``.
    """
    n_latent = len(directions)
    device = target.x.device
    values = np.broadcast_to(values, (target.n_cells, n_latent)).copy()
    kept = torch.tensor(values, dtype=torch.float32, device=device)
    basis = torch.tensor(directions.T.copy(), dtype=torch.float32, device=device)
    posterior = NormalPosterior.from_distribution(target.q0)
    losses = posterior.loc.new_zeros(target.n_cells, n_latent)
    with torch.no_grad():
        # A draw and its mirror image, so that what is linear in the noise cancels.
        noise = torch.randn_like(posterior.loc)
        for draw in (noise, -noise):
            z = posterior.loc + torch.einsum("nij,nj->ni", posterior.scale_tril, draw)
            whole = log_likelihood(target, z)
            for k, direction in enumerate(basis):
                latent = target.latent(z)
                excess = latent @ direction - kept[:, k]
                reduced = target.with_latent(z, latent - excess[:, None] * direction)
                without = log_likelihood(target, reduced)
                losses[:, k] += (whole - without) / N_DRAWS
    return losses.double().cpu().numpy()


def predicted_from_preceding(coordinates: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """Predict each coordinate of some cells from those before it.

    It is the mean over the nearest other cells in the coordinates before it; of the first, over
    all cells.

    Parameters
    ----------
    coordinates
        Coordinates of all cells, shape ``(n_cells, n_latent)``.
    cells
        Positions of those that are predicted.

    Returns
    -------
    Shape ``(len(cells), n_latent)``.
    """
    k = max(1, min(N_NEIGHBOURS, (len(coordinates) - 1) // 10))
    predicted = np.empty((len(cells), coordinates.shape[1]))
    predicted[:, 0] = coordinates[:, 0].mean()
    for i in range(1, coordinates.shape[1]):
        before = coordinates[:, :i]
        search = NearestNeighbors(n_neighbors=k + 1).fit(before)
        near = search.kneighbors(before[cells], return_distance=False)
        others = near != cells[:, None]  # a cell is its own nearest, if no other is in its place
        others[others.all(axis=1), -1] = False
        predicted[:, i] = coordinates[near[others].reshape(len(cells), k), i].mean(axis=1)
    return predicted


def active_directions(losses: np.ndarray) -> np.ndarray:
    """Say which directions count, by what cells lose without them, shape ``(n_latent,)``."""
    worth, error = losses.mean(axis=0), losses.std(axis=0) / np.sqrt(len(losses))
    return (worth >= least_worth(worth)) & (worth > 2 * error)


def least_worth(worth: np.ndarray) -> float:
    """Return the nats a cell from which on a direction counts, given what each is worth."""
    return max(WORTH_MIN, WORTH_SHARE * float(worth.clip(min=0).sum()))

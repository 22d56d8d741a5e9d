"""Whether a cell is unlike the reference, and how rare that is among known cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray
from scipy.stats import mode

from lucidvi.atlas.labels._votes import N_NEIGHBOURS

if TYPE_CHECKING:
    from lucidvi.atlas.labels._voters import States, Voters

#: Share of the variance within labels that is added to the posteriors'. Those of deep cells are
#: so narrow that without it every distance is large; measured on cells of left-out types.
SPREAD = 0.1
#: Cells that a label's covariance is worth before any data: that within all labels.
N_PRIOR = 20
#: Least variance by which distances are divided, where posteriors and labels have none.
TINY = 1e-12
#: Cells whose neighbours' posteriors are held at once.
CHUNK = 4_096


@dataclass(frozen=True, eq=False)
class Types:
    """Where cells of each label are in latent space.

    Parameters
    ----------
    loc
        Means, shape ``(n_labels, n_latent)``.
    covariance
        Covariances, shape ``(n_labels, n_latent, n_latent)``, those of small labels close to
        ``variance``.
    variance
        Variance within all labels, shape ``(n_latent,)``.
    """

    loc: NDArray[np.float64]
    covariance: NDArray[np.float64]
    variance: NDArray[np.float64]

    @classmethod
    def of(cls, loc: NDArray[np.floating], codes: NDArray[np.integer], n_labels: int) -> Self:
        """Describe the types of cells, of their latent means and their labels as numbers."""
        counts = np.bincount(codes, minlength=n_labels)
        sums = np.zeros((n_labels, loc.shape[1]))
        np.add.at(sums, codes, loc)
        means = sums / np.maximum(counts, 1)[:, None]
        variance = np.maximum(((loc - means[codes]) ** 2).mean(axis=0), TINY)
        covariance = np.empty((n_labels, loc.shape[1], loc.shape[1]))
        for label, n in enumerate(counts):
            centred = loc[codes == label] - means[label]
            covariance[label] = centred.T @ centred + N_PRIOR * np.diag(variance)
            covariance[label] /= n + N_PRIOR
        return cls(means, covariance, variance)

    def distance(self, states: States, label: NDArray[np.integer]) -> NDArray[np.float64]:
        """Return the Mahalanobis distance of cells to a type each, over the root of n_latent."""
        n_latent = states.loc.shape[1]
        difference = states.loc - self.loc[label]
        covariance = self.covariance[label]
        covariance[:, range(n_latent), range(n_latent)] += states.scale**2
        solved = np.linalg.solve(covariance, difference[..., None])[..., 0]
        return np.sqrt((difference * solved).mean(axis=1))


def distances(
    voters: Voters, states: States, besides: NDArray[np.integer] | None = None
) -> NDArray[np.float64]:
    r"""Distance to the reference, in standard deviations: to its cells and to its types.

    .. math::
        \mathrm{distance}_c &= \sqrt{d_c \, t_c} \\
        d_c &= \frac{1}{k} \sum_{j \in \mathrm{nearest}_k(m_c)} \sqrt{\frac{1}{D}
        \sum_{i=1}^{D} \frac{(m_{ci} - m_{ji})^2}{\sigma_{ci}^2 + \sigma_{ji}^2 + h w_i}} \\
        t_c &= \sqrt{\frac{1}{D} (m_c - \mu_\ell)^\top
        \left(\Sigma_\ell + \mathrm{diag}(\sigma_c^2)\right)^{-1} (m_c - \mu_\ell)}

    where :math:`\ell` is the label of most of the :math:`k = 15` nearest, :math:`\mu_\ell` and
    :math:`\Sigma_\ell` its mean and covariance, :math:`w` the variance within labels and
    :math:`h = 0.1`. Cells of a new type are far from all others, or far out in a type, or both. A
    posterior is wide where a cell has few counts or few measured genes, so that neither makes it
    look new.

    Parameters
    ----------
    voters
        The reference cells.
    states
        The others.
    besides
        A voter for each cell that is not among its neighbours, itself; shape ``(n_cells,)``.

    Returns
    -------
    Shape ``(n_cells,)``, without units; the larger, the less the cell is like the reference.
    """
    found = np.empty(len(states.loc))
    for first in range(0, len(found), CHUNK):
        part = np.arange(first, min(first + CHUNK, len(found)))
        itself = None if besides is None else besides[part]
        nearest = voters.neighbours.find(states.loc[part], N_NEIGHBOURS, itself)
        to_cells = _to_cells(voters, states.select(part), nearest)
        label = mode(voters.codes[nearest], axis=1).mode
        found[part] = np.sqrt(to_cells * voters.types.distance(states.select(part), label))
    return found


def _to_cells(voters: Voters, states: States, nearest: NDArray[np.integer]) -> NDArray[np.float64]:
    """Mean distance to the nearest cells."""
    near = voters.states
    variance = states.scale[:, None] ** 2 + near.scale[nearest] ** 2
    variance = variance + SPREAD * voters.types.variance
    difference = states.loc[:, None] - near.loc[nearest]
    return np.sqrt((difference**2 / variance).mean(axis=2)).mean(axis=1)


def p_values(
    scores: NDArray[np.floating], calibration: NDArray[np.floating]
) -> NDArray[np.float64]:
    r"""Conformal p-values of scores, given those of cells that are known not to be new.

    .. math::
        p_c = \frac{1 + \#\{i : s_i \ge s_c\}}{1 + n}

    If the cell and the :math:`n` calibration cells are exchangeable, the probability of
    :math:`p_c \le \alpha` is at most :math:`\alpha`, whatever the score.

    Parameters
    ----------
    scores
        Scores of the cells, shape ``(n_cells,)``.
    calibration
        Scores of the calibration cells, sorted upwards, shape ``(n,)``.

    References
    ----------
    Vovk, Gammerman and Shafer, Algorithmic learning in a random world (2005). Bates et al.,
    Annals of Statistics 51 (2023), Testing for outliers with conformal p-values.
    """
    n = len(calibration)
    return (1 + n - np.searchsorted(calibration, scores, side="left")) / (1 + n)


def novelty(
    distance: NDArray[np.floating],
    agreement: NDArray[np.floating],
    known_distance: NDArray[np.floating],
    known_agreement: NDArray[np.floating],
) -> NDArray[np.float64]:
    r"""Return p-values of being new, by the distance and by what residuals have in common.

    .. math::
        s_c = \frac{\log \mathrm{distance}_c - \mathrm{median}}{q_{84} - \mathrm{median}}
            + \frac{a_c - \mathrm{median}}{q_{84} - \mathrm{median}}

    with median and 84 % quantile of the known cells. Cells of a new type may be far from all
    others; or the model may place them among those of another, and then their residuals agree.

    Parameters
    ----------
    distance, agreement
        Of the cells, see :func:`distances` and
        :func:`lucidvi.atlas.mapping._agreement.agreement`; shape ``(n_cells,)``. Where the
        agreement is NaN, the distance decides alone.
    known_distance, known_agreement
        Of cells that are known not to be new, shape ``(n,)``.
    """
    far, known_far = _in_spreads(_log(distance), _log(known_distance))
    alone = np.isnan(agreement) | np.isnan(known_agreement).any()
    p = p_values(far, np.sort(known_far))
    if not alone.all():
        agreeing, known_agreeing = _in_spreads(agreement[~alone], known_agreement)
        p[~alone] = p_values(far[~alone] + agreeing, np.sort(known_far + known_agreeing))
    return p


def _log(distance: NDArray[np.floating]) -> NDArray[np.float64]:
    return np.log(np.maximum(distance, TINY, dtype=np.float64))


def _in_spreads(
    values: NDArray[np.floating], known: NDArray[np.floating]
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Return both in units of the known ones' upper spread, from their median on."""
    median, upper = np.quantile(known, [0.5, 0.84])
    spread = upper - median if upper > median else 1.0
    return (values - median) / spread, (known - median) / spread

"""Whether a cell is unlike the reference, and how rare that is among known cells."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: Least distance of which a logarithm is taken.
TINY = 1e-12


def p_values(
    scores: NDArray[np.floating], calibration: NDArray[np.floating]
) -> NDArray[np.float64]:
    r"""Return conformal p-values of scores, by those of cells that are not new.

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
    calibration_distance: NDArray[np.floating],
    calibration_agreement: NDArray[np.floating],
) -> NDArray[np.float64]:
    r"""Return p-values of being new, by the distance and by what residuals have in common.

    .. math::
        s_c = \frac{\log \mathrm{distance}_c - \mathrm{median}}{q_{84} - \mathrm{median}}
            + \frac{a_c - \mathrm{median}}{q_{84} - \mathrm{median}}

    with median and 84 % quantile of the calibration cells. Cells of a new type may be far from all
    others; or the model may place them among those of another, and then their residuals agree.

    Parameters
    ----------
    distance, agreement
        Of the cells, see :meth:`lucidvi.atlas.labels._voters.Voters.distances` and
        :func:`lucidvi.atlas.mapping._agreement.agreement`; shape ``(n_cells,)``. Where the
        agreement is NaN, the distance decides alone.
    calibration_distance, calibration_agreement
        Of cells that are not new, shape ``(n,)``.
    """
    far, calibration_far = _in_spreads(_log(distance), _log(calibration_distance))
    alone = np.isnan(agreement) | np.isnan(calibration_agreement).any()
    p = p_values(far, np.sort(calibration_far))
    if not alone.all():
        common, calibration_common = _in_spreads(agreement[~alone], calibration_agreement)
        p[~alone] = p_values(far[~alone] + common, np.sort(calibration_far + calibration_common))
    return p


def _log(distance: NDArray[np.floating]) -> NDArray[np.float64]:
    return np.log(np.maximum(distance, TINY, dtype=np.float64))


def _in_spreads(
    values: NDArray[np.floating], calibration: NDArray[np.floating]
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Return both in units of the calibration's upper spread, from its median on."""
    median, upper = np.quantile(calibration, [0.5, 0.84])
    spread = upper - median if upper > median else 1.0
    return (values - median) / spread, (calibration - median) / spread

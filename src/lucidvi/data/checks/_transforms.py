"""Which function counts have gone through, told by the values that it left."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    from numpy.typing import NDArray

Test = Callable[[sparse.csr_matrix, sparse.csr_matrix], str | None]
Undo = Callable[["NDArray[Any]"], "NDArray[Any]"]

#: Largest exponent: e ** 30 is more than any sum of counts.
LARGEST = 30.0
LARGEST_COUNT = 1e10
#: Furthest that a value, once the function is undone, may be from the integer that it stands for,
#: by what its digits can hold; values of fewer digits prove nothing.
TOLERANCE = 0.15
#: Smallest ratio, and largest, of a value to its cell's smallest one that shows a whole multiple.
SMALLEST_RATIO, LARGEST_RATIO = 1.5, 1e4
#: From this share of integers on, values are counts of which some were estimated.
INTEGER_SHARE = 0.05
#: From this concentration around integers on, values below 4 are counts that were corrected.
CONCENTRATION = 0.25
#: Values below which logarithms stay: log2 of a million is 20.
LARGEST_LOG = 25.0


@dataclass(frozen=True)
class Cause:
    """How values that are not counts came about.

    Parameters
    ----------
    sentence
        What they look like.
    is_estimate
        Whether they are estimates of counts, which can be rounded.
    undo
        Function that leads back to something proportional to the counts in each cell; None where
        there is none.
    offset
        Number that was added to all counts before anything else.
    """

    sentence: str
    is_estimate: bool = False
    undo: Undo | None = None
    offset: float = 0.0


def _power(base: float, x: NDArray[Any]) -> NDArray[Any]:
    return np.expm1(np.minimum(x * np.log(base), LARGEST))


def _shifted_power(base: float, plus: float, x: NDArray[Any]) -> NDArray[Any]:
    return _power(base, x) + 1 - plus


def _identity(x: NDArray[Any]) -> NDArray[Any]:
    return x


def _freeman_tukey(x: NDArray[Any]) -> NDArray[Any]:
    x = np.maximum(x, 1)
    return ((x - 1 / x) / 2) ** 2


def _sinh(k: float, x: NDArray[Any]) -> NDArray[Any]:
    return k * np.sinh(np.minimum(x, LARGEST))


#: Functions of one count, and what undoes them.
OF_COUNTS: dict[str, Undo] = {
    "log1p(counts)": np.expm1,
    "log2(counts + 1)": partial(_power, 2),
    "log10(counts + 1)": partial(_power, 10),
    "sqrt(counts)": np.square,
    "cbrt(counts)": lambda x: x**3,
    "sqrt(counts + 3/8)": lambda x: x**2 - 0.375,
    "2 sqrt(counts + 3/8) (Anscombe)": lambda x: (x / 2) ** 2 - 0.375,
    "sqrt(counts) + sqrt(counts + 1) (Freeman-Tukey)": _freeman_tukey,
    "sqrt(counts) + sqrt(counts + 1) - 1 (Freeman-Tukey)": lambda x: _freeman_tukey(x + 1),
    "arcsinh(counts)": partial(_sinh, 1),
    "arcsinh(counts / 5)": partial(_sinh, 5),
    "arcsinh(sqrt(counts))": lambda x: np.sinh(np.minimum(x, LARGEST)) ** 2,
    "2 arcsinh(sqrt(counts))": lambda x: np.sinh(np.minimum(x / 2, LARGEST)) ** 2,
    "acosh(0.1 counts + 1) / sqrt(0.05)": lambda x: (
        (np.cosh(np.minimum(x * np.sqrt(0.05), LARGEST)) - 1) / 0.1
    ),
}

#: What functions of normalised values look like, and what undoes them.
OF_NORMALISED: tuple[tuple[str, Undo], ...] = (
    ("log-normalised: expm1 of ", np.expm1),
    ("log-normalised: 2 ** x - 1 of ", partial(_power, 2)),
    ("log-normalised: 10 ** x - 1 of ", partial(_power, 10)),
    ("normalised: ", _identity),
    ("square roots of normalised values: the square of ", np.square),
    ("arcsinh of normalised values: sinh of ", partial(_sinh, 1)),
)


def likely_cause(sample: sparse.csr_matrix, fractional_share: float) -> Cause:
    """Guess from some cells how values that are not integers came about.

    Parameters
    ----------
    sample
        The values that are not zero, ``(n_cells, n_genes)``.
    fractional_share
        Share of the non-zero values that are not integers.
    """
    for guess in GUESSES:
        cause = guess(sample, fractional_share)
        if cause is not None:
            return cause
    return _unknown(sample)


def _function_of_counts(cells: sparse.csr_matrix, _: float) -> Cause | None:
    """Name the function, of those without parameters, that leaves integers when it is undone."""
    for name, undo in OF_COUNTS.items():
        if leaves_integers(cells.data, undo):
            return Cause(f"They look like {name}: undone, all are integers.", undo=undo)
    return None


def _estimate(cells: sparse.csr_matrix, fractional_share: float) -> Cause | None:
    if fractional_share < INTEGER_SHARE:
        return Cause(
            "The other values are integers: these look like errors, or corrected counts.", True
        )
    if cells.nnz == 0 or cells.data.min() < 0:
        return None
    integers = integer_share(cells.data)
    if integers >= 4 * INTEGER_SHARE:
        return Cause(
            f"They look like estimated counts, such as expected counts of an aligner: "
            f"{integers:.0%} are integers. These can be rounded, or used as they are.",
            True,
        )
    return None


def _normalised(cells: sparse.csr_matrix, test: Test, what: str) -> Cause | None:
    """Name the function of normalised values that passes a test once it is undone."""
    if cells.nnz == 0 or cells.data.min() < 0:
        return None
    for label, undo in OF_NORMALISED:
        if cells.data.max() < LARGEST or undo in (_identity, np.square):
            finding = test(_undone(cells, undo), cells)
            if finding is not None:
                return Cause(f"They look {label}{what} {finding}.", undo=undo)
    return None


def _with_one_total(cells: sparse.csr_matrix, _: float) -> Cause | None:
    return _normalised(cells, _common_total, "each cell")


def _of_whole_multiples(cells: sparse.csr_matrix, _: float) -> Cause | None:
    return _normalised(cells, _whole_multiples, "each value")


def _fitted_function(cells: sparse.csr_matrix, _: float) -> Cause | None:
    """Name the function of a parameter that its smallest value tells, as that of 0 or 1."""
    if cells.nnz == 0:
        return None
    for name, undo, offset in _fitted(float(cells.data.min())):
        if leaves_integers(cells.data, undo):
            is_shifted = offset != 0
            advice = " Less that number, they can be rounded." if is_shifted else ""
            return Cause(
                f"They look like {name}: undone, all are integers.{advice}",
                is_shifted,
                undo,
                offset,
            )
    return None


def _of_few_values(cells: sparse.csr_matrix, _: float) -> Cause | None:
    distinct = np.unique(np.float32(cells.data)).size
    if cells.nnz < 200 or distinct >= 0.05 * cells.nnz:
        return None
    return Cause(
        f"They look like a function of counts: {cells.nnz:,} values are {distinct:,} different "
        "ones."
    )


def _fitted(smallest: float) -> Iterator[tuple[str, Undo, float]]:
    zero = smallest  # of a function of 0 that is not 0
    yield f"counts + {zero:.4g}", lambda x: x - zero, zero
    for name, base in (("log", np.e), ("log2", 2.0), ("log10", 10.0)):
        plus = float(base) ** min(zero, LARGEST)
        yield f"{name}(counts + {plus:.4g})", partial(_shifted_power, float(base), plus), 0.0
    if smallest <= 0:
        return
    one = min(smallest, LARGEST)  # of a function of 1
    k = 1 / np.sinh(one)
    yield f"arcsinh(counts / {k:.4g})", partial(_sinh, k), 0.0
    k = 1 / np.expm1(one)
    yield f"log1p(counts / {k:.4g})", lambda x: k * np.expm1(np.minimum(x, LARGEST)), 0.0
    yield (
        f"{one / np.log(2):.4g} log1p(counts)",
        lambda x: np.expm1(np.minimum(x * np.log(2) / one, LARGEST)),
        0.0,
    )
    yield f"{smallest:.4g} sqrt(counts)", lambda x: (x / smallest) ** 2, 0.0
    yield f"counts times {smallest:.4g}", lambda x: x / smallest, 0.0


def _corrected(cells: sparse.csr_matrix, _: float) -> Cause | None:
    values = cells.data
    if cells.nnz == 0 or values.min() < 0:
        return None
    if integer_share(values) < INTEGER_SHARE and not _lie_below_integers(values):
        return None
    return Cause(
        "They look like corrected or estimated counts (after removal of ambient RNA, or expected "
        "counts of an aligner); these can be rounded, or used as they are.",
        True,
    )


#: In this order: what is certain comes first.
GUESSES = (
    _function_of_counts,
    _estimate,
    _with_one_total,
    _fitted_function,
    _of_whole_multiples,
    _of_few_values,
    _corrected,
)


def _unknown(cells: sparse.csr_matrix) -> Cause:
    values = cells.data
    if values.size and values.min() < 0:
        return Cause("They look scaled or centred (z-scores, residuals).")
    if values.size and values.max() < LARGEST_LOG:
        return Cause(
            "They look like logarithms of normalised values, such as log2(TPM + 1) or log1p(CPM), "
            "or like values that were smoothed or imputed."
        )
    return Cause(
        "They look normalised, such as TPM, FPKM or counts divided by size factors, or corrected "
        "beyond what the values tell."
    )


# -- what the values show -----------------------------------------------------------------------


def resolution(values: NDArray[np.floating]) -> float:
    """Return the last decimal place that values have, 0.1 to 0.0001; 0 if they have more."""
    for digits in (1, 2, 3, 4):
        scaled = values * 10.0**digits
        if (np.abs(scaled - np.rint(scaled)) <= 1e-6 * np.maximum(1, np.abs(scaled))).all():
            return float(10.0**-digits)
    return 0.0


def integer_share(values: NDArray[np.floating]) -> float:
    """Return which share of values are integers, as far as that tells of estimated counts.

    It is 0 where it may owe to rounding; where values were clipped, the largest are left out; and
    so it is where nothing lies between 0 and 1: estimates do, a function that leaves 1 as it is
    (a root, log2) is of no count there.
    """
    is_integer = np.rint(values) == values
    below_one = (values < 1) & ~is_integer
    if not below_one.any() and values.min() <= 1:
        return 0.0
    share = float(np.mean(is_integer & (values < values.max())))
    return share if share >= 3 * resolution(values) else 0.0


def leaves_integers(values: NDArray[np.floating], undo: Undo) -> bool:
    """Return whether values that are not integers become integers, of several sizes, by ``undo``.

    What the digits of a value can tell is taken into account: by rounding alone, every large
    value of few digits would come near an integer.
    """
    values = values[np.rint(values) != values]
    with np.errstate(all="ignore"):
        is_half = bool((np.float16(values) == values).all())
        precision = np.finfo(np.float16 if is_half else np.float32).eps
        half_digit = np.maximum(resolution(values) / 2, 4 * precision * np.abs(values))
        undone = undo(values)
        tolerance = 1e-6 + np.abs(undo(values + half_digit) - undo(values - half_digit)) / 2
    if undone.size == 0 or not undone.max() < LARGEST_COUNT:
        return False
    usable = np.isfinite(undone) & (tolerance < TOLERANCE)
    if usable.sum() < max(3, 0.3 * values.size):
        return False
    undone, tolerance = undone[usable], tolerance[usable]
    nearest = np.rint(undone)
    fits = (np.abs(undone - nearest) <= tolerance) & (nearest >= 0)
    return bool(fits.mean() >= 0.99 and np.unique(nearest[fits & (nearest > 0)]).size >= 2)


def _lie_below_integers(values: NDArray[np.floating]) -> bool:
    """Return whether small values are counts less a part of them: 1 and a little less first.

    Values whose largest could be a logarithm have to show it more clearly than others.
    """
    small = values[values < 4]
    if small.size < 20:
        return False
    around = np.mean(np.exp(2j * np.pi * small))
    turn = np.angle(around) / (2 * np.pi)  # 0 at integers, negative below
    ones = np.mean((small > 0.25) & (small < 1.05))
    could_be_log = values.max() < LARGEST_LOG
    strength, share = (CONCENTRATION, 0.15) if could_be_log else (CONCENTRATION / 2, 0.05)
    is_clear = np.abs(around) >= max(strength, 3 / np.sqrt(small.size))
    return bool(is_clear and -0.3 < turn < 0.05 and ones > share)


def _undone(cells: sparse.csr_matrix, undo: Undo) -> sparse.csr_matrix:
    return sparse.csr_matrix((undo(cells.data), cells.indices, cells.indptr), shape=cells.shape)


def _common_total(cells: sparse.csr_matrix, _: sparse.csr_matrix) -> str | None:
    """Return what every cell sums to, if it is one number within 0.1 %."""
    totals = np.asarray(cells.sum(axis=1)).ravel()
    totals = totals[totals > 0]
    if totals.size < 2 or totals.std() > 1e-3 * totals.mean():
        return None
    return f"sums to {totals.mean():,.6g}"


def _whole_multiples(cells: sparse.csr_matrix, stored: sparse.csr_matrix) -> str | None:
    """Say whether each value is a multiple of its cell's smallest one, which stands for 1."""
    starts = cells.indptr[:-1][np.diff(cells.indptr) > 0]
    smallest = np.minimum.reduceat(cells.data, starts)
    lengths = np.diff([*starts, cells.nnz])
    ratios = cells.data / np.repeat(np.maximum(smallest, np.finfo(float).tiny), lengths)
    # A cell whose smallest value has but its last digit divides every other by rounding alone.
    coarse = np.minimum.reduceat(stored.data, starts) < 20 * resolution(stored.data)
    usable = (ratios > SMALLEST_RATIO) & (ratios < LARGEST_RATIO) & ~np.repeat(coarse, lengths)
    ratios = ratios[usable]
    if ratios.size < 20 or np.mean(np.abs(ratios - np.rint(ratios)) < 0.05) <= 0.95:
        return None
    return "is a whole multiple of its cell's smallest one"

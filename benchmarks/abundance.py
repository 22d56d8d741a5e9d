"""False discoveries and power of differential abundance, on compositions with known truth.

``python benchmarks/abundance.py`` rewrites ``benchmarks/abundance.md``.
"""

from __future__ import annotations

import argparse

import numpy as np
from _measure import page, report, table

SEED, RATE, N_CELLS, N_REPEATS = 0, 0.05, 500, 600
#: Shares of the types.
SHARES = {
    "5 types": [0.5, 0.2, 0.15, 0.1, 0.05],
    "8 types": [0.35, 0.2, 0.15, 0.1, 0.08, 0.06, 0.04, 0.02],
    "15 types": np.random.default_rng(1).dirichlet(np.ones(15)),
}
#: Donors of a group, standard deviations of their log shares, log2 fold changes of one type.
DONORS, SPREADS, EFFECTS = (3, 8), (0.0, 0.5), (0.0, 1.0, 2.0)
COLUMNS = ("LucidVI", "logit of the share", "cells (Fisher)")


def p_values(numbers: np.ndarray, second: np.ndarray) -> list[np.ndarray]:
    """Test by each of :data:`COLUMNS`; shapes ``(n_donors, n_types)`` and ``(n_donors,)``."""
    from lucidvi.simulate.comparisons._comparison import COUNT_MIN, Comparison
    from lucidvi.simulate.comparisons._label_tests import LABEL_TESTS
    from lucidvi.simulate.comparisons._moderated import moderated_t

    donors = np.arange(len(second))
    compared = Comparison(numbers, donors, second, donors)
    enough = numbers.mean(axis=0) >= COUNT_MIN
    odds = (numbers + 0.5) / (numbers.sum(axis=1, keepdims=True) - numbers + 0.5)
    logit = np.full(len(enough), np.nan)
    logit[enough] = moderated_t(np.log2(odds[:, enough]), compared.design)[1]
    return [LABEL_TESTS["donors"](compared)[1], logit, LABEL_TESTS["cells"](compared)[1]]


def measured(
    shares: np.ndarray, n_donors: int, spread: float, effect: float, n_repeats: int
) -> tuple[np.ndarray, np.ndarray]:
    """Power and false share of the findings by each test, means and standard errors."""
    from lucidvi.simulate.comparisons._comparison import adjusted

    rng = np.random.default_rng(SEED)
    second = np.arange(2 * n_donors) % 2 == 1
    found = np.zeros((n_repeats, len(COLUMNS), 2))
    for repeat, row in enumerate(found):
        changed = repeat % len(shares)
        log = np.log(shares) + rng.normal(0, spread, (2 * n_donors, len(shares)))
        log[second, changed] += effect * np.log(2)
        share = np.exp(log) / np.exp(log).sum(axis=1, keepdims=True)
        numbers = np.array([rng.multinomial(N_CELLS, p) for p in share], dtype=float)
        for i, p in enumerate(p_values(numbers, second)):
            called = adjusted(p) <= RATE
            right = called[changed] if effect else False
            row[i] = right, (called.sum() - right) / max(called.sum(), 1)
    return found.mean(axis=0), found.std(axis=0, ddof=1) / np.sqrt(n_repeats)


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few repeats")
    quick = parser.parse_args().quick
    n_repeats = 20 if quick else N_REPEATS
    rows = []
    for name, shares in SHARES.items():
        for n_donors in DONORS:
            for spread in SPREADS:
                for effect in EFFECTS:
                    mean, error = measured(np.array(shares), n_donors, spread, effect, n_repeats)
                    cells = [f"{m[1]:.3f} ± {e[1]:.3f}" for m, e in zip(mean, error, strict=True)]
                    cells += [f"{m[0]:.2f}" if effect else "" for m in mean]
                    rows.append([name, str(n_donors), f"{spread:g}", f"{effect:g}", *cells])
                    print(rows[-1], flush=True)
    report(page("abundance.md", quick), written(rows))


def written(rows: list[list[str]]) -> list[str]:
    """Return the lines of the page."""
    return [
        "# Types of cells that are more or fewer",
        "",
        f"Two groups of donors of {N_CELLS} cells each, {N_REPEATS} experiments. The numbers of "
        "cells of the types are multinomial, with log-normal factors of donors, and those of one "
        "type, another in each experiment, are multiplied in the second group. Types are called "
        f"at a false discovery rate of {RATE:.0%}. *LucidVI* is the test of "
        '`simulate.differential_abundance(test="donors")`, which compares with the types that '
        "stay; *logit of the share*, a moderated t-test of the log odds of each type, takes the "
        "room that others make for changes; *cells* is Fisher's exact test with cells as "
        'replicates (`test="cells"`). Where nothing changes, the rate is the share of '
        "experiments with any finding. Mean and standard error.",
        "",
        *table(
            [
                "",
                "donors a group",
                "sd of donors",
                "effect (log2)",
                *(f"FDR, {name}" for name in COLUMNS),
                *(f"power, {name}" for name in COLUMNS),
            ],
            rows,
        ),
        "",
        "`python benchmarks/abundance.py`",
    ]


if __name__ == "__main__":
    main()

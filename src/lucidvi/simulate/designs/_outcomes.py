"""What comes out of repeated experiments: their power, and how many findings are false."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from os import PathLike
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lucidvi.checks import check_choice, check_whole
from lucidvi.inference import POSTERIORS
from lucidvi.simulate.designs._design import Size
from lucidvi.simulate.designs._repeats import Kept, run_repeats


def check_repeats(n_repeats: Any, seed: Any, posterior: Any) -> None:
    """Check what all planned experiments are repeated with."""
    check_whole("n_repeats", n_repeats, least=1)
    check_whole("seed", seed)
    check_choice("posterior", posterior, POSTERIORS)


def repeated(
    experiment: Callable[[int], list[tuple[float, float]]],
    n_repeats: int,
    n_jobs: int,
    resume: str | PathLike[str] | None,
    identity: dict[str, Any],
) -> NDArray[np.float64]:
    """Repeat an experiment.

    Parameters
    ----------
    experiment
        Draws and tests the experiment, and returns power and false share of the findings at each
        size, by the number of the repeat.
    n_repeats, n_jobs, resume
        See :func:`lucidvi.simulate.design_expression`.
    identity
        What tells experiments apart, in plain values.

    Returns
    -------
    Power and false share, shape ``(n_repeats, n_sizes, 2)``.
    """
    kept = Kept(resume, identity)
    return np.array(run_repeats(experiment, range(n_repeats), n_jobs, kept))


def judged(findings: NDArray[np.integer], changed: NDArray[np.integer]) -> tuple[float, float]:
    """Return the share of what changed that was found, and of the findings that are false."""
    n_right = np.isin(findings, changed).sum()
    power = n_right / len(changed) if len(changed) else np.nan
    return float(power), float((len(findings) - n_right) / max(len(findings), 1))


def table_of(sizes: Sequence[Size], values: NDArray[np.float64]) -> pd.DataFrame:
    """Return means over the repeats, and their standard errors, a row for each size.

    Parameters
    ----------
    sizes
        The sizes.
    values
        Power and false share, shape ``(n_repeats, n_sizes, 2)``.
    """
    n = len(values)
    mean = values.mean(axis=0)
    error = values.std(axis=0, ddof=1) / np.sqrt(n) if n > 1 else np.full(mean.shape, np.nan)
    table = pd.DataFrame(list(sizes), columns=list(Size._fields))
    for i, name in enumerate(("power", "fdr")):
        table[name], table[f"{name}_se"] = mean[:, i], error[:, i]
    return table.assign(n_repeats=n)

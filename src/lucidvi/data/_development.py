"""Developing cells whose future is known: the kinetics of splicing, solved step by step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from lucidvi.checks import check_choice, check_whole, is_number
from lucidvi.errors import DataError

#: Branches after the root, by shape; a cycle has none.
BRANCHES = {"line": 0, "cycle": 0, "bifurcation": 2, "three-way": 3}
#: Times, in mean lifetimes of spliced molecules: a line, a cycle, a root, and the end of a branch.
LINE, CYCLE, ROOT, END = 12.0, 10.0, 6.0, 14.0
#: Points of the time, and steps of the solver between two, a unit of time.
POINTS, STEPS = 40, 10
#: Shape of the gamma noise of counts, of each gene and kind of molecule.
SHAPE = 10.0
#: Most molecules of a typical cell.
MOST = 1e8
#: Share of the genes whose transcription changes.
DYNAMIC = 0.7


@dataclass(frozen=True)
class Segment:
    """A stretch of a developing population: times, spliced and unspliced, and ds/dt."""

    time: np.ndarray
    spliced: np.ndarray
    unspliced: np.ndarray
    change: np.ndarray


def simulated_development(
    shape: str = "bifurcation",
    n_cells: int = 2_000,
    n_genes: int = 500,
    depth: float = 5_000,
    *,
    n_batches: int = 1,
    seed: int = 0,
) -> AnnData:
    r"""Draw counts of developing cells, whose future is known.

    Transcription of most genes changes by smooth switches along a line, a root with branches, or
    waves around a cycle, and the kinetics of splicing are solved by small steps,

    .. math::
        \frac{du}{dt} = \alpha(t) - \beta u, \qquad \frac{ds}{dt} = \beta u - \gamma s.

    Counts are overdispersed, and unspliced molecules of each gene are caught as well as chance
    has it.

    Parameters
    ----------
    shape
        ``"line"``, ``"cycle"``, ``"bifurcation"`` or ``"three-way"``.
    n_cells, n_genes
        Sizes.
    depth
        Molecules of a typical cell.
    n_batches
        Batches, in each of which genes are caught by factors of their own (0.3 in logs).
    seed
        Seed of all draws.

    Returns
    -------
    All molecules in ``X``, layers ``spliced`` and ``unspliced``; the truth in ``obs["time"]``, in
    mean lifetimes of spliced molecules, ``obs["branch"]`` (``"0"`` is the root), and
    ``layers["change"]``, the derivative of spliced expression that sums to one.

    Raises
    ------
    lucidvi.errors.DataError
        If there is no such shape, or a size is not positive.

    Examples
    --------
    >>> from lucidvi import data
    >>> adata = data.simulated_development("line", n_cells=20, n_genes=5)
    >>> adata.shape
    (20, 5)
    """
    check_choice("shape", shape, BRANCHES)
    for name, value, least in (
        ("n_cells", n_cells, 1),
        ("n_genes", n_genes, 1),
        ("n_batches", n_batches, 1),
        ("seed", seed, 0),
    ):
        check_whole(name, value, least=least)
    if not (is_number(depth) and 0 < depth <= MOST):
        raise DataError(
            f"`depth` is {depth!r}.",
            remedy=f"give a positive number up to {MOST:.0g}, such as 5000.",
        )
    rng = np.random.default_rng(seed)
    segments = _segments(shape, n_genes, rng)
    spans = np.array([segment.time[-1] - segment.time[0] for segment in segments])
    branch = rng.choice(len(segments), n_cells, p=spans / spans.sum())
    n_points = np.array([len(segment.time) for segment in segments])
    place = (rng.random(n_cells) * n_points[branch]).astype(int)
    pairs = list(zip(branch, place, strict=True))
    s, u, change = (
        np.array([getattr(segments[b], name)[i] for b, i in pairs])
        for name in ("spliced", "unspliced", "change")
    )
    time = np.array([segments[b].time[i] for b, i in pairs])
    caught = np.exp(rng.normal(0, 0.5, n_genes))
    batch = rng.integers(n_batches, size=n_cells)
    factor = np.exp(rng.normal(0, 0.3 if n_batches > 1 else 0, (n_batches, n_genes)))[batch]
    mean_s, mean_u = s * factor, u * factor * caught
    size = depth * np.exp(rng.normal(0, 0.3, n_cells)) / (mean_s + mean_u).sum(axis=1)
    counts = [
        rng.poisson(rng.gamma(SHAPE, 1 / SHAPE, mean.shape) * mean * size[:, None])
        for mean in (mean_s, mean_u)
    ]
    total = s.sum(axis=1, keepdims=True)
    obs = pd.DataFrame(
        {"time": time, "branch": branch.astype(str), "batch": [f"b{b}" for b in batch]},
        index=[f"cell_{i}" for i in range(n_cells)],
    )
    var = pd.DataFrame(index=[f"gene_{i}" for i in range(n_genes)])
    adata = AnnData(sparse.csr_matrix(np.int32(counts[0] + counts[1])), obs, var)
    for name, x in zip(("spliced", "unspliced"), counts, strict=True):
        adata.layers[name] = sparse.csr_matrix(np.int32(x))
    adata.layers["change"] = (
        change / total - s / total * (change.sum(axis=1) / total[:, 0])[:, None]
    )
    return adata


def _segments(shape: str, n_genes: int, rng: np.random.Generator) -> list[Segment]:
    gamma = np.exp(rng.normal(0, 0.35, n_genes))
    beta = gamma * np.exp(rng.normal(np.log(4), 0.4, n_genes))
    is_dynamic, base = rng.random(n_genes) < DYNAMIC, rng.normal(0, 1.2, n_genes)
    if shape == "cycle":
        size = rng.normal(0, 0.7, (2, n_genes)) * is_dynamic
        phase = rng.uniform(0, 2 * np.pi, (2, n_genes))
        turns = 2 * np.pi * np.arange(1, 3)[:, None] / CYCLE
        rate = lambda t: base + (size * np.cos(turns * t + phase)).sum(axis=0)  # noqa: E731
        start = np.exp(rate(0.0)) / beta
        for _ in range(4):  # until it repeats itself
            segment = _solved(rate, 0.0, CYCLE, start, start * beta / gamma, beta, gamma)
            start, spliced = segment.unspliced[-1], segment.spliced[-1]
        return [_solved(rate, 0.0, CYCLE, start, spliced, beta, gamma)]

    def switches(lower: float, upper: float, n: int) -> Callable[[float], np.ndarray]:
        at = rng.uniform(lower, upper, (n, n_genes))
        size = rng.normal(0, 1.3, (n, n_genes)) * is_dynamic
        width = rng.uniform(0.2, 0.6, (n, n_genes))
        return lambda t: (size / (1 + np.exp(-(t - at) / width))).sum(axis=0)

    branches = BRANCHES[shape]
    of_root = switches(0, 5 if branches else 11, 1 if branches else 2)
    rate = lambda t: base + of_root(t)  # noqa: E731
    start = np.exp(rate(0.0)) / beta
    root = _solved(rate, 0.0, ROOT if branches else LINE, start, start * beta / gamma, beta, gamma)
    segments = [root]
    for _ in range(branches):
        own = switches(ROOT + 0.3, END - 2, 1)
        further = lambda t, own=own: base + of_root(t) + own(t)  # noqa: E731
        u, s = root.unspliced[-1], root.spliced[-1]
        segments.append(_solved(further, ROOT, END, u, s, beta, gamma))
    return segments


def _solved(
    log_rate: Callable[[float], np.ndarray],
    start: float,
    end: float,
    u: np.ndarray,
    s: np.ndarray,
    beta: np.ndarray,
    gamma: np.ndarray,
) -> Segment:
    """Solve du/dt = alpha - beta u, ds/dt = beta u - gamma s by small steps."""
    times = np.linspace(start, end, int(POINTS * (end - start)))
    states, step = [], (times[1] - times[0]) / STEPS
    for t in times:
        states.append((s, u, beta * u - gamma * s))
        for k in range(STEPS):
            alpha = np.exp(log_rate(t + k * step))
            u, s = u + step * (alpha - beta * u), s + step * (beta * u - gamma * s)
    return Segment(times, *(np.array(x) for x in zip(*states, strict=True)))

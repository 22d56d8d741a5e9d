"""Spliced and unspliced counts of cells whose kinetics are solved step by step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

#: Branches after the root, by shape; a cycle has none.
BRANCHES = {"line": 0, "cycle": 0, "bifurcation": 2, "three-way": 3}
#: Times, in mean lifetimes of spliced molecules: a line, a cycle, a root, and the end of a branch.
LINE, CYCLE, ROOT, END = 12.0, 10.0, 6.0, 14.0
#: Points of the time, and steps of the solver between two, a unit of time.
POINTS, STEPS = 40, 10
#: Shape of the gamma noise of counts, of each gene and kind of molecule.
SHAPE = 10.0
#: Share of the genes whose transcription changes.
DYNAMIC = 0.7


@dataclass(frozen=True)
class Segment:
    """A stretch of a developing population: times, spliced and unspliced, and ds/dt."""

    time: np.ndarray
    spliced: np.ndarray
    unspliced: np.ndarray
    change: np.ndarray


def simulate(
    shape: str, n_cells: int, n_genes: int, depth: float, seed: int, n_batches: int = 1
) -> AnnData:
    """Draw counts of cells along solutions of the kinetics of splicing.

    Parameters
    ----------
    shape
        Key of :data:`BRANCHES`.
    n_cells, n_genes, depth, seed
        Sizes, molecules of a typical cell, and the seed.
    n_batches
        Batches, in each of which genes are caught by factors of their own (0.3 in logs).

    Returns
    -------
    Layers ``spliced`` and ``unspliced``; the truth in ``layers["change"]``, the derivative of
    spliced expression that sums to one, ``obs["time"]`` and ``obs["branch"]``.
    """
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
    adata = AnnData(sparse.csr_matrix(counts[0]), obs)
    for name, x in zip(("spliced", "unspliced"), counts, strict=True):
        adata.layers[name] = sparse.csr_matrix(x)
    adata.layers["change"] = (
        change / total - s / total * (change.sum(axis=1) / total[:, 0])[:, None]
    )
    return adata


def exchanged(adata: AnnData, seed: int) -> AnnData:
    """Draw anew which molecules are unspliced, with one probability for all cells of a gene."""
    rng = np.random.default_rng(seed)
    spliced, unspliced = (adata.layers[name].toarray() for name in ("spliced", "unspliced"))
    total = spliced + unspliced
    share = unspliced.sum(axis=0) / np.maximum(total.sum(axis=0), 1)
    drawn = rng.binomial(total, share)
    other = adata.copy()
    other.layers["unspliced"] = sparse.csr_matrix(drawn)
    other.layers["spliced"] = sparse.csr_matrix(total - drawn)
    return other


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

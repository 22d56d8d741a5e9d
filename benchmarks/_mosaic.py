"""Scores of latent states of cells of several modalities, and results that are kept."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from _measure import CACHE, table
from scipy.spatial.distance import cdist
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors

#: Neighbours by which cells are named.
NEIGHBOURS = 15
Scores = dict[str, float]


def foscttm(one: np.ndarray, other: np.ndarray) -> float:
    """Share of the other cells' states that are closer than the cell's own, both ways."""
    distance = cdist(one, other)
    own = np.diag(distance)
    closer = (distance < own[:, None]).mean(), (distance < own[None]).mean()
    return float(np.mean(closer))


def named_right(
    known: np.ndarray,
    labels: np.ndarray,
    states: np.ndarray,
    truth: np.ndarray,
    k: int = NEIGHBOURS,
) -> float:
    """Share of cells that are named right by the nearest of some whose labels are known."""
    vote = KNeighborsClassifier(min(k, len(known))).fit(known, labels)
    return float((vote.predict(states) == truth).mean())


def own_batch(states: np.ndarray, batch: np.ndarray, k: int = 30) -> float:
    """Share of the nearest neighbours that are of the own batch, over that of all cells."""
    near = NearestNeighbors(n_neighbors=k + 1).fit(states)
    near = near.kneighbors(states, return_distance=False)[:, 1:]
    same = (batch[near] == batch[:, None]).mean(axis=1)
    expected = pd.Series(batch).map(pd.Series(batch).value_counts(normalize=True))
    return float((same / expected.to_numpy()).mean())


def kept(name: str, folder: str, measure: Callable[[], Scores]) -> Scores:
    """Return scores, or what an earlier run found under the same name."""
    file: Path = CACHE / folder / f"{name}.json"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        scores = measure()
        file.write_text(json.dumps(scores))
    return json.loads(file.read_text())


def as_table(found: Mapping[str, list[Scores]]) -> list[str]:
    """Lines of a table of ways, mean and range of their runs, a row a score."""
    frames = {way: pd.DataFrame(runs) for way, runs in found.items()}
    rows = list(dict.fromkeys(score for frame in frames.values() for score in frame.columns))
    return table(["", *frames], [[row, *(_cell(f, row) for f in frames.values())] for row in rows])


def _cell(frame: pd.DataFrame, score: str) -> str:
    if score not in frame or frame[score].isna().all():
        return ""
    values = frame[score]
    text = f"{values.mean():.4g}"
    return text if len(values) < 2 else f"{text} ({values.min():.4g} to {values.max():.4g})"

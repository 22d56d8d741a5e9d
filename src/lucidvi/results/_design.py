"""The result of planning an experiment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd


@dataclass(frozen=True, eq=False)
class DesignResult:
    """Power and false discovery rate by the size of an experiment.

    Parameters
    ----------
    table
        A row for each size: ``n_cells`` of a donor, ``n_donors`` of a group, ``depth_factor``
        relative to the data; ``power``, the share of the changed genes (or labels) that are found,
        and ``fdr``, the share of the findings that are false, as means over ``n_repeats``, with
        their standard errors ``power_se`` and ``fdr_se``.
    request
        Every argument by name, those of the design among them.
    donor_sd
        Standard deviation of donors' log expression for each gene that was taken, or of their log
        abundance for each label.
    changing
        What changes, in words.
    assumptions
        What has to hold, in whole sentences.
    labels
        A row for each label that changes and size, where abundance is planned: its ``power``,
        ``power_se`` and ``n_repeats``; its ``share`` of the data's cells; and of its cells at that
        depth the share ``called`` by its name.
    """

    table: pd.DataFrame
    request: dict[str, Any]
    donor_sd: pd.Series
    changing: str
    assumptions: tuple[str, ...]
    labels: pd.DataFrame | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return all as plain values."""
        return {
            "table": self.table.to_dict("records"),
            "request": self.request,
            "donor_sd": self.donor_sd.to_dict(),
            "changing": self.changing,
            "assumptions": list(self.assumptions),
            "labels": None if self.labels is None else self.labels.to_dict("records"),
        }

    def __repr__(self) -> str:
        effect, test, fdr = (self.request[name] for name in ("effect", "test", "fdr"))
        table = self.table.round(3).to_string(max_rows=6)
        return f"DesignResult({self.changing}, {effect=}, {test=}, {fdr=})\n{table}"

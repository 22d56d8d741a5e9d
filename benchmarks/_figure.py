"""The figure of ``speed.py``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from _measure import by_library, epoch_seconds, ratios

matplotlib.use("Agg")
import matplotlib.pyplot as plt


def draw(rows: dict[str, Any], grown: dict[str, Any], file: Path) -> None:
    """Draw the growth, and the ratios as bars."""
    figure, axes = plt.subplots(1, 3, figsize=(13, 4), layout="constrained")
    for ax, (axis, by_size) in zip(axes, grown.items(), strict=False):
        draw_growth(ax, axis, by_size)
    draw_ratios(axes[2], rows)
    figure.savefig(file, dpi=150)
    plt.close(figure)


def draw_growth(ax: Any, axis: str, by_size: dict[int, Any]) -> None:
    """Seconds an epoch by size, both axes logarithmic."""
    # Okabe and Ito's vermillion and blue, with marks and dashes that differ too.
    looks = {"scvi": ("scVI", "#D55E00", "o--"), "lucidvi": ("LucidVI", "#0072B2", "s-")}
    for library, (name, color, style) in looks.items():
        seconds = [epoch_seconds(results[library][0]) for results in by_size.values()]
        ax.loglog(list(by_size), seconds, style, color=color, label=name)
    other = "2,000 genes" if axis == "cells" else "2,000 cells"
    ax.set(xlabel=f"{axis} (x {other})", ylabel="seconds an epoch")
    ax.grid(True, which="major", color="0.9")
    ax.legend(frameon=False)
    ax.spines[["top", "right"]].set_visible(False)


def draw_ratios(ax: Any, rows: dict[str, Any]) -> None:
    """How many times faster an epoch is, as bars with the range of the pairs."""
    values = [ratios(*by_library(results, epoch_seconds)) for results in rows.values()]
    middle = np.array([np.median(value) for value in values])
    low, high = (np.array([pick(value) for value in values]) for pick in (np.min, np.max))
    names = [name.replace(", ", ",\n", 1) for name in rows]
    bars = ax.barh(names, middle, xerr=[middle - low, high - middle], color="#56B4E9")
    ax.bar_label(bars, labels=[f" {value:.1f}x" for value in middle], padding=4)
    ax.axvline(1, color="0.3", linewidth=1)
    ax.set(xlabel="scVI's seconds an epoch / LucidVI's", xlim=(0, 1.35 * high.max()))
    ax.invert_yaxis()
    ax.spines[["top", "right"]].set_visible(False)

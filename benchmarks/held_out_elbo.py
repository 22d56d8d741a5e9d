"""Held-out ELBO of scvi-tools' SCVI and LucidVI's, trained in the same way on the same cells.

Run it with ``python benchmarks/held_out_elbo.py``; it rewrites ``benchmarks/held_out_elbo.md``.
"""

import logging
import platform
import warnings
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import scvi.model
import torch

import lucidvi.model
from lucidvi.data import pbmc68k

SEEDS = (0, 1, 2)
DRAWS = 50
MODELS = {"scvi-tools": scvi.model.SCVI, "LucidVI": lucidvi.model.SCVI}


def held_out_elbo(model_cls: type, seed: int) -> float:
    """Train with the defaults of scVI and return the ELBO in nats a cell, over several draws."""
    adata = pbmc68k()
    scvi.settings.seed = seed
    model_cls.setup_anndata(adata)
    model = model_cls(adata)
    preset = {"preset": "scvi"} if model_cls is lucidvi.model.SCVI else {}
    model.train(**preset)
    torch.manual_seed(0)
    draws = [float(model.get_elbo(indices=model.validation_indices)) for _ in range(DRAWS)]
    return float(np.mean(draws))


def main() -> None:
    """Measure and write the table."""
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    elbo = pd.DataFrame(
        {name: [held_out_elbo(cls, seed) for seed in SEEDS] for name, cls in MODELS.items()},
        index=pd.Index(SEEDS, name="seed"),
    )
    elbo["difference, %"] = 100 * (elbo["LucidVI"] / elbo["scvi-tools"] - 1).abs()
    packages = ", ".join(f"{name} {version(name)}" for name in ("scvi-tools", "torch", "lucidvi"))
    rows = [
        f"| {seed} | {row['scvi-tools']:.2f} | {row['LucidVI']:.2f} | {row['difference, %']:.3f} |"
        for seed, row in elbo.iterrows()
    ]
    text = "\n".join(
        [
            "# Held-out ELBO, trained with scVI's defaults",
            "",
            f"700 PBMC x 765 genes (`lucidvi.data.pbmc68k`), a tenth held out, mean of {DRAWS} "
            "draws, in nats a cell (higher is better).",
            "",
            "| seed | scvi-tools | LucidVI | difference, % |",
            "|---|---|---|---|",
            *rows,
            "",
            f"`python benchmarks/held_out_elbo.py` on {platform.machine()}, "
            f"Python {platform.python_version()}, {packages}.",
            "",
        ]
    )
    Path(__file__).with_suffix(".md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()

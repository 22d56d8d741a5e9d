"""A reference on disk: one folder of safe files, with a card that says what it is."""

from __future__ import annotations

import json
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

import anndata
import pandas as pd
import scvi
import torch

from lucidvi import __version__
from lucidvi._compat import SAVE_KEYS
from lucidvi.atlas._data import CALIBRATION, ReferenceData
from lucidvi.atlas.mapping._genes import EXPRESSION, INFORMATION
from lucidvi.atlas.mapping._setup import Setup
from lucidvi.data import category_texts
from lucidvi.errors import FileError, first_few
from lucidvi.files import (
    check_digest,
    check_free,
    digest_of,
    newest,
    reading,
    whole,
    writable,
    written_whole,
)
from lucidvi.model import class_of_saved
from lucidvi.results import Calibration

#: The layout of the folder; raised when older versions could not read it any more. Older ones are
#: read without their calibration: 1 has none, and 2 one of another novelty.
LAYOUT, LAYOUTS = 3, (1, 2, 3)
CELLS, FACTS, CARD = "cells.h5ad", "reference.json", "README.md"
#: Where digests of the files are that hold no checksums of their own.
DIGESTS = "sha256"
#: The main file of a save, see :func:`lucidvi.files.written_whole`.
MAIN = SAVE_KEYS.MODEL_FNAME


def write_folder(model: Any, data: ReferenceData, folder: Path, overwrite: bool) -> None:
    """Write a reference, see :meth:`lucidvi.atlas.Reference.save`."""
    folder = folder.expanduser()
    check_free(folder, overwrite, "reference")
    facts = facts_of(model, data)
    with writable(folder), written_whole(folder, MAIN, overwrite) as stage:
        model.save(str(stage), overwrite=True)
        data.cells.write_h5ad(
            stage / CELLS, compression="gzip", convert_strings_to_categoricals=False
        )
        facts[DIGESTS] = {CELLS: digest_of(stage / CELLS), FACTS: _digest_of_facts(facts)}
        (stage / FACTS).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
        (stage / CARD).write_text(card(facts), encoding="utf-8")


def read_folder(folder: Path) -> tuple[Any, ReferenceData]:
    """Return model and cells of a reference, see :meth:`lucidvi.atlas.Reference.load`."""
    folder = folder.expanduser()
    facts = _read_facts(folder)
    model = class_of_saved(str(folder), "mapped onto").load(str(folder), adata=False)
    file = newest(folder / CELLS, MAIN)
    check_digest(file, facts.get(DIGESTS, {}).get(CELLS), "Or save the reference again.")
    with reading(folder, "reference"):
        cells = anndata.read_h5ad(file)
        if facts["layout"] < LAYOUT:
            cells.uns.pop(CALIBRATION, None)
        coarser_keys = tuple(facts.get("coarser_keys", ()))
        setup = Setup.of(model)
        data = ReferenceData(cells, facts["labels_key"], coarser_keys, setup.batch_key)
        data.check(model.module.n_latent, category_texts(setup.batches), (EXPRESSION, INFORMATION))
    return model, data


def facts_of(model: Any, data: ReferenceData) -> dict[str, Any]:
    """Return what the card says of a reference."""
    return {
        "layout": LAYOUT,
        "labels_key": data.labels_key,
        "coarser_keys": data.coarser_keys,
        "n_cells": data.cells.n_obs,
        "n_genes": data.cells.n_vars,
        "n_latent": data.posteriors.loc.shape[1],
        "modalities": {
            key: {"n_features": one.n_features, "likelihood": one.likelihood.family}
            for key, one in model.module.modalities.items()
        },
        "labels": _n_cells(data.labels),
        "batches": None if data.batches is None else _n_cells(data.batches),
        "calibration": _calibration_facts(data.calibration),
        "bytes_per_cell": round(data.n_bytes_per_cell, 1),
        "versions": {
            "lucidvi": __version__,
            "scvi-tools": scvi.__version__,
            "torch": str(torch.__version__),
            "anndata": version("anndata"),
        },
    }


def _n_cells(categories: pd.Series) -> dict[str, int]:
    return {str(name): int(n) for name, n in categories.array.value_counts().items()}


def _calibration_facts(calibration: Calibration | None) -> dict[str, Any] | None:
    """Return what the card says of the calibration."""
    if calibration is None:
        return None
    kinds = {"known": False} | ({"new": True} if calibration.new_batches else {})
    return {
        "n_cells": calibration.n_cells,
        "held_out": calibration.held_out,
        "expected_calibration_error": {
            kind: {
                "raw": round(calibration.expected_calibration_error(new_batch=new, raw=True), 4),
                "calibrated": round(calibration.expected_calibration_error(new_batch=new), 4),
            }
            for kind, new in kinds.items()
        },
    }


def card(facts: dict[str, Any]) -> str:
    """Model card, in Markdown."""
    batches, modalities = facts["batches"], facts["modalities"]
    likelihood = next(iter(modalities.values()))["likelihood"]
    lines = [
        "# LucidVI reference",
        "",
        f"{facts['n_cells']:,} cells, {facts['n_genes']:,} genes, {facts['n_latent']} latent "
        f"dimensions, likelihood `{likelihood}`. It holds no counts: of each cell the "
        f"latent posterior, the label and the batch, {facts['bytes_per_cell']} bytes a cell.",
        "",
        "```python",
        "from lucidvi.atlas import Reference",
        "",
        'out = Reference.load("path/of/this/folder").map(query)',
        "```",
        "",
        f"| label (`{facts['labels_key']}`) | cells |",
        "|---|---|",
        *(f"| {name} | {n:,} |" for name, n in facts["labels"].items()),
        "",
        *(_modality_lines(modalities) if len(modalities) > 1 else []),
        *_calibration_lines(facts["calibration"]),
        *(["The model has no batches.", ""] if batches is None else _table("batch", batches)),
        "Made with " + ", ".join(f"{k} {v}" for k, v in facts["versions"].items()) + ".",
        "",
    ]
    return "\n".join(lines)


def _modality_lines(modalities: dict[str, Any]) -> list[str]:
    return [
        "| modality | features | likelihood |",
        "|---|---|---|",
        *(f"| {k} | {m['n_features']:,} | `{m['likelihood']}` |" for k, m in modalities.items()),
        "",
    ]


def _calibration_lines(calibration: dict[str, Any] | None) -> list[str]:
    if calibration is None:
        return ["Its confidences are not calibrated.", ""]
    whose = "that the model was not trained on" if calibration["held_out"] else "of its training"
    return [
        f"Calibrated on {calibration['n_cells']:,} cells {whose}. Expected calibration error of "
        "the labels' confidences:",
        "",
        "| batch of the query | share of votes | calibrated |",
        "|---|---|---|",
        *(
            f"| {kind} | {error['raw']:.3f} | {error['calibrated']:.3f} |"
            for kind, error in calibration["expected_calibration_error"].items()
        ),
        "",
    ]


def _table(name: str, counts: dict[str, int]) -> list[str]:
    return [
        f"| {name} | cells |",
        "|---|---|",
        *(f"| {k} | {n:,} |" for k, n in counts.items()),
        "",
    ]


def _read_facts(folder: Path) -> dict[str, Any]:
    file = newest(folder / FACTS, MAIN)
    if not file.exists():
        raise FileError(
            f"There is no reference at {folder}: {FACTS} is missing.",
            remedy="pass the folder that `reference.save(...)` wrote.",
        )
    with whole(file, "reference"):
        facts = json.loads(file.read_text(encoding="utf-8"))
        layout, digests = facts.get("layout"), facts.get(DIGESTS, {})
        digests.get(FACTS)
    if layout not in LAYOUTS:
        raise FileError(
            f"{file} has layout {layout!r}; this version of LucidVI reads "
            f"{first_few(LAYOUTS)} (keys: {first_few(facts)}).",
            remedy="pip install --upgrade lucidvi",
        )
    if digests.get(FACTS, _digest_of_facts(facts)) != _digest_of_facts(facts):
        raise FileError(
            f"{file} does not say what was saved: its digest is another one.",
            remedy="copy or download it again, or save the reference again.",
        )
    return facts


def _digest_of_facts(facts: dict[str, Any]) -> str:
    """Return a digest of everything that is said of a reference but its digests."""
    said = {key: value for key, value in facts.items() if key != DIGESTS}
    return sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()

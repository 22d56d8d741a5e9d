"""Whether a checkpoint is of the training that is to go on."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy import sparse

from lucidvi.errors import FileError

#: Packages whose state is in a checkpoint.
PACKAGES = ("lucidvi", "scvi-tools", "lightning", "torch")
#: Arguments of a training that do not change what comes out of it.
WITHOUT_EFFECT = {
    "accelerator",
    "callbacks",
    "default_root_dir",
    "devices",
    "enable_model_summary",
    "enable_progress_bar",
    "log_every_n_steps",
    "log_save_dir",
    "logger",
    "num_nodes",
    "profiler",
    "progress_bar_refresh_rate",
    "simple_progress_bar",
    "strategy",
}
#: Differences that a message names, and letters of a value that it shows.
N_NAMED, N_SHOWN = 3, 60


def versions() -> dict[str, str]:
    """Return the versions of the packages whose state is in a checkpoint."""
    return {f"version of {name}": version(name) for name in PACKAGES}


def described(name: str, value: Any) -> Iterator[tuple[str, str]]:
    """Yield the parts of an argument as text that is the same in every process.

    Parameters
    ----------
    name
        The argument as code.
    value
        Its value; of a dictionary each entry has a text of its own.
    """
    if isinstance(value, Mapping):
        for key, entry in value.items():
            yield from described(f"{name}[{key!r}]", entry)
    else:
        yield name, text_of(value)


def text_of(value: Any) -> str:
    """Return a value as text: arrays by their digest, functions by their names."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | complex | str | bytes):
        return repr(value)
    if isinstance(value, os.PathLike):
        return repr(os.fspath(value))
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    if sparse.issparse(value):
        value = value.toarray()
    if isinstance(value, pd.Index | pd.Series | pd.api.extensions.ExtensionArray):
        value = np.asarray(value)
    if isinstance(value, np.ndarray):
        return f"array of shape {value.shape}, {value.dtype}, {digest(value)[:12]}"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{k!r}: {text_of(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(text_of, value)) + "]"
    if isinstance(value, set | frozenset):
        return "{" + ", ".join(sorted(map(text_of, value))) + "}"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        entries = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        return f"{type(value).__name__}({text_of(entries)})"
    named = value if hasattr(value, "__qualname__") else type(value)
    return f"{named.__module__}.{named.__qualname__}"


def digest(values: np.ndarray) -> str:
    """Return a digest of an array, of numbers by their bytes and of anything else by its text."""
    is_plain = values.dtype.kind in "biufc"
    text = "\x1f".join(map(str, values.ravel().tolist()))
    content = np.ascontiguousarray(values).tobytes() if is_plain else text.encode()
    return hashlib.sha256(content).hexdigest()


def check_same(before: Mapping[str, str], now: Mapping[str, str], folder: Path) -> None:
    """Raise if a checkpoint is of another training.

    Parameters
    ----------
    before, now
        What the training was of when the checkpoint was written, and what it is of now.
    folder
        Where the checkpoint is.

    Raises
    ------
    lucidvi.errors.FileError
        It names what differs.
    """
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    if not names:
        return
    differences = [
        f"{name} was {_shown(before.get(name))} and is {_shown(now.get(name))}"
        for name in names[:N_NAMED]
    ]
    more = f", and {len(names) - N_NAMED} more differ" if len(names) > N_NAMED else ""
    raise FileError(
        f"The checkpoint in {folder} is of another training: {'; '.join(differences)}{more}. "
        "Nothing was changed.",
        remedy="go on with what it was; or start a training of its own, in another folder: "
        f'model.train(checkpoint_dir="{folder}-2", resume_from="{folder}-2")',
    )


def _shown(text: str | None) -> str:
    if text is None:
        return "not given"
    return text if len(text) <= N_SHOWN else f"{text[:N_SHOWN]}..."

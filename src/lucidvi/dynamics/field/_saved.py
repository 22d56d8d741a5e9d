"""A field in a file: arrays by name, and nothing that is run."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from lucidvi._random import isolated
from lucidvi.checks import listed
from lucidvi.errors import FileError
from lucidvi.files import read_arrays, write_arrays
from lucidvi.nn import Networks

#: Name and number of the layout; the number is raised when older versions could not read it.
KEY, LAYOUT = "lucidvi_field", 1
#: What is kept as it is, of one number and of several.
NUMBERS, ARRAYS = ("spread", "speed", "rate"), ("center", "axes", "times")
#: Networks that a field may have.
NETWORKS = ("velocities", "growths")
#: What is kept of the samples: a column each.
SAMPLES = "samples"

Arrays = dict[str, NDArray[Any]]


def write_field(field: Any, path: str | PathLike[str]) -> None:
    """Write a field, see :meth:`lucidvi.dynamics.VectorField.save`."""
    arrays: Arrays = {KEY: np.array(LAYOUT)}
    arrays |= {name: np.asarray(getattr(field, name)) for name in (*NUMBERS, *ARRAYS)}
    for name in NETWORKS:
        networks = getattr(field, name)
        if networks is not None:
            arrays |= {f"{name}/{k}": v.cpu().numpy() for k, v in networks.state_dict().items()}
    table = field.samples
    for name in table.columns:
        values = table[name].to_numpy()
        is_plain = values.dtype.kind in "biufU"
        arrays[f"{SAMPLES}/{name}"] = values if is_plain else values.astype(str)
    write_arrays(path, arrays)


def read_field(path: str | PathLike[str]) -> dict[str, Any]:
    """Return the parts of a field, see :meth:`lucidvi.dynamics.VectorField.load`."""
    saved: Arrays = read_arrays(path)
    layout = saved.get(KEY)
    if layout is None or layout.shape or layout.dtype.kind not in "iu" or layout != LAYOUT:
        found = "no field" if layout is None else f"a field of the layout {layout}"
        raise FileError(
            f"{str(path)!r} holds {found}.",
            remedy="Name a file that `field.save(...)` wrote, of this version or an older one.",
        )
    try:
        if not all(array.dtype.kind in "biufU" for array in saved.values()):
            raise ValueError("not all of its arrays are real numbers or texts")
        numbers = {name: float(saved[name]) for name in NUMBERS}
        arrays = {name: saved[name].astype(np.float64) for name in ARRAYS}
        networks = {name: _networks(_part(saved, name)) for name in NETWORKS}
        columns = _part(saved, SAMPLES)
        table = pd.DataFrame(
            columns, index=pd.Index(arrays["times"], name="time") if columns else None
        )
        _check_parts({**numbers, **arrays}, networks)
    except (KeyError, ValueError, RuntimeError, TypeError, IndexError) as error:
        raise FileError(
            f"{str(path)!r} is no whole field: {error}.", remedy="Save the field again."
        ) from error
    return {**numbers, **arrays, **networks, SAMPLES: table}


def _check_parts(values: Mapping[str, Any], networks: Mapping[str, Networks | None]) -> None:
    """Raise ValueError unless the parts fit each other and are numbers."""
    n = values["center"].size
    shapes = {"center": (n,), "axes": (n, n), "times": (values["times"].size,)}
    wrong = [name for name, shape in shapes.items() if values[name].shape != shape]
    wrong += [name for name, value in values.items() if not np.isfinite(value).all()]
    wrong += [name for name in NUMBERS if not values[name] > 0]
    if values["times"].size < 2 or (np.diff(values["times"]) <= 0).any():
        wrong.append("times")
    sizes = set()
    for name, one in networks.items():
        if one is None:
            wrong += ["velocities"] if name == "velocities" else []
            continue
        sizes.add(len(one.weights[0]))
        ends = one.weights[0].shape[1], one.weights[-1].shape[2]
        fits = ends[0] in (n, n + 1) and ends[1] == (n if name == "velocities" else 1)
        if not fits or not all(torch.isfinite(value).all() for value in one.parameters()):
            wrong.append(name)
    if wrong or len(sizes) > 1:
        raise ValueError(f"{listed(wrong or list(networks))} do not fit, or are no numbers")


def _part(saved: Arrays, name: str) -> Arrays:
    """Return what belongs to a part, by its names within it."""
    return {k.removeprefix(f"{name}/"): v for k, v in saved.items() if k.startswith(f"{name}/")}


def _networks(weights: Arrays) -> Networks | None:
    """Make networks of the shapes of their weights."""
    if not weights:
        return None
    n_layers = sum(name.startswith("weights.") for name in weights) - 1
    n_networks, n_in, n_hidden = weights["weights.0"].shape
    n_out = weights[f"weights.{n_layers}"].shape[-1]
    with isolated():  # initial weights are drawn, and replaced
        networks = Networks(n_networks, n_in, n_out, n_hidden, n_layers)
    networks.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
    return networks

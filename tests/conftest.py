"""What all tests share: real data sets, a seed, quiet progress bars."""

import logging
import os
import random
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("TQDM_DISABLE", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import numpy as np
import pytest
import torch
from anndata import AnnData, read_h5ad
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("LUCIDVI_DATA", ROOT.parent / "shared" / "data"))

settings.register_profile("lucidvi", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("lucidvi")
logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test that asks for real data."""
    for item in items:
        if "real_data" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.data)


@pytest.fixture(autouse=True)
def seed() -> int:
    """Seed every global generator, so that a test does not depend on those before it."""
    value = 0
    random.seed(value)
    np.random.seed(value)  # noqa: NPY002 (scvi and scanpy draw from the global generator)
    torch.manual_seed(value)
    return value


@pytest.fixture(scope="session")
def real_data() -> Callable[[str], AnnData]:
    """Return a function that reads a real data set by name, and skips where it is missing."""

    def read(name: str) -> AnnData:
        file = DATA / f"{name}.h5ad"
        if not file.exists():
            pytest.skip(f"no data set {name!r}: {file} is missing (set LUCIDVI_DATA)")
        return read_h5ad(file)

    return read

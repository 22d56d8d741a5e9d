"""Fast, tight and inspectable variational autoencoders for single-cell omics."""

from importlib import import_module
from importlib.metadata import version
from types import ModuleType

from lucidvi._progress import settings

__version__ = version("lucidvi")

#: What users call, imported when it is first asked for: torch and scvi-tools take seconds.
_PARTS = (
    "atlas",
    "audit",
    "checks",
    "data",
    "distributions",
    "dynamics",
    "errors",
    "files",
    "inference",
    "kernels",
    "model",
    "module",
    "nn",
    "pl",
    "results",
    "simulate",
    "train",
)

__all__ = ["__version__", "settings"]


def __getattr__(name: str) -> ModuleType:
    if name in _PARTS:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_PARTS])

"""Fast, tight and inspectable variational autoencoders for single-cell omics."""

from importlib.metadata import version

__version__ = version("lucidvi")

__all__ = ["__version__"]

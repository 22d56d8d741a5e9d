"""Cells given by the place of their files: opened, and left where they are."""

from lucidvi.data.opening._open_cells import are_paths, close_cells, open_cells, opened
from lucidvi.data.opening._several import can_stay, of_genes

__all__ = ["are_paths", "can_stay", "close_cells", "of_genes", "open_cells", "opened"]

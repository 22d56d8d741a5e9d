"""What is known of cells beside their counts: covariates, and what was measured in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lucidvi.data.modalities._panels import Panels

#: Tensors of some cells by registry key, each with one row a cell.
Minibatch = dict[str, Tensor]


def present_key(field: str) -> str:
    """Return the key of a minibatch for the mask of the cells that have a modality.

    Parameters
    ----------
    field
        Key of the modality's counts.
    """
    return f"{field}_present"


def features_key(field: str) -> str:
    """Return the key of a minibatch for the mask of the features that were measured.

    Parameters
    ----------
    field
        Key of the modality's counts.
    """
    return f"{field}_features"


@dataclass(frozen=True)
class Annotations:
    """Covariates of all cells, and what was measured in them.

    Parameters
    ----------
    values
        One row a cell, by key; among them, bool, which cells have a modality that some lack.
    panels
        Panel of each cell, and whether a panel measures a feature, by key; of the modalities of
        which a panel lacks a feature. The last panel is that of cells without the modality.
    """

    values: Minibatch
    panels: dict[str, tuple[Tensor, Tensor]]

    @classmethod
    def of(cls, covariates: Minibatch, panels: Mapping[str, Panels]) -> Annotations:
        """Return the annotations of cells.

        Parameters
        ----------
        covariates
            Their covariates, by registry key.
        panels
            What was measured, by the registry key of the counts.
        """
        present = {
            present_key(field): torch.from_numpy(cells.present)
            for field, cells in panels.items()
            if not cells.is_paired
        }
        partial = {
            features_key(field): (
                torch.from_numpy(cells.codes.astype(np.int64)),
                torch.from_numpy(cells.with_absent),
            )
            for field, cells in panels.items()
            if not cells.is_complete
        }
        return cls(covariates | present, partial)

    def to(self, device: torch.device) -> Annotations:
        """Return the same on a device."""
        values = {key: tensor.to(device) for key, tensor in self.values.items()}
        panels = {
            key: (codes.to(device), table.to(device))
            for key, (codes, table) in self.panels.items()
        }
        return Annotations(values, panels)

    def take(self, index: Tensor) -> Minibatch:
        """Return those of some cells.

        Parameters
        ----------
        index
            Positions of the cells, int64, shape ``(n,)``.
        """
        taken = {key: values[index] for key, values in self.values.items()}
        for key, (codes, table) in self.panels.items():
            taken[key] = table[codes[index]]
        return taken

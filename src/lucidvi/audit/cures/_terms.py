"""What cures depend on: how a model was made, and the cells that it is looked at with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import pandas as pd
from anndata import AnnData

from lucidvi.audit.cures._making import Making, Remake
from lucidvi.results import Cure

#: Hidden units beyond which a network is not made wider, and below which it is not narrowed.
WIDEST, NARROWEST = 1024, 16
#: Share of the cells, those with the fewest counts, that are left out where depth places them.
SHALLOW = 0.1


@dataclass(frozen=True, eq=False)
class Terms:
    """The terms of one model in which its cures are written.

    Parameters
    ----------
    making
        How the model was made.
    batch_key, labels_key
        Columns of ``obs`` that the model is looked at with.
    batch_has_gaps
        Whether values of the column of batches are missing.
    shallow
        Total counts below which a cell has few of them.
    """

    making: Making = field(default_factory=Making)
    batch_key: str | None = "batch"
    labels_key: str | None = None
    batch_has_gaps: bool = False
    shallow: float = 200

    @classmethod
    def of_model(
        cls,
        model: Any,
        adata: AnnData,
        batch_key: str | None = None,
        labels_key: str | None = None,
        total: np.ndarray | None = None,
    ) -> Self:
        """Read from a model, and the cells that it is looked at with, what cures depend on.

        Parameters
        ----------
        model
            A model of scvi-tools' kind.
        adata
            The cells.
        batch_key, labels_key
            Columns of ``obs``; by default what the model was set up with.
        total
            Total counts of cells.
        """
        making = Making.of(model, adata)
        batch_key = batch_key or making.setup.get("batch_key")
        column = adata.obs.get(batch_key) if batch_key else None
        return cls(
            making=making,
            batch_key=batch_key,
            labels_key=labels_key or making.setup.get("labels_key"),
            batch_has_gaps=column is not None and bool(pd.isna(column).any()),
            shallow=cls.shallow if total is None else float(np.quantile(total, SHALLOW)),
        )

    # -- what several cures need --------------------------------------------------------------

    def remake(self, *comment: str, making: Making | None = None, **changes: Any) -> str:
        """Return the code that makes the model again with some changes.

        Arguments that the model's constructor does not take are left out; without any change there
        is no cure.
        """
        making, wanted = making or self.making, changes.get("init", {})
        takes = making.init_takes
        init = {name: wanted[name] for name in wanted if takes is None or name in takes}
        others = ("before", "setup", "train")
        if wanted and not init and not any(changes.get(part) for part in others):
            return ""
        before = (*self.joined, *changes.get("before", ()))
        return Cure.of(Remake(making, comment, **changes | {"init": init, "before": before}))

    def of_likelihood(self, name: str) -> dict[str, Any]:
        """Return what gives the main modality another likelihood: arguments of :meth:`remake`."""
        if self.making.is_joined:
            return {"setup": {"modalities": {self.making.main: {"likelihood": name}}}}
        return {"init": {"gene_likelihood": name}}

    @property
    def counts(self) -> str:
        """Where the counts are, as code."""
        layer = self.making.setup.get("layer")
        return "adata.X" if layer is None else f"adata.layers[{layer!r}]"

    @property
    def joined(self) -> tuple[str, ...]:
        """Line that takes the cells as they were joined, if they were of several modalities."""
        return ("adata = model.adata  # all modalities in one",) if self.making.is_joined else ()

    @property
    def in_memory(self) -> tuple[str, ...]:
        """Line that reads the cells, if they are in a file."""
        return ("adata = adata.to_memory()",) if self.making.is_backed else ()

    def width(self, factor: float) -> int:
        """Hidden units, changed by a factor."""
        width = self.making.argument("n_hidden", 128)
        if factor > 1:
            return max(width, min(int(width * factor), WIDEST))
        return min(width, max(int(width * factor), NARROWEST))

    def told_of_batch(self, as_batch: bool = False) -> tuple[tuple[str, ...], dict[str, Any]]:
        """Return what tells the model of the column of batches: lines, and arguments of setup.

        Parameters
        ----------
        as_batch
            Whether it has to be what the model calls the batch, and not another covariate.
        """
        key, setup = self.batch_key, self.making.setup
        current, others = setup.get("batch_key"), list(setup.get("categorical_covariate_keys", []))
        if key is None or key == current or (key in others and not as_batch):
            return (), {}
        lines: tuple[str, ...] = ()
        if self.batch_has_gaps:
            # Not astype(str), which leaves gaps as they are in pandas 3.
            text = f"adata.obs[{key!r}].astype('string').fillna('unknown')"
            lines = (f"adata.obs[{key!r}] = {text}.astype('category')",)
        if current is None:
            rest = [name for name in others if name != key]
            left_out = {"categorical_covariate_keys": rest or None} if rest != others else {}
            return lines, {"batch_key": key, **left_out}
        if "categorical_covariate_keys" in self.making.setup_takes:
            if not as_batch:
                return lines, {"categorical_covariate_keys": [*others, key]}
            rest = [name for name in (*others, current) if name != key]
            return lines, {"batch_key": key, "categorical_covariate_keys": rest}
        both = f"{current}_and_{key}"
        line = (
            f"adata.obs[{both!r}] = adata.obs[{current!r}].astype(str) + ' ' + "
            f"adata.obs[{key!r}].astype(str)"
        )
        return (*lines, line), {"batch_key": both}

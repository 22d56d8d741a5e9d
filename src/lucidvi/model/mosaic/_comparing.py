"""Groups of cells compared, and counts drawn, modality by modality."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pandas as pd
import torch
from scvi.model.base import RNASeqMixin

from lucidvi._random import isolated
from lucidvi.model.expression._differential import DifferentialMixin, to_bayes_factors
from lucidvi.model.expression._predictive import PredictiveMixin
from lucidvi.model.mosaic._selection import SelectionMixin
from lucidvi.model.queries._arguments import to_loader
from lucidvi.model.queries._query import query
from lucidvi.model.queries._signature import like
from lucidvi.model.queries._which_posterior import of_either_posterior


class ComparingMixin(SelectionMixin, DifferentialMixin, PredictiveMixin):
    """What differs between cells in a modality, and what could have been counted of it."""

    @query(passes_to=to_bayes_factors)
    @like(RNASeqMixin.differential_expression, modality=None, seed=None)
    def differential_expression(
        self, modality: str | None, seed: int | None, **arguments: Any
    ) -> pd.DataFrame:
        """Compare a modality of groups of cells.

        Cells that lack the modality can be in a group, since their states are known: those of
        batches in which it was not measured are decoded as of batches in which it was. Raw
        statistics are of the cells in which a feature was measured, NaN where there is none.

        Raises
        ------
        lucidvi.errors.DataError
            If a group has no cells, or there is no such modality.
        lucidvi.errors.MissingKeyError
            If there is no column ``groupby``.
        """
        with nullcontext() if seed is None else isolated(seed):
            return self._differential_expression(arguments, self._modality_name(modality))

    @of_either_posterior
    @query(needs_counts=True, passes_to=to_loader)
    @like(RNASeqMixin.posterior_predictive_sample, modality=None)
    @torch.inference_mode()
    def posterior_predictive_sample(self, modality: str | None, **arguments: Any) -> Any:
        """Draw counts of a modality of each cell from the posterior predictive distribution.

        Cells that lack the modality have the exposure of a typical cell, and those of batches in
        which it was not measured are decoded as of batches in which it was.

        Raises
        ------
        lucidvi.errors.UnknownGeneError
            If ``gene_list`` names a feature that the modality does not have.
        """
        name = self._modality_name(modality)
        return self._predictive_draws(arguments, self.get_feature_names(name), name)

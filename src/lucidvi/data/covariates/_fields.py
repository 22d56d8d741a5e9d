"""scvi's fields of categories, with the values of a query matched whatever their dtype."""

from __future__ import annotations

from typing import Any

import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray
from scvi.data.fields import CategoricalJointObsField, CategoricalObsField

from lucidvi._compat import make_column_categorical
from lucidvi.data.covariates._equality import readable
from lucidvi.data.covariates._matching import OF_FIELDS, Column, check_distinct, matched_codes


class MatchedObsField(CategoricalObsField):
    """A column of categories.

    Differs from scvi-tools: a query's values are matched with the model's categories by
    :func:`~lucidvi.data.covariates._matching.matched_codes`, for all ways in.
    """

    def register_field(self, adata: AnnData) -> dict[str, Any]:
        """Register the column as it is."""
        if self.is_default:
            return super().register_field(adata)
        self.validate_field(adata)
        column = adata.obs[self._original_attr_key]
        check_distinct(column, self._column)
        adata.obs[self.attr_key], categories = _made_categorical(column, self.attr_key)
        return {
            self.CATEGORICAL_MAPPING_KEY: categories,
            self.ORIGINAL_ATTR_KEY: self._original_attr_key,
        }

    def transfer_field(
        self,
        state_registry: dict[str, Any],
        adata_target: AnnData,
        extend_categories: bool = False,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Register the column of a query, by the categories of a model."""
        if self.is_default:
            return super().transfer_field(
                state_registry, adata_target, extend_categories=extend_categories, **kwargs
            )
        self.validate_field(adata_target)
        codes, categories = matched_codes(
            adata_target.obs[self._original_attr_key],
            state_registry[self.CATEGORICAL_MAPPING_KEY],
            self._column,
            extend=extend_categories,
        )
        adata_target.obs[self.attr_key] = _coded(codes, categories, self.attr_key)
        return {
            self.CATEGORICAL_MAPPING_KEY: categories,
            self.ORIGINAL_ATTR_KEY: self._original_attr_key,
        }

    @property
    def _column(self) -> Column:
        argument = OF_FIELDS.get(self.registry_key, f"{self.registry_key}_key")
        return Column(self._original_attr_key, argument)


class MatchedJointObsField(CategoricalJointObsField):
    """Several columns of categories, matched as those of :class:`MatchedObsField`."""

    def register_field(self, adata: AnnData) -> dict[str, Any]:
        """Register the columns as they are."""
        self.validate_field(adata)
        coded, mappings = {}, {}
        for key in self.attr_keys:
            check_distinct(adata.obs[key], _covariate(key))
            coded[key], mappings[key] = _made_categorical(adata.obs[key], key)
        return self._registered(adata, coded, mappings)

    def transfer_field(
        self,
        state_registry: dict[str, Any],
        adata_target: AnnData,
        extend_categories: bool = False,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Register the columns of a query, by the categories of a model."""
        self.validate_field(adata_target)
        coded, mappings = {}, {}
        for key in self.attr_keys:
            codes, mappings[key] = matched_codes(
                adata_target.obs[key],
                state_registry[self.MAPPINGS_KEY][key],
                _covariate(key),
                extend=extend_categories,
            )
            coded[key] = _coded(codes, mappings[key], key)
        return self._registered(adata_target, coded, mappings)

    def _registered(
        self, adata: AnnData, coded: dict[str, NDArray[Any]], mappings: dict[str, NDArray[Any]]
    ) -> dict[str, Any]:
        """Store the codes, and return what is registered."""
        adata.obsm[self.attr_key] = pd.DataFrame(coded, index=adata.obs_names)
        return {
            self.MAPPINGS_KEY: mappings,
            self.FIELD_KEYS_KEY: self.attr_keys,
            self.N_CATS_PER_KEY: [len(mapping) for mapping in mappings.values()],
        }


def _covariate(key: str) -> Column:
    return Column(key, "categorical_covariate_keys")


def _made_categorical(column: pd.Series, key: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return codes in scvi's dtype and the categories, with its warning of those of few cells."""
    frame = pd.DataFrame({key: readable(column)})
    categories = make_column_categorical(frame, key, key)
    return frame[key].to_numpy(), categories


def _coded(codes: NDArray[Any], categories: NDArray[Any], key: str) -> NDArray[Any]:
    """Return codes in scvi's dtype, with its warning of categories that have few cells."""
    frame = pd.DataFrame({key: pd.Categorical.from_codes(codes, categories=categories)})
    make_column_categorical(frame, key, key, categorical_dtype=frame[key].dtype)
    return frame[key].to_numpy()

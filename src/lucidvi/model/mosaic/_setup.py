"""Setting up a MuData, or an AnnData with counts of further modalities, for one model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pandas as pd
from anndata import AnnData
from mudata import MuData
from scipy import sparse
from scvi import REGISTRY_KEYS
from scvi.model.base import BaseModelClass

from lucidvi._compat import MANAGER_UUID_KEY
from lucidvi._kinds import checked
from lucidvi.data import check_keys, is_joined, join, read_modalities, register_joined
from lucidvi.data.mosaic import change
from lucidvi.errors import DataError
from lucidvi.model._documentation import described
from lucidvi.model.mosaic._selection import modality_states
from lucidvi.module.mosaic import KINDS

#: Exposure of a typical cell where no cell has a modality.
NO_EXPOSURE = 1.0


class Setting(NamedTuple):
    """What a MuData or AnnData was set up with, and the cells as they were joined then."""

    joined: AnnData
    modalities: Mapping[str, Any]
    keys: dict[str, Any]


class MosaicSetupMixin(BaseModelClass):
    """Setting up cells of several modalities, and reading others as they were read."""

    #: By the identifier that is written into ``uns`` of what was set up.
    _settings: ClassVar[dict[str, Setting]] = {}

    @classmethod
    @checked
    def setup_mudata(
        cls,
        mdata: MuData,
        modalities: Mapping[str, Any] | None = None,
        batch_key: str | None = None,
        labels_key: str | None = None,
        categorical_covariate_keys: list[str] | None = None,
        continuous_covariate_keys: list[str] | None = None,
    ) -> None:
        """Set up a MuData, as it is, for this model.

        Cells are paired by their names, whatever their order in each modality; a cell need not
        have every modality, nor a batch every feature. A table says which cells have what.

        Parameters
        ----------
        mdata
            Cells. Only ``uns`` is written to.
        modalities
            Kind of each modality by its name, such as ``{"rna": "rna", "prot": "protein"}``; the
            first is the main one. Kinds are ``"rna"``, ``"protein"``, ``"accessibility"`` and
            ``"counts"`` of anything else, such as guides. In place of a kind, a dictionary with
            ``kind`` and any of ``layer``, ``likelihood``, ``weight`` and ``measured``: ``"all"``
            where every zero was counted, ``"found"`` where a feature without a count in a batch
            was not measured in it, names of features by batch, or a boolean table of batches and
            features.
        batch_key, labels_key, categorical_covariate_keys, continuous_covariate_keys
            Columns of ``mdata.obs``, or of the ``obs`` of the modalities.

        Raises
        ------
        lucidvi.errors.DataError
            If counts are no counts, names are repeated, a modality or a cell has nothing, or it
            is open whether zeros were measured. It names the place and the remedy.
        lucidvi.errors.MissingKeyError
            If a modality, a layer or a column does not exist.
        """
        keys = _keys(batch_key, labels_key, categorical_covariate_keys, continuous_covariate_keys)
        cls._set_up(mdata, modalities, keys)

    @classmethod
    @described
    def setup_anndata(
        cls,
        adata: AnnData,
        modalities: Mapping[str, Any] | None = None,
        batch_key: str | None = None,
        labels_key: str | None = None,
        categorical_covariate_keys: list[str] | None = None,
        continuous_covariate_keys: list[str] | None = None,
        **kwargs: Any,
    ) -> None:
        """Set up an AnnData whose ``obsm`` holds counts of further modalities.

        Parameters
        ----------
        adata
            Cells: the main modality in ``X`` or a layer, each other one in ``obsm``, as a table,
            an array or sparse, in which -1 and NaN mean that a feature was not measured.
        modalities
            See :meth:`setup_mudata`; a dictionary may also have ``obsm``, the key of ``obsm``
            where it is not the modality's name, and ``names`` of the features of an array. Of
            cells that are joined already, ``model.adata``, it changes likelihoods and weights.
        batch_key, labels_key, categorical_covariate_keys, continuous_covariate_keys
            Columns of ``adata.obs``.
        **kwargs
            For cells of a saved model, see
            :meth:`~lucidvi.data.CheckedAnnDataManager.register_fields`.
        """
        keys = _keys(batch_key, labels_key, categorical_covariate_keys, continuous_covariate_keys)
        if is_joined(adata):
            if modalities:
                change(adata, modalities, KINDS)
            cls._register(adata, keys, **kwargs)
        else:
            cls._set_up(adata, modalities, keys)

    @classmethod
    def _set_up(
        cls,
        data: MuData | AnnData,
        modalities: Mapping[str, Any] | None,
        keys: dict[str, Any],
    ) -> None:
        modalities = {} if modalities is None else modalities
        check_keys(keys)
        if data.is_view:  # writing makes it actual, and mudata 0.3 then puts cells in other order
            data.uns[MANAGER_UUID_KEY] = ""
        joined = join(data, modalities, KINDS, **keys)
        cls._register(joined, keys)
        identifier = joined.uns[MANAGER_UUID_KEY]
        data.uns[MANAGER_UUID_KEY] = identifier
        cls._settings[identifier] = Setting(joined, modalities, keys)

    @classmethod
    def _register(cls, joined: AnnData, keys: dict[str, Any], **kwargs: Any) -> None:
        """Register joined cells, as a saved model's data are registered again."""
        setup_method_args = {
            "model_name": cls.__name__,
            "setup_method_name": "setup_anndata",
            "setup_args": dict(keys),
        }
        cls.register_manager(register_joined(joined, setup_method_args, **kwargs))

    @classmethod
    def _joined(cls, data: Any) -> Any:
        """Return the joined cells of what was set up, which must not have changed since."""
        if data is None or is_joined(data) or not isinstance(data, MuData | AnnData):
            return data
        setting = cls._settings.get(data.uns.get(MANAGER_UUID_KEY, ""))
        if setting is None:
            name = "mdata" if isinstance(data, MuData) else "adata"
            raise DataError(
                f"`{name}` was not set up for {cls.__name__}.",
                remedy=f"{cls.__name__}.setup_{'mu' if name == 'mdata' else 'ann'}data({name}, "
                'modalities={"rna": "rna", "prot": "protein"}, batch_key=...)',
            )
        if not _is_same(join(data, setting.modalities, KINDS, **setting.keys), setting.joined):
            raise DataError(
                "The cells are not those that were set up: counts, names or columns have changed "
                "since.",
                remedy=f"call {cls.__name__}.setup_mudata(...) or setup_anndata(...) again.",
            )
        return setting.joined

    def _module_dimensions(self) -> dict[str, Any]:
        """Read from the registry and the data what the module has to know of them."""
        states = modality_states(self.registry)
        covariates = self.registry["field_registries"].get(REGISTRY_KEYS.CAT_COVS_KEY, {})
        n_cats = covariates.get("state_registry", {}).get("n_cats_per_key")
        n_batch = self.summary_stats.n_batch
        measured, typical, n_cells = None, None, None
        if self.adata is not None:
            measured, typical, n_cells = _statistics(self.adata, self.adata_manager, n_batch)
        return {
            "parts": {name: _part(state) for name, state in states.items()},
            "n_batch": n_batch,
            "n_continuous_cov": self.summary_stats.get("n_extra_continuous_covs", 0),
            "n_cats_per_cov": None if n_cats is None else tuple(n_cats),
            "measured": measured,
            "typical_exposures": typical,
            "n_cells": n_cells,
        }


def _keys(
    batch_key: str | None,
    labels_key: str | None,
    categorical_covariate_keys: list[str] | None,
    continuous_covariate_keys: list[str] | None,
) -> dict[str, Any]:
    """Return the arguments that name columns, as a registry keeps them."""
    return dict(locals())


def joined_for(
    registry: Mapping[str, Any], data: MuData | AnnData, batch_key: str | None = None
) -> AnnData:
    """Return cells joined with the modalities and features that a registry tells of.

    Parameters
    ----------
    registry
        Of a model.
    data
        Cells; joined ones are returned as they are where they have these features.
    batch_key
        Column of the cells with the batches; by default the one that the registry names.
    """
    states = modality_states(dict(registry))
    features = {name: list(state["features"]) for name, state in states.items()}
    if is_joined(data):
        own = read_modalities(data)
        if {name: list(m.features) for name, m in own.items()} == features:
            return data
        raise DataError(
            "adata was joined of several modalities with other features than the model's: "
            f"{', '.join(own)}.",
            remedy="give the MuData or the AnnData that it was joined of.",
        )
    modalities = {name: _specification(state, data) for name, state in states.items()}
    keys = dict(registry["setup_args"])
    keys["batch_key"] = keys["batch_key"] if batch_key is None else batch_key
    return join(data, modalities, KINDS, features=features, **keys)


def _specification(state: Mapping[str, Any], data: Any) -> dict[str, Any]:
    specification = {
        key: value for key, value in state["specification"].items() if value is not None
    }
    if specification.get("measured") == "by batch":
        del specification["measured"]
    if isinstance(data, MuData):
        for key in ("obsm", "names"):
            specification.pop(key, None)
    return specification


def _part(state: Mapping[str, Any]) -> dict[str, Any]:
    specification = state["specification"]
    return {
        "kind": state["kind"],
        "n_features": len(state["features"]),
        "likelihood": specification.get("likelihood"),
        "weight": float(specification.get("weight", 1.0)),
    }


def _statistics(
    adata: AnnData, manager: Any, n_batch: int
) -> tuple[np.ndarray, list[float], list[int]]:
    """In which batches each modality was measured, a typical cell's exposure, and how many."""
    batches = np.ravel(manager.get_from_registry(REGISTRY_KEYS.BATCH_KEY))
    modalities = read_modalities(adata)
    measured = np.zeros((len(modalities), n_batch), dtype=bool)
    typical = []
    for row, modality in enumerate(modalities.values()):
        present = modality.panels.present
        measured[row, np.unique(batches[present]).astype(int)] = True
        totals = np.asarray(modality.counts(adata)[present].sum(axis=1)).ravel()
        totals = totals[totals > 0]
        typical.append(float(np.median(totals)) if len(totals) else NO_EXPOSURE)
    n_cells = [int(modality.panels.present.sum()) for modality in modalities.values()]
    return measured, typical, n_cells


def _is_same(one: AnnData, other: AnnData) -> bool:
    """Whether two joined AnnData hold the same cells, counts and columns."""
    names = one.obs.columns
    if one.shape != other.shape or not one.obs_names.equals(other.obs_names):
        return False
    if not one.var_names.equals(other.var_names) or set(one.obsm) - set(other.obsm):
        return False
    pairs = [(one.X, other.X), *((one.obsm[key], other.obsm[key]) for key in one.obsm)]
    if not all(_equal(a, b) for a, b in pairs):
        return False
    return all(
        name in other.obs and _same_values(one.obs[name], other.obs[name]) for name in names
    )


def _equal(one: Any, other: Any) -> bool:
    one, other = sparse.csr_matrix(one), sparse.csr_matrix(other)
    return one.shape == other.shape and (one != other).nnz == 0


def _same_values(one: pd.Series, other: pd.Series) -> bool:
    # In pandas 3 what is missing stays so as text, and is unlike itself.
    alike = one.astype(str).to_numpy(dtype=object) == other.astype(str).to_numpy(dtype=object)
    return bool((alike | (one.isna() & other.isna()).to_numpy()).all())

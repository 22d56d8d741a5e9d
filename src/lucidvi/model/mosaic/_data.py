"""Cells of several modalities wherever a model takes cells: joined as its own were."""

from __future__ import annotations

from os import PathLike
from typing import Any, Self

from anndata import AnnData
from mudata import MuData
from scvi.model.base import BaseModelClass

from lucidvi.data import are_paths, open_cells
from lucidvi.files import whole
from lucidvi.model._base import LucidModel, registry_of
from lucidvi.model._documentation import described
from lucidvi.model.mosaic._setup import MosaicSetupMixin, joined_for


class MosaicDataMixin(MosaicSetupMixin, BaseModelClass):
    """Takes a MuData, or an AnnData with modalities in ``obsm``, in place of joined cells."""

    @property
    def adata(self) -> AnnData | None:
        """The model's cells, joined: the main modality in ``X``, each other one in ``obsm``.

        A MuData may be assigned, too.
        """
        return super().adata

    @adata.setter
    def adata(self, data: MuData | AnnData) -> None:
        LucidModel.adata.fset(self, self._read_as_mine(data))  # type: ignore[attr-defined]

    def _read_as_mine(self, data: Any, batch_key: str | None = None) -> Any:
        """Return cells joined with the modalities and features of this model."""
        data = open_cells(data) if are_paths(data) else data
        if data is self.adata or not isinstance(data, MuData | AnnData):
            return data
        return joined_for(self.registry, data, batch_key)

    def _resolve(self, name: str, arguments: dict[str, Any], needs_counts: bool) -> None:
        """Put into the arguments of a method what they mean."""
        if arguments.get("adata") is not None:
            arguments["adata"] = self._read_as_mine(arguments["adata"])
        super()._resolve(name, arguments, needs_counts)

    def _validate_anndata(
        self, adata: AnnData | None = None, copy_if_view: bool = True
    ) -> AnnData:
        """Register cells with this model."""
        return super()._validate_anndata(self._read_as_mine(adata), copy_if_view)

    @classmethod
    def load(cls, dir_path: str, adata: Any = None, *args: Any, **kwargs: Any) -> Self:
        """Load a saved model.

        Parameters
        ----------
        dir_path
            Folder that :meth:`save` wrote.
        adata
            MuData, or AnnData as in :meth:`setup_anndata`, with any of the model's modalities and
            features; see :meth:`LucidModel.load`.
        *args, **kwargs
            See :meth:`LucidModel.load`.
        """
        adata = open_cells(adata) if are_paths(adata) else adata
        if isinstance(adata, MuData | AnnData):
            registry = cls.load_registry(dir_path, kwargs.get("prefix"))
            with whole(dir_path, f"saved {cls.__name__}"):
                adata = joined_for(registry, adata)
        return super().load(dir_path, adata, *args, **kwargs)

    @classmethod
    @described
    def load_query_data(
        cls,
        adata: Any = None,
        reference_model: str | LucidModel | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> Self:
        """Make a model of query cells from a reference model (scArches).

        Parameters
        ----------
        adata
            MuData, or AnnData as in :meth:`setup_anndata`, of the query.
        reference_model
            Trained model, or the folder of a saved one.
        *args, **kwargs
            See :meth:`LucidModel.load_query_data`, which says what may change.
        """
        adata = open_cells(adata) if are_paths(adata) else adata
        known = isinstance(reference_model, str | PathLike | LucidModel)
        if isinstance(adata, MuData | AnnData) and known:
            adata = joined_for(registry_of(reference_model), adata)
        return super().load_query_data(adata, reference_model, *args, **kwargs)

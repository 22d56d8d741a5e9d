"""From AnnData to a model: setting up, binding, and other data in the model's own form."""

from __future__ import annotations

from typing import Any

from anndata import AnnData
from scvi import REGISTRY_KEYS
from scvi.model.base import BaseMinifiedModeModelClass, BaseModelClass

from lucidvi._compat import adata_minify_type
from lucidvi.data import (
    CheckedAnnDataManager,
    align_genes,
    complete,
    opened,
)


class DataMixin(BaseModelClass):
    """The data of a model, and other data that it is asked about."""

    @property
    def adata(self) -> AnnData | None:
        """The model's data.

        Differs from scvi-tools: what is assigned is brought into the model's order of genes, and
        posteriors that it stores (see :class:`RefinedPosteriors`) are used in place of the
        encoder's.
        """
        return super().adata

    @adata.setter
    def adata(self, adata: AnnData) -> None:
        if adata is not None:
            adata = opened(adata, "model.adata = ")
        complete(adata)
        is_first = adata is None or self.adata is None
        aligned = adata if is_first else align_genes(adata, self.get_var_names())
        BaseMinifiedModeModelClass.adata.fset(self, aligned)
        module = getattr(self, "module", None)
        if module is not None:
            module.minified_data_type = self.minified_data_type

    def _read_as_mine(self, data: Any, batch_key: str | None = None) -> Any:
        """Return cells in the form in which this model reads them, such as joined modalities.

        Parameters
        ----------
        data
            The cells.
        batch_key
            Their column with the batches; by default the one of the setup.
        """
        return data

    def _watch_data(self, *, uses_labels: bool) -> None:
        """Raise if the data have changed since they were set up; labels count where used."""
        manager = getattr(self, "_adata_manager", None)  # a model without data has none
        if isinstance(manager, CheckedAnnDataManager):
            manager.ignored = () if uses_labels else ("labels_key",)
            manager.check_unchanged(manager.sample)

    def _validate_anndata(
        self, adata: AnnData | None = None, copy_if_view: bool = True
    ) -> AnnData:
        """Register an AnnData with this model, its genes in the model's order."""
        if adata is not None and adata is not self.adata:
            complete(adata)
            aligned = align_genes(adata, self.get_var_names())
            if aligned is not adata:
                self._forget(getattr(self, "_aligned", None))  # that of an earlier call
                self._aligned = aligned
            adata = aligned
        adata = super()._validate_anndata(adata, copy_if_view=copy_if_view)
        manager = self.get_anndata_manager(adata, required=True)
        if isinstance(manager, CheckedAnnDataManager):
            manager.renews = manager is not self.adata_manager
        kind = adata_minify_type(adata)
        if kind is not None and REGISTRY_KEYS.MINIFY_TYPE_KEY not in manager.data_registry:
            manager.register_new_fields(self._get_fields_for_adata_minification(kind))
        return adata

    def _forget(self, adata: AnnData | None) -> None:
        """Drop an AnnData that was asked about, which the model would keep alive."""
        managers = self._per_instance_manager_store.get(self.id, {})
        for uuid in [uuid for uuid, manager in managers.items() if manager.adata is adata]:
            del managers[uuid]

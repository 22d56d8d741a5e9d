"""What scvi-tools before 1.5 cannot show or change of a model's registry."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from scvi.data import AnnDataManager
from scvi.model.base import BaseModelClass


class RegistryMixin(BaseModelClass):
    """Show and amend the registry, with or without an AnnData."""

    def view_registry(self, hide_state_registries: bool = False) -> None:
        """Print the registry.

        Differs from scvi-tools: before 1.5 it raises an AttributeError.

        Parameters
        ----------
        hide_state_registries
            Leave out the categories of each field.
        """
        if self.adata_manager is not None:
            self.adata_manager.view_registry(hide_state_registries=hide_state_registries)
            return
        self.view_setup_method_args()
        console = Console()
        stats = AnnDataManager._get_summary_stats_from_registry(self.registry_)
        console.print(AnnDataManager._view_summary_stats(stats))

    def update_setup_method_args(self, setup_method_args: dict[str, Any]) -> None:
        """Change arguments of the setup that are stored with the model.

        Differs from scvi-tools: before 1.5 it raises an AttributeError.

        Parameters
        ----------
        setup_method_args
            New values by argument of :meth:`setup_anndata`.
        """
        self.registry_["setup_args"].update(setup_method_args)

"""What every model needs, whatever it is observed of cells and through which likelihood."""

from __future__ import annotations

import inspect
import warnings
from functools import wraps
from os import PathLike
from typing import Any, Self

import scvi
from anndata import AnnData
from scvi.model.base import ArchesMixin, BaseModelClass, VAEMixin

from lucidvi._kinds import check_kinds
from lucidvi.data import CellLoader, align_genes, are_paths, opened
from lucidvi.errors import ModelTypeError
from lucidvi.model._data import DataMixin
from lucidvi.model._documentation import documented
from lucidvi.model._files import SafeFilesMixin
from lucidvi.model._loaded import check_module
from lucidvi.model._minified import MinifiedMixin
from lucidvi.model._registry import RegistryMixin
from lucidvi.model._surgery import FROZEN_LATENT, latent_can_move
from lucidvi.model._training import TrainingMixin
from lucidvi.model.posteriors._abundance import AbundanceMixin
from lucidvi.model.posteriors._canonical import CanonicalMixin
from lucidvi.model.posteriors._decoded import DecodedMixin
from lucidvi.model.posteriors._inference import InferenceMixin
from lucidvi.model.posteriors._latent import LatentMixin
from lucidvi.model.posteriors._likelihood import LikelihoodMixin
from lucidvi.model.queries._errors import errors_of_query
from lucidvi.model.queries._query import QueryMixin


@documented
class LucidModel(
    SafeFilesMixin,
    QueryMixin,
    LatentMixin,
    LikelihoodMixin,
    DecodedMixin,
    AbundanceMixin,
    DataMixin,
    InferenceMixin,
    CanonicalMixin,
    RegistryMixin,
    VAEMixin,
    ArchesMixin,
    TrainingMixin,
    MinifiedMixin,
):
    """Base of all models: data, files, training, posteriors and queries of latent states.

    A model is a class with ``setup_anndata``, which registers what it reads; ``_module_cls``, its
    module, see :class:`lucidvi.module.Generative`; and a constructor that calls
    ``_make_module``. One row of :data:`lucidvi.model.MODELS` lets files and commands read it.

    Parameters
    ----------
    adata
        AnnData that was registered with ``setup_anndata``. If neither it nor ``registry`` is
        there, the module is made when :meth:`train` is called with a ``datamodule``.
    registry
        Registry of a datamodule, or of a saved model, in place of ``adata``.
    """

    _data_loader_cls = CellLoader
    #: Where the means and variances of stored posteriors are, in ``obsm``.
    _LATENT_QZM_KEY = "lucidvi_latent_qzm"
    _LATENT_QZV_KEY = "lucidvi_latent_qzv"
    #: Arguments of the module that are read from the data, which no constructor takes.
    _from_the_data: tuple[str, ...] = ()
    #: Classes of scvi-tools from whose models :meth:`from_scvi_model` makes one of this class.
    _scvi_tools_classes: tuple[type[BaseModelClass], ...] = ()

    def __init__(
        self, adata: AnnData | None = None, registry: dict[str, Any] | None = None
    ) -> None:
        if are_paths(adata):
            name, place = type(self).__name__, repr(adata)
            raise ModelTypeError(
                f"adata is {place}, and not cells that were set up.",
                remedy=f"adata = {name}.setup_anndata({place}), which opens the file and returns "
                f"its cells; model = {name}(adata)",
            )
        super().__init__(adata, registry)

    def _make_module(
        self, shown: dict[str, Any], further: dict[str, Any], *, uses_labels: bool = False
    ) -> None:
        """Make the module with what the data say of it, or leave that to a training.

        Parameters
        ----------
        shown
            Arguments of the module that ``summary_string`` shows.
        further
            Its other arguments.
        uses_labels
            Whether labels change the model, as in a dispersion by label.
        """
        self._watch_data(uses_labels=uses_labels)
        self._module_kwargs = {**shown, **further}
        check_kinds(inspect.signature(self._module_cls.__init__), self._module_kwargs)
        parameters = ", ".join(f"{name}: {value}" for name, value in shown.items())
        self._model_summary_string = (
            f"LucidVI {type(self).__name__} model with the following parameters: \n{parameters}"
        )
        if self._module_init_on_train:
            self.module = None
            warnings.warn(
                "Model was initialized without `adata`. The module will be initialized when "
                "calling `train`. This behavior is experimental and may change in the future.",
                UserWarning,
                stacklevel=scvi.settings.warnings_stacklevel + 1,
            )
        else:
            arguments = {**self._module_dimensions(), **self._module_kwargs}
            check_module(lambda: self._module_cls(**arguments), arguments)
            self.module = self._module_cls(**arguments)
            self.module.minified_data_type = self.minified_data_type

    def _module_dimensions(self) -> dict[str, Any]:
        """Read from the registry what the module has to know of the data."""
        return {}

    @property
    def summary_string(self) -> str:
        """What the model is, whether it is trained, and by which preset.

        Differs from scvi-tools: it says LucidVI, and the preset of the training.
        """
        preset = getattr(self, "preset_", None)
        lines = super().summary_string.splitlines()
        if preset is not None:
            is_status = [line.startswith("Training status") for line in lines]
            lines[is_status.index(True)] += f" (preset: {preset})"
        return "\n".join(lines)

    def __repr__(self) -> str:
        return self.summary_string

    @classmethod
    @wraps(ArchesMixin.load_query_data.__func__, assigned=())
    def load_query_data(
        cls,
        adata: AnnData | None = None,
        reference_model: str | LucidModel | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> Self:
        """Make a model of query cells from a reference model (scArches).

        The query gets weights for its new batches; which of the others may change is said by the
        arguments.

        Differs from scvi-tools: takes genes by name, warns if nothing that training may change
        can move the query's latent representation and names what to set, and reads a saved
        reference safely.

        Parameters
        ----------
        adata
            Query cells with the reference's genes; see :meth:`prepare_query_anndata`. Where they
            have to be put in order, the model gets a copy.
        reference_model
            Trained model, or the folder of a saved one.
        *args, **kwargs
            See :meth:`scvi.model.base.ArchesMixin.load_query_data`.
        """
        if adata is not None:
            adata = opened(adata)
        in_place = args[1] if len(args) > 1 else kwargs.get("inplace_subset_query_vars", False)
        if isinstance(adata, AnnData) and reference_model is not None and not in_place:
            genes = cls.prepare_query_anndata(
                adata, reference_model, return_reference_var_names=True
            )
            adata = align_genes(adata, genes)
        with errors_of_query(adata, lambda: registry_of(reference_model)):
            model = super().load_query_data(adata, reference_model, *args, **kwargs)
        if model.adata is not None and not latent_can_move(model, model.adata):
            warnings.warn(FROZEN_LATENT, UserWarning, stacklevel=scvi.settings.warnings_stacklevel)
        return model


def registry_of(model: Any) -> dict[str, Any]:
    """Return the registry of a model, or of one in a folder; empty of anything else."""
    if isinstance(model, str | PathLike):
        return SafeFilesMixin.load_registry(str(model))
    return getattr(model, "registry", {})

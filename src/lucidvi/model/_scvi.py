"""The drop-in replacement of ``scvi.model.SCVI``."""

from __future__ import annotations

import warnings
from functools import wraps
from os import PathLike
from typing import Any, Literal

import numpy as np
import scvi
from anndata import AnnData
from scvi import REGISTRY_KEYS
from scvi.model.base import ArchesMixin, EmbeddingMixin, RNASeqMixin, VAEMixin

from lucidvi._compat import ADATA_MINIFY_TYPE
from lucidvi.data import align_genes, check_is_anndata
from lucidvi.model._arguments import check_constructor
from lucidvi.model._bars import BarsMixin
from lucidvi.model._data import DataMixin
from lucidvi.model._documentation import documented
from lucidvi.model._files import SafeFilesMixin
from lucidvi.model._library import library_prior
from lucidvi.model._minified import MinifiedMixin
from lucidvi.model._registry import RegistryMixin
from lucidvi.model._surgery import FROZEN_LATENT, latent_can_move
from lucidvi.model._training import TrainingMixin
from lucidvi.model.conversion._convert import check_is_scvi_model, convert
from lucidvi.model.expression._differential import DifferentialMixin
from lucidvi.model.expression._expression import ExpressionMixin
from lucidvi.model.posteriors._canonical import CanonicalMixin
from lucidvi.model.posteriors._inference import InferenceMixin
from lucidvi.model.posteriors._likelihood import LikelihoodMixin
from lucidvi.model.queries._errors import errors_of_query
from lucidvi.model.queries._query import QueryMixin
from lucidvi.module import VAE


@documented
class SCVI(
    SafeFilesMixin,
    QueryMixin,
    ExpressionMixin,
    DifferentialMixin,
    LikelihoodMixin,
    DataMixin,
    InferenceMixin,
    CanonicalMixin,
    RegistryMixin,
    BarsMixin,
    EmbeddingMixin,
    RNASeqMixin,
    VAEMixin,
    ArchesMixin,
    TrainingMixin,
    MinifiedMixin,
):
    """Single-cell variational inference, as a drop-in replacement of ``scvi.model.SCVI``.

    Constructor, ``setup_anndata``, methods and defaults are those of scvi-tools, so a script
    changes one import. Genes are matched by name: an AnnData with the model's genes in another
    order, or with more genes, gives the same result.

    Parameters
    ----------
    adata
        AnnData that was registered with :meth:`setup_anndata`. If neither it nor ``registry``
        is given, the module is made when :meth:`train` is called with a ``datamodule``.
    registry
        Registry of a datamodule, or of a saved model, in place of ``adata``.
    n_hidden
        Width of the hidden layers.
    n_latent
        Dimension of the latent space.
    n_layers
        Hidden layers of the encoder and of the decoder.
    dropout_rate
        Dropout rate of the encoder.
    dispersion
        Inverse dispersion of the negative binomial: ``"gene"``, ``"gene-batch"``,
        ``"gene-label"`` or ``"gene-cell"`` (one for every count).
    gene_likelihood
        ``"zinb"``, ``"nb"``, ``"poisson"`` or ``"normal"``.
    use_observed_lib_size
        Take each cell's total count as its exposure. Otherwise the log library is latent, with a
        normal prior fitted to each batch.
    latent_distribution
        ``"normal"``, or ``"ln"`` for a logistic normal.
    **kwargs
        Passed to :class:`lucidvi.module.VAE`; such as the posterior's family,
        ``posterior="full"`` or ``"flow"``, and the prior of the latent state,
        ``prior="mixture"``, ``"vamp"`` (see :class:`lucidvi.nn.VampPrior`) or ``"conditional"``
        on covariates, with its arguments: ``prior_kwargs={"n_components": 50}``.

    Examples
    --------
    >>> from lucidvi.model import SCVI
    >>> SCVI.setup_anndata(adata, batch_key="batch")  # doctest: +SKIP
    >>> model = SCVI(adata)  # doctest: +SKIP
    >>> model.train()  # doctest: +SKIP
    >>> adata.obsm["X_scVI"] = model.get_latent_representation()  # doctest: +SKIP

    References
    ----------
    Lopez et al., Nature Methods 15 (2018), Deep generative modeling for single-cell
    transcriptomics.
    """

    _module_cls = VAE
    _LATENT_QZM_KEY = "scvi_latent_qzm"
    _LATENT_QZV_KEY = "scvi_latent_qzv"

    def __init__(
        self,
        adata: AnnData | None = None,
        registry: dict[str, Any] | None = None,
        n_hidden: int = 128,
        n_latent: int = 10,
        n_layers: int = 1,
        dropout_rate: float = 0.1,
        dispersion: Literal["gene", "gene-batch", "gene-label", "gene-cell"] = "gene",
        gene_likelihood: Literal["zinb", "nb", "poisson", "normal"] = "zinb",
        use_observed_lib_size: bool = True,
        latent_distribution: Literal["normal", "ln"] = "normal",
        **kwargs: Any,
    ) -> None:
        check_constructor(self, kwargs, type(self).setup_anndata)
        super().__init__(adata, registry)
        self._watch_data(uses_labels=dispersion == "gene-label")
        shown = {
            "n_hidden": n_hidden,
            "n_latent": n_latent,
            "n_layers": n_layers,
            "dropout_rate": dropout_rate,
            "dispersion": dispersion,
            "gene_likelihood": gene_likelihood,
            "latent_distribution": latent_distribution,
        }
        self._module_kwargs = {**shown, "use_observed_lib_size": use_observed_lib_size, **kwargs}
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
                stacklevel=scvi.settings.warnings_stacklevel,
            )
        else:
            self.module = self._module_cls(**self._module_dimensions(), **self._module_kwargs)
            self.module.minified_data_type = self.minified_data_type
        self.init_params_ = self._get_init_params(locals())

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

    def _module_dimensions(self) -> dict[str, Any]:
        """Read from the registry what the module has to know of the data."""
        field_registries = self.registry["field_registries"]
        covariates = field_registries.get(REGISTRY_KEYS.CAT_COVS_KEY, {}).get("state_registry", {})
        n_cats_per_cov = covariates.get("n_cats_per_key")
        use_size_factor = bool(self.registry["setup_args"].get("size_factor_key"))
        latent_library = not (use_size_factor or self._module_kwargs["use_observed_lib_size"])
        means, variances = self._library_prior() if latent_library else (None, None)
        return {
            "n_input": self.summary_stats.n_vars,
            "n_batch": self.summary_stats.n_batch,
            "n_labels": self.summary_stats.n_labels,
            "n_continuous_cov": self.summary_stats.get("n_extra_continuous_covs", 0),
            "n_cats_per_cov": None if n_cats_per_cov is None else tuple(n_cats_per_cov),
            "use_size_factor_key": use_size_factor,
            "library_log_means": means,
            "library_log_vars": variances,
        }

    def _library_prior(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance of the log library in each batch, each of shape ``(1, n_batch)``."""
        n_batch = self.summary_stats.n_batch
        has_counts = self.minified_data_type != ADATA_MINIFY_TYPE.LATENT_POSTERIOR
        # Of one cell there is no variance, and scvi-tools cannot tell its batch.
        if self.adata_manager is not None and has_counts and self.summary_stats.n_cells > 1:
            return library_prior(self.adata_manager, n_batch)
        # A saved model carries the prior among its weights, which are loaded afterwards. Other
        # models cannot be trained so, which the runner says.
        return np.full((1, n_batch), np.nan), np.full((1, n_batch), np.nan)

    @classmethod
    @wraps(ArchesMixin.load_query_data.__func__, assigned=())
    def load_query_data(
        cls,
        adata: AnnData | None = None,
        reference_model: str | SCVI | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> SCVI:
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
            check_is_anndata(adata)
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

    @classmethod
    def from_scvi_model(cls, scvi_model: scvi.model.SCVI | scvi.model.SCANVI) -> SCVI:
        """Make a model from one of scvi-tools, with its data, weights, history and splits.

        Parameters
        ----------
        scvi_model
            Trained or not, with or without AnnData, minified or not. It is not changed. A SCANVI
            gives the same latent states and expression, without its prior and classifier.

        Returns
        -------
        A model with weights of its own; :meth:`to_scvi_model` is the way back.

        Raises
        ------
        lucidvi.errors.ModelTypeError
            If it is no ``scvi.model.SCVI`` or ``SCANVI``, or one that cannot be converted.
        """
        check_is_scvi_model(scvi_model)
        return convert(scvi_model, cls)

    def to_scvi_model(self) -> scvi.model.SCVI:
        """Make a ``scvi.model.SCVI`` from this model, with its data, weights, history and splits.

        Returns
        -------
        A model of scvi-tools with weights of its own. After :meth:`canonicalize` it has the axes
        from before, with a warning.

        Raises
        ------
        lucidvi.errors.ModelTypeError
            If scvi-tools has no such model: its prior is the standard normal, its posterior a
            normal with a diagonal covariance.
        """
        return convert(self, scvi.model.SCVI)


def registry_of(model: Any) -> dict[str, Any]:
    """Return the registry of a model, or of one in a folder; empty of anything else."""
    if isinstance(model, str | PathLike):
        return SCVI.load_registry(str(model))
    return getattr(model, "registry", {})

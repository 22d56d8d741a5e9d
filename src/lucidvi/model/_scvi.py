"""The drop-in replacement of ``scvi.model.SCVI``."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import scvi
from anndata import AnnData
from scvi import REGISTRY_KEYS
from scvi.model.base import BaseModelClass, EmbeddingMixin, RNASeqMixin

from lucidvi._compat import ADATA_MINIFY_TYPE
from lucidvi.model._arguments import check_constructor, check_networks
from lucidvi.model._bars import BarsMixin
from lucidvi.model._base import LucidModel
from lucidvi.model._documentation import documented
from lucidvi.model._library import library_prior, with_latent_library
from lucidvi.model._setup import SetupMixin
from lucidvi.model.conversion._convert import check_is_scvi_model, convert
from lucidvi.model.expression._differential import DifferentialMixin
from lucidvi.model.expression._expression import ExpressionMixin
from lucidvi.model.expression._parameters import ParametersMixin
from lucidvi.model.expression._predictive import PredictiveMixin
from lucidvi.model.queries._arguments import to_loader
from lucidvi.model.queries._query import of_scvi_tools
from lucidvi.module import VAE


@documented
class SCVI(
    ExpressionMixin,
    PredictiveMixin,
    DifferentialMixin,
    ParametersMixin,
    SetupMixin,
    BarsMixin,
    EmbeddingMixin,
    RNASeqMixin,
    LucidModel,
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

    _module_cls: type[VAE] = VAE
    _LATENT_QZM_KEY = "scvi_latent_qzm"
    _LATENT_QZV_KEY = "scvi_latent_qzv"
    _from_the_data: tuple[str, ...] = (
        "n_input",
        "n_batch",
        "n_labels",
        "n_continuous_cov",
        "n_cats_per_cov",
        "use_size_factor_key",
        "library_log_means",
        "library_log_vars",
    )
    _scvi_tools_classes: tuple[type[BaseModelClass], ...] = (
        scvi.model.SCVI,
        scvi.model.SCANVI,
    )

    get_latent_library_size = of_scvi_tools(
        with_latent_library(RNASeqMixin.get_latent_library_size),
        needs_counts=True,
        passes_to=to_loader,
    )
    get_batch_representation = of_scvi_tools(EmbeddingMixin.get_batch_representation)

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
        check_constructor(self, kwargs)
        check_networks(kwargs)
        super().__init__(adata, registry)
        shown = {
            "n_hidden": n_hidden,
            "n_latent": n_latent,
            "n_layers": n_layers,
            "dropout_rate": dropout_rate,
            "dispersion": dispersion,
            "gene_likelihood": gene_likelihood,
            "latent_distribution": latent_distribution,
        }
        further = {"use_observed_lib_size": use_observed_lib_size, **kwargs}
        self._make_module(shown, further, uses_labels=str(dispersion) == "gene-label")
        self.init_params_ = self._get_init_params(locals())

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

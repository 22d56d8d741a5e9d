"""Spliced and unspliced molecules: where cells go."""

from __future__ import annotations

from typing import Any, Literal

from anndata import AnnData

from lucidvi.data import layer_names
from lucidvi.errors import ModelTypeError
from lucidvi.model._documentation import described, documented
from lucidvi.model._scvi import SCVI
from lucidvi.model.flow._direction import DirectionMixin
from lucidvi.model.flow._setup import FlowSetupMixin
from lucidvi.model.flow._velocity import VelocityMixin
from lucidvi.module.kinetics import KineticVAE


@documented
class FLOWVI(DirectionMixin, VelocityMixin, FlowSetupMixin, SCVI):
    """Velocity of cells on the latent space, from spliced and unspliced molecules.

    All molecules of a gene, spliced and unspliced, are modelled as :class:`SCVI` models counts;
    which of them are unspliced is explained by a field of velocity on the latent space and by the
    rates of each gene, see :class:`lucidvi.module.kinetics.Kinetics`. Counts are taken as counts;
    nothing is smoothed. :meth:`get_direction` says whether the molecules prefer the direction to
    its reverse, and in which cells.

    Parameters
    ----------
    adata
        AnnData that was registered with :meth:`setup_anndata`.
    registry
        Registry of a saved model, in place of ``adata``.
    n_hidden
        Width of the hidden layers.
    n_latent
        Dimension of the latent space.
    n_layers
        Hidden layers of the encoder and of the decoder.
    dropout_rate
        Dropout rate of the encoder.
    dispersion, gene_likelihood
        Of all molecules of a gene, see :class:`SCVI`.
    **kwargs
        Passed to :class:`lucidvi.module.kinetics.KineticVAE`; such as ``n_pairs=4``, for more
        members of the field.

    Examples
    --------
    >>> from lucidvi.model import FLOWVI
    >>> FLOWVI.setup_anndata(adata, batch_key="batch")  # doctest: +SKIP
    >>> model = FLOWVI(adata)  # doctest: +SKIP
    >>> model.train()  # doctest: +SKIP
    >>> print(model.get_direction())  # doctest: +SKIP
    >>> velocity = model.get_velocity()  # doctest: +SKIP
    """

    _module_cls = KineticVAE
    _from_the_data = (*SCVI._from_the_data, "use_observed_lib_size", "latent_distribution")
    _scvi_tools_classes = ()

    def __init__(
        self,
        adata: AnnData | None = None,
        registry: dict[str, Any] | None = None,
        n_hidden: int = 128,
        n_latent: int = 10,
        n_layers: int = 1,
        dropout_rate: float = 0.1,
        dispersion: Literal["gene", "gene-batch", "gene-label"] = "gene",
        gene_likelihood: Literal["nb", "zinb", "poisson"] = "nb",
        **kwargs: Any,
    ) -> None:
        super().__init__(
            adata,
            registry,
            n_hidden,
            n_latent,
            n_layers,
            dropout_rate,
            dispersion,
            gene_likelihood,
            **kwargs,
        )
        self.init_params_ = self._get_init_params(locals())

    @described
    def train(
        self, max_epochs: int | None = None, *args: Any, n_kinetic_steps: int = 800, **kwargs: Any
    ) -> Any:
        """Train the autoencoder, then fit the kinetics.

        Parameters
        ----------
        max_epochs
            Passes of the autoencoder through the training cells.
        *args, **kwargs
            See :meth:`SCVI.train`.
        n_kinetic_steps
            Steps of :meth:`fit_kinetics`.
        """
        found = super().train(max_epochs, *args, **kwargs)
        if self.registry["setup_args"]["unspliced_layer"] in layer_names(self.adata):
            self.fit_kinetics(n_kinetic_steps)
        return found

    @classmethod
    @described
    def from_scvi_model(cls, scvi_model: Any) -> FLOWVI:
        """Raise an error: models of scvi-tools know nothing of kinetics.

        Parameters
        ----------
        scvi_model
            Model of scvi-tools.

        Raises
        ------
        lucidvi.errors.ModelTypeError
            Always.
        """
        raise _no_counterpart(type(scvi_model).__name__)

    @described
    def to_scvi_model(self) -> Any:
        """Raise an error: models of scvi-tools know nothing of kinetics.

        Raises
        ------
        lucidvi.errors.ModelTypeError
            Always.
        """
        raise _no_counterpart("SCVI")


def _no_counterpart(name: str) -> ModelTypeError:
    return ModelTypeError(
        f"A FLOWVI has kinetics, which a {name} of scvi-tools has not, so that neither becomes "
        "the other.",
        remedy='SCVI.setup_anndata(adata, layer="spliced_and_unspliced"), and train an SCVI.',
    )

"""One latent state from several modalities, any of which may be missing."""

from __future__ import annotations

from typing import Any

from anndata import AnnData
from mudata import MuData

from lucidvi.model._arguments import check_constructor
from lucidvi.model._base import LucidModel
from lucidvi.model._documentation import documented
from lucidvi.model.mosaic._comparing import ComparingMixin
from lucidvi.model.mosaic._conditional import ConditionalMixin
from lucidvi.model.mosaic._data import MosaicDataMixin
from lucidvi.model.mosaic._normalizing import NormalizingMixin
from lucidvi.module.mosaic import MosaicVAE


@documented
class MOSAICVI(  # type: ignore[misc]
    NormalizingMixin, ConditionalMixin, ComparingMixin, MosaicDataMixin, LucidModel
):
    """Integration of RNA, surface proteins, accessibility and other counts of the same cells.

    A MuData goes in as it is: cells without a modality, modalities whose cells are in another
    order, batches with other panels. One latent state of each cell comes out, from whatever was
    measured in it, and every modality can be asked for in every cell.

    Parameters
    ----------
    mdata
        MuData that was registered with :meth:`setup_mudata`, or AnnData with
        :meth:`setup_anndata`.
    registry
        Registry of a saved model, in place of ``mdata``.
    n_hidden
        Width of the hidden layers.
    n_latent
        Dimension of the latent space.
    n_layers
        Hidden layers of each encoder and decoder.
    dropout_rate
        Dropout rate of the encoders.
    **kwargs
        Passed to :class:`lucidvi.module.mosaic.MosaicVAE`; such as ``prior="mixture"``, or
        ``encode_covariates=True``.

    Examples
    --------
    >>> from lucidvi.model import MOSAICVI
    >>> kinds = {"rna": "rna", "prot": "protein"}
    >>> MOSAICVI.setup_mudata(mdata, kinds, batch_key="batch")  # doctest: +SKIP
    >>> model = MOSAICVI(mdata)  # doctest: +SKIP
    >>> model.train()  # doctest: +SKIP
    >>> mdata.obsm["X_mosaic"] = model.get_latent_representation()  # doctest: +SKIP
    >>> proteins = model.impute("prot", from_modalities=["rna"])  # doctest: +SKIP
    """

    _module_cls = MosaicVAE
    _from_the_data = (
        "parts",
        "n_batch",
        "n_continuous_cov",
        "n_cats_per_cov",
        "measured",
        "typical_exposures",
        "n_cells",
    )

    def __init__(
        self,
        mdata: MuData | AnnData | None = None,
        registry: dict[str, Any] | None = None,
        n_hidden: int = 128,
        n_latent: int = 20,
        n_layers: int = 1,
        dropout_rate: float = 0.1,
        **kwargs: Any,
    ) -> None:
        check_constructor(self, kwargs)
        super().__init__(self._joined(mdata), registry)
        shown = {
            "n_hidden": n_hidden,
            "n_latent": n_latent,
            "n_layers": n_layers,
            "dropout_rate": dropout_rate,
        }
        self._make_module(shown, kwargs)
        # Cells are no argument that a saved model is made with, not even where there are none.
        given = {name: value for name, value in locals().items() if name != "mdata"}
        self.init_params_ = self._get_init_params(given)

r"""The part of a SCANVI that a SCVI has too: encoder, decoder and library.

SCANVI puts a prior on the latent state that depends on the label,

.. math:: p(y) \, p(z_2) \, p(z \mid z_2, y) \, p(x \mid z, s), \quad
    z_2 \sim \mathrm{Normal}(0, I)

with the encoder :math:`q(z \mid x)` and the decoder :math:`p(x \mid z, s)` of a SCVI. These are
kept, so that latent means and expression stay the same. What is left out is
:math:`p(z \mid z_2, y)`, in whose place comes the standard normal of a SCVI, and the classifier
:math:`q(y \mid z)`: ELBOs, importance-weighted likelihoods and refined posteriors are those of
that other model.

References
----------
Xu et al., Molecular Systems Biology 17 (2021), Probabilistic harmonization and annotation of
single-cell transcriptomics data with deep generative models.
"""

from __future__ import annotations

from typing import Any

import scvi
from scvi.module import SCANVAE

from lucidvi.errors import ModelTypeError

#: Arguments of SCANVI and its module that say how labels enter; SCVI has none of them.
OF_LABELS = (
    "linear_classifier",
    "datamodule",
    "y_prior",
    "labels_groups",
    "use_labels_groups",
    "classifier_parameters",
)
#: Parts of its module that do: q(y | z), q(z2 | z, y), p(z | z2, y) and p(y).
PARTS_OF_LABELS = ("classifier", "encoder_z2_z1", "decoder_z1_z2", "y_prior", "groups_index")
#: Attributes of the model that say which labels there were.
FACTS_OF_LABELS = (
    "labels_",
    "unlabeled_category_",
    "original_label_key_",
    "unsupervised_history_",
    "semisupervised_history_",
)


def is_scanvi(model: Any) -> bool:
    """Return whether a model is scvi-tools' SCANVI, with its own module."""
    return isinstance(model, scvi.model.SCANVI) and type(model.module) is SCANVAE


def check_has_an_scvi(scanvi_model: Any) -> None:
    """Raise :class:`ModelTypeError` for a SCANVI whose encoder and decoder make no SCVI."""
    module = scanvi_model.module
    if module.dispersion == "gene-label":
        raise ModelTypeError(
            "`scvi_model` is a SCANVI with `dispersion='gene-label'`: its dispersions are those "
            "of labels, and an SCVI made of it would not know the labels of new cells.",
            remedy="Train it with `dispersion='gene'` or `'gene-batch'`.",
        )
    if scanvi_model.minified_data_type is not None:
        raise ModelTypeError(
            "`scvi_model` is a SCANVI whose data were minified, under names that SCVI does not "
            "read.",
            remedy="Set its `adata` to the AnnData with the counts.",
        )


def without_labels(parameters: dict[str, Any]) -> dict[str, Any]:
    """Leave out the arguments that say how labels enter."""
    return {name: value for name, value in parameters.items() if name not in OF_LABELS}


def weights_without_labels(weights: dict[str, Any]) -> dict[str, Any]:
    """Leave out the weights through which labels enter."""
    return {name: value for name, value in weights.items() if not name.startswith(PARTS_OF_LABELS)}

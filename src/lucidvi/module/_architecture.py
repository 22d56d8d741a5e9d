"""The parameters of the variational autoencoder and how its networks are put together."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from typing import Any, Literal, cast

import numpy as np
import scvi.module
import torch
from scvi import REGISTRY_KEYS
from torch import Tensor
from torch.distributions import Distribution

from lucidvi._compat import MODULE_KEYS
from lucidvi._random import in_evaluation
from lucidvi.checks import check_choice
from lucidvi.distributions import LIKELIHOODS
from lucidvi.errors import DataError
from lucidvi.kernels import gene_major, log1p
from lucidvi.nn import (
    ENCODERS,
    PRIORS,
    Covariates,
    Decoder,
    Encoder,
    Sizes,
    make_prior,
)

#: The parameter of genes that scvi-tools' models have, under the name ``px_r``.
PX_R = "log_theta"

Where = Literal["encoder", "decoder", "none", "both"]

#: The values of ``dispersion``, and the covariate whose levels have parameters of their own.
DISPERSIONS = {
    "gene": None,
    "gene-batch": MODULE_KEYS.BATCH_INDEX_KEY,
    "gene-label": MODULE_KEYS.Y_KEY,
    "gene-cell": None,
}


class Architecture(scvi.module.VAE):
    """Networks and parameters of :class:`VAE`, under the names that scvi-tools gives them.

    Arguments, their defaults and the names and shapes of the weights are those of
    :class:`scvi.module.VAE`, so a trained model moves between the two unchanged. It is an
    instance of that class, too, which scvi-tools asks of a module that another model is to hold.

    Parameters
    ----------
    n_input
        Number of genes.
    n_batch, n_labels
        Number of batches and of labels.
    n_hidden, n_latent, n_layers
        Width of the hidden layers, dimension of ``z``, hidden layers of encoder and decoder.
    n_continuous_cov
        Number of continuous covariates.
    n_cats_per_cov
        Number of categories of each categorical covariate.
    dropout_rate
        Dropout rate of the encoder.
    dispersion
        ``"gene"``, ``"gene-batch"``, ``"gene-label"`` or ``"gene-cell"``.
    log_variational
        Encode ``log1p(x)`` in place of ``x``.
    gene_likelihood
        ``"zinb"``, ``"nb"``, ``"poisson"`` or ``"normal"``.
    latent_distribution
        ``"normal"``, or ``"ln"`` for a logistic normal: ``z`` is then the softmax of a normal.
    encode_covariates
        Show the covariates to the encoder too.
    deeply_inject_covariates
        Show them to every hidden layer and not only to the first.
    batch_representation
        ``"one-hot"`` or ``"embedding"``.
    use_batch_norm, use_layer_norm
        ``"encoder"``, ``"decoder"``, ``"none"`` or ``"both"``.
    use_size_factor_key
        Expression is scaled by a size factor from the data, which takes priority over
        ``use_observed_lib_size``.
    use_observed_lib_size
        The exposure is the cell's total count. Otherwise it is latent.
    extra_payload_autotune
        Hand ``z``, batch and labels out with the loss, for ``scvi.autotune``.
    library_log_means, library_log_vars
        Mean and variance of the log library in each batch, shape ``(1, n_batch)``; needed if the
        library is latent.
    var_activation
        Makes the encoder's variance positive; ``exp`` by default.
    extra_encoder_kwargs, extra_decoder_kwargs
        Passed to the networks.
    batch_embedding_kwargs
        Passed to :class:`scvi.nn.Embedding`.
    posterior
        ``"diagonal"`` or ``"full"`` covariance of a normal, or a normalizing ``"flow"``; those of
        scvi-tools are diagonal.
    posterior_kwargs
        Passed to the encoder, see :class:`lucidvi.nn.FlowEncoder`.
    prior
        ``"standard_normal"``, ``"mixture"`` of normals, ``"vamp"`` (mixture of the encoder's
        posteriors at pseudo-inputs) or ``"conditional"`` on covariates.
    prior_kwargs
        Arguments of the prior: ``n_components`` of :class:`~lucidvi.nn.NormalMixture` and
        :class:`~lucidvi.nn.VampPrior`, ``covariates`` of :class:`~lucidvi.nn.ConditionalNormal`.
    rotated
        Keep an orthogonal matrix, the buffer ``rotation``, between encoder and decoder; at first
        it is the identity. :meth:`lucidvi.model.SCVI.canonicalize` sets it.

    Raises
    ------
    lucidvi.errors.DataError
        For an option that does not exist, a latent library without its prior, or if the prior
        cannot have these arguments, or lacks the covariates that it depends on.
    """

    def __init__(
        self,
        n_input: int,
        n_batch: int = 0,
        n_labels: int = 0,
        n_hidden: int = 128,
        n_latent: int = 10,
        n_layers: int = 1,
        n_continuous_cov: int = 0,
        n_cats_per_cov: Sequence[int] | None = None,
        dropout_rate: float = 0.1,
        dispersion: Literal["gene", "gene-batch", "gene-label", "gene-cell"] = "gene",
        log_variational: bool = True,
        gene_likelihood: Literal["zinb", "nb", "poisson", "normal"] = "zinb",
        latent_distribution: Literal["normal", "ln"] = "normal",
        encode_covariates: bool = False,
        deeply_inject_covariates: bool = True,
        batch_representation: Literal["one-hot", "embedding"] = "one-hot",
        use_batch_norm: Where = "both",
        use_layer_norm: Where = "none",
        use_size_factor_key: bool = False,
        use_observed_lib_size: bool = True,
        extra_payload_autotune: bool = False,
        library_log_means: np.ndarray | None = None,
        library_log_vars: np.ndarray | None = None,
        var_activation: Callable[[Tensor], Tensor] | None = None,
        extra_encoder_kwargs: dict[str, Any] | None = None,
        extra_decoder_kwargs: dict[str, Any] | None = None,
        batch_embedding_kwargs: dict[str, Any] | None = None,
        posterior: Literal["diagonal", "full", "flow"] = "diagonal",
        posterior_kwargs: dict[str, Any] | None = None,
        prior: Literal["standard_normal", "mixture", "vamp", "conditional"] = "standard_normal",
        prior_kwargs: dict[str, Any] | None = None,
        rotated: bool = False,
    ) -> None:
        # All but the constructor of scvi-tools' own, whose networks are made here.
        super(scvi.module.VAE, self).__init__()
        check_choice("dispersion", dispersion, DISPERSIONS)
        check_choice("gene_likelihood", gene_likelihood, LIKELIHOODS)
        likelihood = LIKELIHOODS[gene_likelihood]
        check_choice("latent_distribution", latent_distribution, ("normal", "ln"))
        check_choice("batch_representation", batch_representation, ("one-hot", "embedding"))
        check_choice("posterior", posterior, ENCODERS)
        check_choice("prior", prior, PRIORS)
        check_choice("use_batch_norm", use_batch_norm, ("encoder", "decoder", "none", "both"))
        check_choice("use_layer_norm", use_layer_norm, ("encoder", "decoder", "none", "both"))
        self.n_input = n_input
        self.n_batch = n_batch
        self.n_labels = n_labels
        self.n_hidden = n_hidden
        self.n_latent = n_latent
        self.n_layers = n_layers
        self.dispersion = dispersion
        self.uses_labels = dispersion == "gene-label"
        self.log_variational = log_variational
        self.gene_likelihood = gene_likelihood
        self.latent_distribution = latent_distribution
        self.encode_covariates = encode_covariates
        self.batch_representation = batch_representation
        self.use_size_factor_key = use_size_factor_key
        self.use_observed_lib_size = use_size_factor_key or use_observed_lib_size
        self.extra_payload_autotune = extra_payload_autotune

        if not self.use_observed_lib_size:
            self._set_library_prior(library_log_means, library_log_vars)
        # Parameters are made in scvi-tools' order, so that one seed gives one set of weights.
        if dispersion != "gene-cell":
            levels = {"gene": (), "gene-batch": (n_batch,), "gene-label": (n_labels,)}[dispersion]
            self.px_r = torch.nn.Parameter(torch.randn(n_input, *levels))
            # Other parameters of genes than scvi-tools' models have.
            added = [name for name in likelihood.names("gene") if name != PX_R]
            self.gene_parameters = torch.nn.ParameterDict(
                {name: torch.nn.Parameter(torch.randn(n_input, *levels)) for name in added}
            )
        one_hot_levels, n_embedding = [n_batch], 0
        if batch_representation == "embedding":
            self.init_embedding(REGISTRY_KEYS.BATCH_KEY, n_batch, **(batch_embedding_kwargs or {}))
            n_embedding = self.get_embedding(REGISTRY_KEYS.BATCH_KEY).embedding_dim
            one_hot_levels = []
        n_cat_list = one_hot_levels + list(n_cats_per_cov or [])

        def norms(part: str) -> dict[str, bool]:
            return {
                "use_batch_norm": use_batch_norm in (part, "both"),
                "use_layer_norm": use_layer_norm in (part, "both"),
            }

        encoder_kwargs = {
            "n_input": n_input + (n_continuous_cov + n_embedding) * encode_covariates,
            "n_cat_list": n_cat_list if encode_covariates else None,
            "n_hidden": n_hidden,
            "dropout_rate": dropout_rate,
            "inject_covariates": deeply_inject_covariates,
            "var_activation": var_activation,
            **norms("encoder"),
            **(extra_encoder_kwargs or {}),
        }
        self.z_encoder = ENCODERS[posterior](
            n_output=n_latent,
            n_layers=n_layers,
            distribution=latent_distribution,
            **encoder_kwargs,
            **(posterior_kwargs or {}),
        )
        # Part of the weights of every scVI model, used only where the library is latent.
        self.l_encoder = Encoder(n_output=1, n_layers=1, **encoder_kwargs)
        by_cell = likelihood.names("gene", "cell") if dispersion == "gene-cell" else ()
        self.decoder = Decoder(
            n_latent + n_continuous_cov + n_embedding,
            n_input,
            heads=by_cell or likelihood.names("cell"),
            n_cat_list=n_cat_list,
            n_layers=n_layers,
            n_hidden=n_hidden,
            inject_covariates=deeply_inject_covariates,
            scale_activation="softplus" if use_size_factor_key else "softmax",
            **norms("decoder"),
            **(extra_decoder_kwargs or {}),
        )
        n_levels: dict[str, tuple[int, ...]] = {"batch": (n_batch,), "labels": (n_labels,)}
        n_levels["categorical"] = tuple(n_cats_per_cov or ())
        sizes = Sizes(n_latent, n_input, n_levels, n_continuous_cov)
        self.prior = make_prior(prior, sizes, prior_kwargs)
        # Of the files of a module without it, and so of scvi-tools' own, it is no part.
        self.register_buffer("rotation", torch.eye(n_latent) if rotated else None)
        for encoder in (self.z_encoder, self.l_encoder):
            first = encoder.encoder.fc_layers[0][0]
            first.weight.data = gene_major(first.weight.data)

    def gene_parameter(self, name: str) -> torch.nn.Parameter:
        """Return a parameter of the likelihood with values a gene, ``(n_genes[, n_levels])``."""
        return self.px_r if name == PX_R else self.gene_parameters[name]

    def _of_genes(self, s: Covariates, without: Container[str] = ()) -> dict[str, Tensor]:
        """Parameters of genes, of shape ``(n_genes,)``, or ``(n_cells, n_genes)`` by level."""
        levels = {MODULE_KEYS.BATCH_INDEX_KEY: s["batch"], MODULE_KEYS.Y_KEY: s["labels"]}
        level = levels.get(DISPERSIONS[self.dispersion])
        names = LIKELIHOODS[self.gene_likelihood].names("gene")
        values: dict[str, Tensor] = {
            name: self.gene_parameter(name) for name in names if name not in without
        }
        if level is None:
            return values
        return {name: value.T[level.squeeze(-1)] for name, value in values.items()}

    def encoder_input(self, x: Tensor) -> Tensor:
        """Turn counts, CSR or dense, into what the encoder sees of them."""
        return log1p(x) if self.log_variational else x

    def _encoder_covariates(
        self, batch_index: Tensor, cont_covs: Tensor | None, cat_covs: Tensor | None
    ) -> tuple[tuple[Tensor, ...], list[Tensor]]:
        """Covariates that the encoder sees: as categories, and as further columns."""
        if not self.encode_covariates:
            return (), []
        continuous = [] if cont_covs is None else [cont_covs]
        rest = continuous + self._batch_embedding(batch_index)
        return self._categories(batch_index, cat_covs), rest

    def _decoder_input(self, z: Tensor, s: Covariates) -> tuple[Tensor, ...]:
        """Return what the decoder is given: states with further columns, then categories."""
        batch_index, cont_covs = cast(Tensor, s["batch"]), s["continuous"]
        covariates = ([] if cont_covs is None else [cont_covs]) + self._batch_embedding(
            batch_index
        )
        turned_back = z if self.rotation is None else z @ self.rotation.mT
        columns = [turned_back, *(c.expand(*z.shape[:-1], -1) for c in covariates)]
        return torch.cat(columns, dim=-1), *self._categories(batch_index, s["categorical"])

    def _encode(self, encoder_input: Tensor, covariates: Covariates) -> Distribution:
        """Encode inputs that are no cells; see :data:`lucidvi.nn.Encode`."""
        batch_index = cast(Tensor, covariates["batch"])
        categories, rest = self._encoder_covariates(
            batch_index, covariates["continuous"], covariates["categorical"]
        )
        with in_evaluation(self.z_encoder):
            return self.z_encoder(encoder_input, *categories, rest=rest)

    def _categories(self, batch_index: Tensor, cat_covs: Tensor | None) -> tuple[Tensor, ...]:
        """Covariates that the networks encode one-hot, each ``(n_cells, 1)``."""
        batch = (batch_index,) if self.batch_representation == "one-hot" else ()
        return batch + (() if cat_covs is None else torch.split(cat_covs, 1, dim=1))

    def _batch_embedding(self, batch_index: Tensor) -> list[Tensor]:
        """Embedding of the batch, ``(n_cells, n_embedding)``, if batches are embedded."""
        if self.batch_representation == "one-hot":
            return []
        return [self.compute_embedding(REGISTRY_KEYS.BATCH_KEY, batch_index)]

    def _set_library_prior(self, means: np.ndarray | None, variances: np.ndarray | None) -> None:
        if means is None or variances is None:
            raise DataError(
                "`use_observed_lib_size` is False, so `library_log_means` and "
                "`library_log_vars` are needed, each of shape (1, n_batch).",
                remedy="make the model from an AnnData, or with `use_observed_lib_size=True`.",
            )
        self.register_buffer("library_log_means", torch.from_numpy(means).float())
        self.register_buffer("library_log_vars", torch.from_numpy(variances).float())

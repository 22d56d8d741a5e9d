"""Expression, draws of counts and correlations: by genes, cells and batches, as asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

import numpy as np
import pandas as pd
import torch
from scvi.model.base import BaseModelClass, RNASeqMixin

from lucidvi.checks import check_choice
from lucidvi.distributions import likelihood_of
from lucidvi.errors import DataError, ModelTypeError
from lucidvi.model._arguments import keywords
from lucidvi.model.queries._arguments import to_loader
from lucidvi.model.queries._query import query
from lucidvi.model.queries._requests import bound, gene_positions
from lucidvi.model.queries._which_posterior import of_either_posterior
from lucidvi.module import VAE

CORRELATIONS = ("spearman", "pearson")


def to_importance_weights(model: Any, arguments: Mapping[str, Any]) -> set[str] | None:
    """Hand arguments on to ``get_importance_weights``."""
    of_loader = to_loader(model, arguments)
    return None if of_loader is None else of_loader | WEIGHTING


#: Arguments of ``get_importance_weights`` that say how the weights are made.
WEIGHTING = keywords(RNASeqMixin.get_importance_weights) - {"adata", "indices", "px", "zs"}


class ExpressionMixin(BaseModelClass):
    """Normalized expression and what is drawn from it."""

    @of_either_posterior
    @query(passes_to=to_importance_weights)
    @wraps(RNASeqMixin.get_normalized_expression, assigned=())
    def get_normalized_expression(self, *args: Any, **kwargs: Any) -> np.ndarray | pd.DataFrame:
        """Return expression of each gene as the decoder sees it, a mean over draws of ``z``.

        Differs from scvi-tools: genes come in the order of ``gene_list``, in arrays and tables,
        and an unknown one is an error; ``n_samples_overall`` alone works, and the rows of its
        table, which are draws and not cells, are numbered; ``weights="importance"`` is refused
        where it would be wrong, see :meth:`get_importance_weights`.

        Parameters
        ----------
        *args, **kwargs
            See :meth:`scvi.model.base.RNASeqMixin.get_normalized_expression`.

        Raises
        ------
        lucidvi.errors.UnknownGeneError
            If ``gene_list`` names a gene that the model does not have.
        """
        arguments = bound(RNASeqMixin.get_normalized_expression, self, args, kwargs)
        _check_sampling(arguments)
        if arguments.get("weights") == "importance":
            check_importance_weights(self.module)
        of_draws = arguments.get("n_samples_overall") is not None
        as_table = not arguments.get("return_numpy") and arguments.get("dataloader") is None
        if of_draws:
            # scvi-tools gives each draw the name of a cell, and fails where they are not as many.
            arguments["return_numpy"] = True
        ask = super().get_normalized_expression
        result = self._by_genes(ask, arguments, axis=-1)
        if not (of_draws and as_table):
            return result
        genes = pd.Index(self.get_var_names())
        positions = gene_positions(arguments.get("gene_list"), genes)
        return pd.DataFrame(result, columns=genes[positions])

    @of_either_posterior
    @query(passes_to=to_loader)
    @wraps(RNASeqMixin.posterior_predictive_sample, assigned=())
    def posterior_predictive_sample(self, *args: Any, **kwargs: Any) -> Any:
        """Draw counts of each cell from the posterior predictive distribution.

        Differs from scvi-tools: genes come in the order of ``gene_list``, and an unknown one is
        an error.

        Parameters
        ----------
        *args, **kwargs
            See :meth:`scvi.model.base.RNASeqMixin.posterior_predictive_sample`.

        Raises
        ------
        lucidvi.errors.UnknownGeneError
            If ``gene_list`` names a gene that the model does not have.
        """
        arguments = bound(RNASeqMixin.posterior_predictive_sample, self, args, kwargs)
        return self._by_genes(super().posterior_predictive_sample, arguments, axis=1)

    @query
    @wraps(RNASeqMixin.get_feature_correlation_matrix, assigned=())
    def get_feature_correlation_matrix(self, *args: Any, **kwargs: Any) -> pd.DataFrame:
        """Return correlations between genes, over cells and draws of their expression.

        Differs from scvi-tools: works for a Poisson likelihood, whose denoised counts are its
        rates, and is refused for a normal one, which has none.

        Parameters
        ----------
        *args, **kwargs
            See :meth:`scvi.model.base.RNASeqMixin.get_feature_correlation_matrix`.

        Raises
        ------
        lucidvi.errors.ModelTypeError
            If the likelihood is normal.
        """
        arguments = bound(RNASeqMixin.get_feature_correlation_matrix, self, args, kwargs)
        kind = arguments.get("correlation_type", CORRELATIONS[0])
        if kind not in CORRELATIONS:
            raise DataError(
                f"Unknown correlation type: `correlation_type` is {kind!r}.",
                remedy=f"Use one of {', '.join(map(repr, CORRELATIONS))}.",
            )
        likelihood = likelihood_of(self.module)
        if not likelihood.is_counts:
            raise ModelTypeError(
                "Correlations are those of denoised counts, and a model with "
                f"`gene_likelihood={likelihood.family!r}` has no counts.",
                remedy="model.get_normalized_expression().corr('spearman')",
            )
        return super().get_feature_correlation_matrix(**arguments)

    @torch.inference_mode()
    @wraps(RNASeqMixin._get_denoised_samples, assigned=())
    def _get_denoised_samples(self, *args: Any, **kwargs: Any) -> np.ndarray:
        """Draws of expression with the spread of the likelihood's rate, of Poisson none at all."""
        if likelihood_of(self.module).parameters:
            # scvi-tools makes dispersions of the shape of the counts.
            return super()._get_denoised_samples(*args, dense=True, **kwargs)
        arguments = bound(RNASeqMixin._get_denoised_samples, self, args, kwargs)
        n_samples = arguments.get("n_samples", 25)
        rates = super().get_normalized_expression(
            arguments.get("adata"),
            indices=arguments.get("indices"),
            batch_size=arguments.get("batch_size", 64),
            library_size=arguments.get("rna_size_factor", 1000),
            n_samples=n_samples,
            return_mean=False,
            return_numpy=True,
            transform_batch=self._batch_name(arguments.get("transform_batch")),
        )
        return rates if n_samples == 1 else np.transpose(rates, (1, 2, 0))

    def _batch_name(self, code: Any) -> Any:
        """Return the name of a batch that scvi-tools refers to by its number."""
        if code is None:
            return None
        return self.get_state_registry("batch").categorical_mapping[code]

    @query(passes_to=to_loader)
    @wraps(RNASeqMixin.get_importance_weights, assigned=())
    def get_importance_weights(self, *args: Any, **kwargs: Any) -> np.ndarray:
        """Return importance weights of latent states, for ``weights="importance"``.

        Differs from scvi-tools: refused where the prior is not the standard normal or the
        posterior has no diagonal covariance, which the weights take for granted.

        Parameters
        ----------
        *args, **kwargs
            See :meth:`scvi.model.base.RNASeqMixin.get_importance_weights`.

        Raises
        ------
        lucidvi.errors.ModelTypeError
            If prior or posterior is another one.
        """
        check_importance_weights(self.module)
        # scvi-tools puts counts into a density, cell by cell.
        return super().get_importance_weights(*args, dense=True, **kwargs)

    def _by_genes(
        self, method: Callable[..., Any], arguments: dict[str, Any], axis: int
    ) -> np.ndarray | pd.DataFrame:
        """Call a method of scvi-tools, and bring its genes into the order of ``gene_list``.

        It gives them in the model's order and each once, and of a loader all of them.

        Parameters
        ----------
        method
            The method.
        arguments
            What it is called with.
        axis
            Axis of the genes in its result.
        """
        if arguments.get("gene_list") is None:
            return method(**arguments)
        genes = pd.Index(self.get_var_names())
        positions = gene_positions(arguments["gene_list"], genes)
        each = np.unique(positions)
        if arguments.get("dataloader") is None:
            order: np.ndarray = np.searchsorted(each, positions)
            arguments = arguments | {"gene_list": genes[each]}
        else:
            order, arguments = positions, arguments | {"gene_list": None}
        return _taken(method(**arguments), order, axis)


def _taken(result: Any, order: np.ndarray, axis: int) -> Any:
    """Return the genes of a table, an array or a sparse array, in an order."""
    if isinstance(result, pd.DataFrame):
        return result.iloc[:, order]
    if isinstance(result, np.ndarray):
        return result.take(order, axis)
    if len(np.unique(order)) < max(len(order), result.shape[axis]):
        return result[(*(slice(None),) * axis, order)]
    # Of a GCXS, indexing by an array compiles for seven seconds where the first one is asked for.
    entries = result.tocoo()
    coordinates = entries.coords.copy()
    coordinates[axis] = np.argsort(order)[coordinates[axis]]
    return type(result).from_coo(type(entries)(coordinates, entries.data, shape=entries.shape))


def _check_sampling(arguments: dict[str, Any]) -> None:
    """Raise for numbers of draws and scales that mean nothing."""
    overall, n_samples = arguments.get("n_samples_overall"), arguments.get("n_samples", 1)
    if overall is not None and n_samples != 1:
        raise DataError(
            f"`n_samples_overall` is {overall} and `n_samples` is {n_samples}: the first draws "
            "from all cells together, the second from each.",
            remedy="give one of the two.",
        )
    for name, number in (("n_samples_overall", overall), ("n_samples", n_samples)):
        if number is not None and number < 1:
            raise DataError(f"`{name}` is {number}.", remedy=f"{name}=1, or more.")
    if arguments.get("weights") is not None:
        check_choice("weights", arguments["weights"], ("uniform", "importance"))
    library_size = arguments.get("library_size")
    if isinstance(library_size, str) and library_size != "latent":
        raise DataError(
            f"`library_size` is {library_size!r}.", remedy='library_size="latent", or a number.'
        )


def check_importance_weights(module: VAE) -> None:
    """Raise :class:`ModelTypeError` where scvi-tools' importance weights would be wrong."""
    is_diagonal = module.z_encoder.is_diagonal and module.rotation is None
    if not (module.prior.is_standard_normal and is_diagonal):
        raise ModelTypeError(
            "Importance weights are those of a standard normal prior and a posterior with a "
            f"diagonal covariance, and the model has a {type(module.prior).__name__} and a "
            f"{type(module.z_encoder).__name__}"
            + ("." if module.rotation is None else ", and its latent space was turned."),
            remedy='Use `weights="uniform"`.',
        )

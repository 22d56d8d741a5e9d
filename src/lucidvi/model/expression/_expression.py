"""Expression and correlations: by genes, cells and batches, as asked for."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial, wraps
from typing import Any

import numpy as np
import pandas as pd
import scvi
import torch
from numpy.typing import NDArray
from scvi import REGISTRY_KEYS
from scvi.model.base import BaseModelClass, RNASeqMixin

from lucidvi.checks import check_choice
from lucidvi.distributions import likelihood_of
from lucidvi.errors import DataError, ModelTypeError
from lucidvi.model._arguments import keywords
from lucidvi.model.expression._means import Rows, Scale, minibatch_means, state_means
from lucidvi.model.queries._arguments import to_loader
from lucidvi.model.queries._query import query
from lucidvi.model.queries._requests import bound, gene_positions
from lucidvi.model.queries._which_posterior import of_either_posterior
from lucidvi.module import VAE, DrawnStates

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
        genes, features = pd.Index(self.get_var_names()), None
        if arguments.get("gene_list") is not None:
            features = gene_positions(arguments["gene_list"], genes)
            genes = genes[features]
        overall = arguments.get("n_samples_overall")
        if overall is not None and arguments.get("weights") == "importance":
            # Of scvi-tools, since its weights need the likelihood of every draw.
            unnamed = {"return_numpy": True, "gene_list": None}
            result = super().get_normalized_expression(**(arguments | unnamed))
            result = result if features is None else result[:, features]
        else:
            library_size = arguments.get("library_size", 1)
            scale = Scale(None if library_size == "latent" else float(library_size), features)
            result = self._expression(arguments, scale, len(genes))
        return_numpy = arguments.get("return_numpy")
        if result.ndim > 2 and return_numpy is False:
            warnings.warn(
                "`return_numpy` must be `True` for draws that are not averaged, of which "
                f"`n_samples` is {arguments['n_samples']}: an array is returned.",
                UserWarning,
                stacklevel=scvi.settings.warnings_stacklevel,
            )
        if return_numpy or result.ndim > 2 or arguments.get("dataloader") is not None:
            return result
        # Draws of all cells together are of no cell, so that their rows are numbered.
        names = self._cell_names(arguments) if overall is None else None
        return pd.DataFrame(result, columns=genes, index=names, copy=False)

    @torch.inference_mode()
    def _expression(
        self, arguments: dict[str, Any], scale: Scale, n_features: int
    ) -> NDArray[np.floating[Any]]:
        """Return the values of drawn states, as they are asked for."""
        loader, overall = arguments.get("dataloader"), arguments.get("n_samples_overall")
        codes = self._codes_of_batches(arguments.get("transform_batch"))
        n_samples = arguments.get("n_samples", 1)
        n_cells = None if loader is not None else len(self._cell_names(arguments))
        if overall is not None and n_cells is not None:
            n_samples = overall // n_cells + 1
        minibatches = (
            (len(tensors[REGISTRY_KEYS.BATCH_KEY]), partial(self.module.drawn, tensors, n_samples))
            for tensors in self._minibatches(
                arguments.get("adata"),
                arguments.get("indices"),
                arguments.get("batch_size"),
                loader,
                arguments.get("data_loader_kwargs"),
            )
        )
        if overall is not None:
            return _of_all_cells(minibatches, codes, scale, n_samples, overall, n_features)
        n_kept = 1 if arguments.get("return_mean", True) else n_samples
        rows = Rows((n_kept, n_features), n_cells)
        for n, draw in minibatches:
            minibatch_means(draw, n, codes, scale, rows.next(n))
        result = rows.array()
        return result[0] if n_kept == 1 else result

    def _cell_names(self, arguments: dict[str, Any]) -> pd.Index:
        adata, indices = (arguments.get(name) for name in ("adata", "indices"))
        names = (self.adata if adata is None else adata).obs_names
        return names if indices is None else names[indices]

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


def _of_all_cells(
    minibatches: Iterable[tuple[int, Callable[[], DrawnStates]]],
    codes: Sequence[int | None],
    scale: Scale,
    n_samples: int,
    overall: int,
    n_features: int,
) -> NDArray[np.floating[Any]]:
    """Return values of ``overall`` of the draws of all cells, chosen with replacement."""
    sizes, drawn = [], []
    for n, draw in minibatches:
        sizes.append(n)
        drawn.append([draw() for _ in codes])
    states = [DrawnStates.concatenate(parts) for parts in zip(*drawn, strict=True)]
    # As scvi-tools numbers them: draw by draw of all cells, where minibatches are one by one.
    starts = np.cumsum([0, *sizes])
    place = np.concatenate(
        [
            n_samples * start + np.arange(n_samples)[:, None] * n + np.arange(n)
            for start, n in zip(starts, sizes, strict=False)
        ],
        axis=1,
    ).ravel()
    chosen = np.random.choice(len(place), overall)  # noqa: NPY002 (as scvi-tools)
    return state_means(states, codes, scale, place[chosen], n_features)


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

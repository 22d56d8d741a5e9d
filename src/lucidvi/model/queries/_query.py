"""Questions to a model: what every method that is asked about cells does first, and alike.

A method marked with :func:`query` gets its arguments resolved: ``indices`` as positions whatever
they were given as, ``transform_batch`` as the model's own names. Posteriors are taken from where
the AnnData that was given keeps them, and from the encoder where it keeps none.
"""

from __future__ import annotations

import inspect
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any

import torch
from anndata import AnnData
from scvi import REGISTRY_KEYS
from scvi.model.base import BaseModelClass
from torch import Tensor

from lucidvi._compat import ADATA_MINIFY_TYPE, adata_minify_type, check_adata_or_dataloader
from lucidvi.data import opened
from lucidvi.errors import DataError, TrainingError
from lucidvi.model.queries._arguments import Recipient, bind
from lucidvi.model.queries._errors import errors_of_query
from lucidvi.model.queries._requests import batch_categories, cells_of

logger = logging.getLogger(__name__)

#: Arguments that name batches.
BATCHES = ("transform_batch", "batchid1", "batchid2")
#: Arguments that say something about an AnnData, and nothing about a loader.
OF_ANNDATA = ("indices", "transform_batch")
CELLS_BY_NAME = (
    "Differs from scvi-tools: ``indices`` may be positions, a mask, a slice or names of cells, of "
    "which none that does not exist is passed over; cells without a stored posterior are answered "
    "by the encoder, whatever the model's own AnnData stores."
)


def query(
    method: Callable[..., Any] | None = None,
    *,
    needs_counts: bool = False,
    differs: str | None = None,
    passes_to: Recipient | None = None,
) -> Callable[..., Any]:
    """Make a method resolve what it is asked about before it runs.

    Parameters
    ----------
    method
        Method of a model, with any of the arguments ``adata``, ``dataloader``, ``indices``,
        ``transform_batch``, ``batchid1`` and ``batchid2``.
    needs_counts
        Refuse cells whose counts were replaced by posteriors.
    differs
        Paragraph for the docstring of a method of scvi-tools.
    passes_to
        What the method hands arguments to that it does not name.
    """
    if method is None:
        return lambda method: query(
            method, needs_counts=needs_counts, differs=differs, passes_to=passes_to
        )
    signature = inspect.signature(method)

    @wraps(method)
    def answer(self: QueryMixin, *args: Any, **kwargs: Any) -> Any:
        bound = bind(signature, method.__name__, passes_to, self, args, kwargs)
        with self._answering(method.__name__, bound.arguments):
            self._resolve(method.__name__, bound.arguments, needs_counts)
            return method(*bound.args, **bound.kwargs)

    answer.is_query = True  # type: ignore[attr-defined]
    if differs is not None:
        summary, _, rest = inspect.cleandoc(method.__doc__ or "").partition("\n\n")
        answer.__doc__ = "\n\n".join(part for part in (summary, differs, rest) if part)
    return answer


def of_scvi_tools(
    method: Callable[..., Any], *, needs_counts: bool = False, passes_to: Recipient | None = None
) -> Callable[..., Any]:
    """Make a method of scvi-tools a :func:`query`.

    Its refusal of a model whose own AnnData has no counts is left out with its decorators: what
    counts is the AnnData that it is asked about.
    """
    plain = torch.inference_mode()(inspect.unwrap(method))
    return query(plain, needs_counts=needs_counts, differs=CELLS_BY_NAME, passes_to=passes_to)


class QueryMixin(BaseModelClass):
    """Resolves what a model is asked, for all methods."""

    #: Name of the method that is answering, if one is.
    _asked: str | None = None

    def _resolve(self, name: str, arguments: dict[str, Any], needs_counts: bool) -> None:
        """Put into the arguments of a method what they mean."""
        adata, loader = arguments.get("adata"), arguments.get("dataloader")
        if adata is not None:
            adata = arguments["adata"] = opened(adata, f"model.{name}(")
        # A model made without cells or registry has no such attribute.
        adata = getattr(self, "adata", None) if adata is None else adata
        if self.module is None:
            self._check_if_trained(warn=False)
        if loader is not None:
            ignored = [key for key in OF_ANNDATA if arguments.get(key) is not None]
            if ignored and arguments.get("adata") is None:
                raise DataError(
                    f"`{ignored[0]}` says something about the cells of an AnnData, and "
                    f"`{name}` was given a `dataloader`, whose minibatches it takes as they are.",
                    remedy=f"model.{name}(adata, {ignored[0]}=...), or the loader alone.",
                )
        elif adata is None and "adata" in arguments.keys() | self._parameters(name):
            self._check_has_cells(name)
        if needs_counts:
            self._check_has_counts(name, adata)
        if arguments.get("indices") is not None and adata is not None:
            arguments["indices"] = cells_of(arguments["indices"], adata, "indices")
        for key in BATCHES:
            if arguments.get(key) is not None:
                registry = self.get_state_registry(REGISTRY_KEYS.BATCH_KEY)
                arguments[key] = batch_categories(arguments[key], registry, key)

    def _parameters(self, name: str) -> set[str]:
        return set(inspect.signature(getattr(type(self), name)).parameters)

    def _check_has_cells(self, name: str) -> None:
        """Raise where there are neither cells nor minibatches, as scvi-tools does of a loader."""
        registry = getattr(self, "registry_", {})
        if registry.get("setup_method_name") != "setup_datamodule":
            raise DataError(
                f"The model has no AnnData, so `{name}` has no cells to look at.",
                remedy=f"model.{name}(adata)",
            )

    def _check_has_counts(self, name: str, adata: AnnData | None) -> None:
        if adata is not None and adata_minify_type(adata) == ADATA_MINIFY_TYPE.LATENT_POSTERIOR:
            raise DataError(
                f"`{name}` needs counts, and the AnnData is minified: they were replaced by "
                "latent states.",
                remedy=f"give the AnnData with the counts, model.{name}(adata).",
            )

    @contextmanager
    def _answering(self, name: str, arguments: dict[str, Any]) -> Iterator[None]:
        """Name the method in errors, and take posteriors from the AnnData it is asked about."""
        if self._asked is not None:  # one method asks another
            yield
            return
        module, adata = self.module, arguments.get("adata")
        kind = getattr(module, "minified_data_type", None)
        self._asked = name
        before = _written_in(adata)
        try:
            if module is not None and isinstance(adata, AnnData):
                module.minified_data_type = adata_minify_type(adata)
            yield
        except BaseException:
            self._take_back(adata, before)
            raise
        finally:
            self._asked = None
            if module is not None:
                module.minified_data_type = kind
        if not self.is_trained_:
            logger.warning(
                "%s: the model has not been trained, so this is the answer of random weights. "
                "Call model.train() first.",
                name,
            )

    def _take_back(self, adata: Any, before: tuple[set[Any], ...] | None) -> None:
        """Take out of cells what registering them has added since."""
        after = _written_in(adata)
        if before is None or after is None or before == after:
            return
        self._forget(adata)
        tables = (adata.obs, adata.obsm, adata.uns)
        for table, names, added in zip(tables, before, after, strict=True):
            for name in added - names:
                del table[name]

    def _check_if_trained(self, warn: bool = True, message: str | None = None) -> None:
        """Raise of a model that was not trained, or warn."""
        if not warn and not self.is_trained_:
            raise TrainingError(
                "Trying to query inferred values from an untrained model"
                f"{f', by `{self._asked}`' if self._asked else ''}.",
                remedy="call model.train() first.",
            )
        super()._check_if_trained(warn, *(() if message is None else (message,)))

    def _validate_anndata(
        self, adata: AnnData | None = None, copy_if_view: bool = True
    ) -> AnnData:
        """Register an AnnData with this model; errors are in terms of what was asked."""
        if adata is None or adata is self.adata:
            return super()._validate_anndata(adata, copy_if_view=copy_if_view)
        adata = opened(adata, f"model.{self._asked}(" if self._asked else "adata = ")
        with errors_of_query(adata, lambda: self.registry), warnings.catch_warnings():
            if self._asked:  # nothing is trained on them
                warnings.filterwarnings("ignore", message=".* has fewer than 3 cells")
            return super()._validate_anndata(adata, copy_if_view=copy_if_view)

    def _minibatches(
        self,
        adata: AnnData | None,
        indices: Sequence[int] | None,
        batch_size: int | None,
        dataloader: Iterator[dict[str, Tensor | None]] | None,
        data_loader_kwargs: dict[str, Any] | None,
    ) -> Iterator[dict[str, Tensor | None]]:
        """Yield the minibatches of an AnnData, or those of a loader that was given."""
        check_adata_or_dataloader(self, adata, dataloader)
        if dataloader is None:
            adata = self._validate_anndata(adata)
            dataloader = self._make_data_loader(
                adata=adata, indices=indices, batch_size=batch_size, **(data_loader_kwargs or {})
            )
        return iter(dataloader)


def _written_in(adata: Any) -> tuple[set[Any], ...] | None:
    """Return the names of what registering may add to; None of what is no AnnData in memory."""
    if not isinstance(adata, AnnData) or adata.is_view:
        return None
    return set(adata.obs), set(adata.obsm), set(adata.uns)

"""Which posterior a query is answered by: the encoder's, or each cell's own."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

from lucidvi.checks import check_choice
from lucidvi.errors import DataError
from lucidvi.model.queries._signature import by_name, with_keywords

#: The encoder's first guess, or what :meth:`refine_posterior` makes of it.
POSTERIORS = ("encoder", "refined")


def is_refined(posterior: Any, name: str, arguments: Mapping[str, Any]) -> bool:
    """Return whether a query is about refined posteriors; raise where it cannot be.

    Parameters
    ----------
    posterior
        Value of the argument ``posterior``.
    name
        Name of the method that answers the query.
    arguments
        Other arguments of the query, by name.
    """
    check_choice("posterior", posterior, POSTERIORS)
    if posterior == "refined" and arguments.get("dataloader") is not None:
        raise DataError(
            '`posterior="refined"` refines cells of an AnnData, and '
            f"`{name}` was given a `dataloader`.",
            remedy=f'model.{name}(adata, posterior="refined")',
        )
    return posterior == "refined"


def of_either_posterior(method: Callable[..., Any]) -> Callable[..., Any]:
    """Let a query be answered by refined posteriors, too; a decorator, outside of ``query``.

    The cells are refined, their posteriors are put where scvi-tools looks for stored ones, in a
    copy, and the query is asked of that.
    """
    theirs = inspect.signature(method)
    signature = with_keywords(theirs, {"posterior": "encoder"})

    @wraps(method)
    def answer(self: Any, *args: Any, posterior: str = "encoder", **kwargs: Any) -> Any:
        name = method.__name__
        if not is_refined(posterior, name, kwargs):
            return method(self, *args, **kwargs)
        arguments = by_name(theirs, self, args, kwargs)
        is_refined(posterior, name, arguments)
        adata = arguments.pop("adata", None)
        refined = self.refine_posterior(
            adata, arguments.pop("indices", None), batch_size=arguments.get("batch_size")
        )
        stored = refined.to_adata(self.adata if adata is None else adata)
        try:
            return method(self, stored, **arguments)
        finally:
            self._forget(stored)

    answer.__signature__ = signature  # type: ignore[attr-defined]
    return answer

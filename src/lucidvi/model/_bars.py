"""How far the methods that scvi-tools brings are, where they take long."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from inspect import signature
from typing import Any

from scvi.model.base import BaseModelClass, RNASeqMixin

from lucidvi._progress import settings, without_bars


def one_bar(method: Callable[..., Any]) -> Callable[..., Any]:
    """Return a method of scvi-tools that shows its own bar, if it is not silent, and no other.

    Parameters
    ----------
    method
        Method with an argument ``silent``. Silent, it shows how far it is as all methods do that
        read cells: by a bar from two seconds on.
    """
    name, arguments = method.__name__, signature(method)

    @wraps(method)
    def shown_once(self: BarsMixin, *args: Any, **kwargs: Any) -> Any:
        request = arguments.bind(self, *args, **kwargs)
        request.apply_defaults()
        following = getattr(super(BarsMixin, self), name)
        if request.arguments["silent"]:
            return following(*args, **kwargs)
        if not settings.progress_bars:
            request.arguments["silent"] = True
            return following(*request.args[1:], **request.kwargs)
        with without_bars():
            return following(*args, **kwargs)

    shown_once.documents = method  # type: ignore[attr-defined]
    return shown_once


class BarsMixin(BaseModelClass):
    """Bars of what scvi-tools computes; comes right before the classes that compute it."""

    get_normalized_expression: Any = one_bar(RNASeqMixin.get_normalized_expression)
    get_feature_correlation_matrix: Any = one_bar(RNASeqMixin.get_feature_correlation_matrix)

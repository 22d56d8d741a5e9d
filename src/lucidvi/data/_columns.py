"""Arguments of ``setup_anndata``, and the columns of ``obs`` that they name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

#: Arguments that name one column.
ONE_COLUMN = ("batch_key", "labels_key", "size_factor_key")
#: Arguments that name several columns.
COLUMN_LISTS = ("categorical_covariate_keys", "continuous_covariate_keys")
#: Arguments that name columns of categories.
OF_CATEGORIES = ("batch_key", "labels_key", "categorical_covariate_keys")
#: Arguments that say what the data are, in the order of the signature.
ARGUMENTS = ("layer", *ONE_COLUMN, *COLUMN_LISTS, "is_count_data")


def named_columns(
    setup_args: Mapping[str, Any], arguments: Iterable[str] = (*ONE_COLUMN, *COLUMN_LISTS)
) -> Iterator[tuple[str, str]]:
    """Yield each argument and column that it names.

    Parameters
    ----------
    setup_args
        Arguments of ``setup_anndata``, by name.
    arguments
        Names of the arguments that are looked at.
    """
    for argument in arguments:
        names = setup_args.get(argument)
        if names is not None:
            yield from (
                (argument, name) for name in ([names] if isinstance(names, str) else names)
            )

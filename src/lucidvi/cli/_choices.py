"""What an option can be, before what reads it is imported: torch and scvi-tools take seconds.

The tables stay the one place where a choice is added.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path

PACKAGE = Path(__file__).parent.parent


def names_in(table: str, file: str) -> list[str]:
    """Return the names in a table, read from its source as long as nothing has imported it.

    Parameters
    ----------
    table
        Name of the table, a dictionary that is written out.
    file
        Path of its module inside the package, with slashes.
    """
    module = sys.modules.get(f"lucidvi.{file.removesuffix('.py').replace('/', '.')}")
    if module is not None:
        return list(getattr(module, table))
    for statement in ast.parse((PACKAGE / file).read_text(encoding="utf-8")).body:
        match statement:
            case (
                ast.Assign(targets=[ast.Name(name)], value=ast.Dict(rows))
                | ast.AnnAssign(target=ast.Name(name), value=ast.Dict(rows))
            ) if name == table:
                return [ast.literal_eval(row) for row in rows if row is not None]
    raise LookupError(f"{file} has no table {table}")


def likelihoods() -> list[str]:
    """Values of ``gene_likelihood``."""
    return names_in("LIKELIHOODS", "distributions/_table.py")


def presets() -> list[str]:
    """Values of ``preset``."""
    return names_in("PRESETS", "train/_presets.py")


def kinds() -> list[str]:
    """Values of ``kind``, the first of which is the usual one."""
    return names_in("MODELS", "model/_models.py")


def posteriors() -> list[str]:
    """Values of ``posterior``."""
    return names_in("POSTERIORS", "inference/_posterior_of.py")

"""The table of models, which files, commands and conversions read."""

from __future__ import annotations

from typing import Any

import scvi
from scvi.model.base import BaseModelClass

from lucidvi.errors import ModelTypeError, first_few
from lucidvi.model._base import LucidModel
from lucidvi.model._flowvi import FLOWVI
from lucidvi.model._mosaicvi import MOSAICVI
from lucidvi.model._scvi import SCVI

#: Models by the name that their files bear. A new model is a class and a row.
MODELS: dict[str, type[LucidModel]] = {
    "SCVI": SCVI,
    "MOSAICVI": MOSAICVI,
    "FLOWVI": FLOWVI,
}
#: Models of scvi-tools, by the name that their files bear, that an audit looks at as they are:
#: scvi-tools alone reads them, by running what a file may hold.
READ_BY_SCVI_TOOLS: tuple[str, ...] = ("LinearSCVI", "SCANVI")


def as_lucid_model(model: Any) -> Any:
    """Return a model of LucidVI for one of scvi-tools that a class of LucidVI can be made from.

    Parameters
    ----------
    model
        Anything; what no class of :data:`MODELS` can be made from is returned as it is.
    """
    for cls in MODELS.values():
        if isinstance(model, cls._scvi_tools_classes):
            return cls.from_scvi_model(model)
    return model


def convertible() -> list[str]:
    """Return the classes of scvi-tools from whose models one of LucidVI can be made, as code."""
    classes = [kind for cls in MODELS.values() for kind in cls._scvi_tools_classes]
    return [f"scvi.model.{kind.__name__}" for kind in classes]


def class_of_saved(
    folder: str, purpose: str, *, read_by_scvi_tools: bool = False
) -> type[BaseModelClass]:
    """Return the class that loads a saved model.

    Parameters
    ----------
    folder
        Folder that ``save`` of LucidVI or of scvi-tools wrote. Nothing in it is run.
    purpose
        What shall be done with the model, as in "which cannot be audited".
    read_by_scvi_tools
        Whether a model of :data:`READ_BY_SCVI_TOOLS` will do: its class is one of scvi-tools,
        whose ``load`` runs what the files hold.

    Raises
    ------
    lucidvi.errors.ModelTypeError
        If the model is of another class.
    lucidvi.errors.FileError
        If there is no saved model.
    """
    name = LucidModel.load_registry(folder)["model_name"]
    of_scvi_tools = READ_BY_SCVI_TOOLS if read_by_scvi_tools else ()
    if name in of_scvi_tools:
        return getattr(scvi.model, name)
    if name not in MODELS:
        raise ModelTypeError(
            f"{folder} holds a {name}, which cannot be {purpose}.",
            remedy=f"Give one of {first_few([*MODELS, *of_scvi_tools])}.",
        )
    return MODELS[name]

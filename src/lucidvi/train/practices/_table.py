"""The practices of training, and what follows from the table: options and their documentation."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from typing import Any

from lucidvi.train.practices._align_axes import AlignAxes
from lucidvi.train.practices._collapse_warning import CollapseWarning
from lucidvi.train.practices._encoder_first import EncoderFirst
from lucidvi.train.practices._mean_norm import MeanNorm
from lucidvi.train.practices._practice import Practice
from lucidvi.train.practices._start_from_data import StartFromData
from lucidvi.train.practices._start_from_factors import StartFromFactors

#: The practices, in the order in which a training goes through them: first what gives a module its
#: start, then what changes its weights between epochs, then what holds in a step, of which the
#: first is the outermost, and last what looks at the outcome.
PRACTICES: dict[str, type[Practice]] = {
    "start_from_data": StartFromData,
    "start_from_factors": StartFromFactors,
    "align_axes": AlignAxes,
    "mean_norm": MeanNorm,
    "encoder_first": EncoderFirst,
    "collapse_warning": CollapseWarning,
}


def practice_options() -> dict[str, Any]:
    """Return the defaults of the options of all practices, by name."""
    return {
        name: default
        for practice in PRACTICES.values()
        for name, default in practice.options().items()
    }


def make_practices(arguments: Mapping[str, Any]) -> tuple[list[Practice], dict[str, Any]]:
    """Make the practices of a training.

    Parameters
    ----------
    arguments
        Arguments of a training plan by name, those of practices among them.

    Returns
    -------
    The practices that are on, in the order of the table, and the arguments that are no practice's.

    Raises
    ------
    lucidvi.errors.DataError
        If an option has a value that it cannot have.
    """
    rest, practices = dict(arguments), []
    for cls in PRACTICES.values():
        options = {name: rest.pop(name) for name in cls.options() if name in rest}
        practices.append(cls(**options))
    return [practice for practice in practices if practice.is_on], rest


#: Where a section of a numpy docstring begins.
SECTION = re.compile(r"^(\w+)\n-+\n", re.MULTILINE)


def documented_options() -> str:
    """Return the descriptions of the options of all practices, in numpy style."""
    texts = []
    for practice in PRACTICES.values():
        _, *parts = SECTION.split(inspect.getdoc(practice) or "")
        sections = dict(zip(parts[::2], parts[1::2], strict=True))
        texts.append(sections.get("Parameters", "").strip())
    return "\n".join(filter(None, texts))


def with_documented_options(plan: type) -> str:
    """Return the docstring of a training plan, the options of practices before ``**kwargs``."""
    return (inspect.getdoc(plan) or "").replace(
        "\n**kwargs\n", f"\n{documented_options()}\n**kwargs\n"
    )

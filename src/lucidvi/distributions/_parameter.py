"""What a likelihood's parameters are, and what may be asked of a family: data, not code."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from lucidvi.errors import DataError

#: From the space in which a parameter is held to the linear one.
TO_LINEAR: dict[str, Callable[[Tensor], Tensor]] = {"log": torch.exp, "logit": torch.sigmoid}


@dataclass(frozen=True)
class Parameter:
    """A parameter of a likelihood besides its mean.

    Parameters
    ----------
    label
        Name of its linear values in ``get_likelihood_parameters``.
    by
        ``"gene"`` for a value a gene, or as many as the argument ``dispersion`` of a model says;
        ``"cell"`` for a value a gene and cell, which a decoder's head provides.
    space
        Space in which it is held, ``"log"`` or ``"logit"``.
    bounds
        Values in that space to which it is clamped, so that all formulas stay float32 numbers.
    start
        Value in that space from which a fit of it starts.
    absent
        What to add to it, in that space, so that it has no effect; None where there is no such
        value.
    """

    label: str
    by: Literal["gene", "cell"]
    space: Literal["log", "logit"]
    bounds: tuple[float, float] | None = None
    start: float = 0.0
    absent: float | None = None

    def linear(self, values: Tensor) -> Tensor:
        """Return linear values of the parameter."""
        return TO_LINEAR[self.space](values)

    def clamped(self, values: Tensor) -> Tensor:
        """Return values within the bounds."""
        return values if self.bounds is None else values.clamp(*self.bounds)


@dataclass(frozen=True)
class Question:
    """Whether one likelihood is needed in place of another, as an audit asks it.

    Parameters
    ----------
    name
        Name of the criterion.
    better, than
        The two, by the names of :func:`lucidvi.distributions.candidates`.
    what
        What the better one has and the other has not; the subject of a sentence.
    why
        What is wrong where it is needed, as a sentence.
    """

    name: str
    better: str
    than: str
    what: str
    why: str


class Moments(Protocol):
    """Sums over training cells, of each gene or of all cells, from which parameters can start.

    Tensors have the shape ``(n_genes,)``.
    """

    @property
    def counts(self) -> Tensor:
        """Sums of counts."""

    @property
    def squares(self) -> Tensor:
        """Sums of squared counts."""

    @property
    def exposed(self) -> Tensor:
        """Sums of counts times exposure."""

    @property
    def exposure(self) -> float:
        """Sum of the exposures."""

    @property
    def squared_exposure(self) -> float:
        """Sum of the squared exposures."""

    @property
    def rate(self) -> Tensor:
        """Mean expression a unit of exposure."""


#: Values of a parameter, or what makes them when they are first asked for.
Values = Tensor | Callable[[], Tensor]


class Parameters(Mapping[str, Tensor]):
    """Values of parameters within their bounds, each made when it is first asked for.

    What only needs the mean, such as normalized expression, so costs no product for the others.

    Parameters
    ----------
    kinds
        The parameters, by name, in their order.
    values
        Their values by name, or functions that make them.
    """

    def __init__(self, kinds: Mapping[str, Parameter], values: Mapping[str, Values]) -> None:
        self._kinds = kinds
        self._waiting = {name: values[name] for name in kinds}
        self._made: dict[str, Tensor] = {}

    def __getitem__(self, name: str) -> Tensor:
        if name in self._waiting:
            values = self._waiting[name]
            made = values() if callable(values) else values
            self._made[name] = self._kinds[name].clamped(made)
            del self._waiting[name]
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._kinds)

    def __len__(self) -> int:
        return len(self._kinds)


def check_parameters(
    family: str, kinds: Mapping[str, Parameter], parameters: Mapping[str, Values]
) -> Parameters:
    """Return the parameters of a family of likelihoods in its order, within their bounds.

    Parameters
    ----------
    family
        Name of the class, for an error.
    kinds
        Parameters that the family has, by name.
    parameters
        Values of the parameters by name, or functions that make them.

    Raises
    ------
    lucidvi.errors.DataError
        If a value is missing, or there is no such parameter.
    """
    for name in kinds:
        if parameters.get(name) is None:
            raise DataError(
                f"`{name}` is missing, which this likelihood needs.",
                remedy=f"give `{name}`, of a shape that broadcasts with the mean.",
            )
    for name in parameters:
        if name not in kinds:
            raise DataError(
                f"`{name}` is no parameter of {family}.",
                remedy=f"its parameters are: {', '.join(kinds) or 'none'}.",
            )
    return Parameters(kinds, parameters)


def check_mean(
    logits: Tensor | None, log_library: Tensor | None, log_scale: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return the one of `logits` and `log_scale` that is there, and the log exposure."""
    means = [tensor for tensor in (logits, log_scale) if tensor is not None]
    if log_library is None or len(means) != 1:
        raise DataError(
            f"A likelihood takes `log_library` and exactly one of `logits` and `log_scale`; it "
            f"was given {'no' if log_library is None else 'a'} `log_library` and {len(means)} of "
            "the other two.",
            remedy="give `log_library` and one of the two.",
        )
    return means[0], log_library

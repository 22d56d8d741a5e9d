"""What a likelihood's parameters are, and what may be asked of a family: data, not code."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

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

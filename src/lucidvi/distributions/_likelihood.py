"""The contract of a likelihood, and all that families have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from lucidvi.distributions._mean import Mean
from lucidvi.distributions._parameter import (
    Moments,
    Parameter,
    Question,
    Values,
    check_mean,
    check_parameters,
)
from lucidvi.errors import ModelTypeError
from lucidvi.kernels import to_dense


class Likelihood(Mean, Distribution, ABC):
    r"""Distribution of what is observed of cells given their latent state.

    The mean is :math:`\mu = \ell \, \rho`, with the exposure (library) :math:`\ell` of the cell
    and its normalized expression :math:`\rho = \mathrm{softmax}(\mathrm{logits})`. All of it is
    kept and combined as logarithms, so neither a rare gene nor a deep cell leaves the range of
    float32. A likelihood is never changed: what returns another one is pure.

    A family is one class and one row of :data:`lucidvi.distributions.LIKELIHOODS`. It states the
    attributes below, :attr:`mean`, :attr:`variance`, :meth:`log_prob` and :meth:`sample`, and what
    else of this class it knows better; of counts, see :class:`CountLikelihood`.

    Parameters
    ----------
    logits
        Unnormalized log expression, shape ``(..., n_cells, n_genes)``.
    log_library
        Log exposure, shape ``(..., n_cells, 1)``.
    log_scale
        Log normalized expression, shape ``(..., n_cells, n_genes)``, in place of ``logits``
        where it is not a softmax.
    *values, **parameters
        Values of :attr:`parameters`, in their order or by name, of shapes that broadcast to
        ``(..., n_cells, n_genes)``, or functions that make them when they are first asked for.
        They are clamped to their bounds.

    Raises
    ------
    lucidvi.errors.DataError
        If not exactly one of ``logits`` and ``log_scale`` is given, or a parameter is missing.
    """

    #: Name of the family, a value of ``gene_likelihood``.
    family: ClassVar[str]
    #: Parameters besides the mean, by name, in the order in which formulas take them.
    parameters: ClassVar[Mapping[str, Parameter]] = {}
    #: Family that it is where what can be absent of its parameters is; None for its own.
    without_absent: ClassVar[str | None] = None
    #: Whether it is a distribution of counts.
    is_counts: ClassVar[bool] = False
    #: Whether of a count only matters that it is not zero.
    is_binary: ClassVar[bool] = False
    #: The distribution of scvi-tools with the same parameters, if there is one, and its names of
    #: them by the names here; what is a log here is linear there.
    adopts: ClassVar[type[Distribution] | None] = None
    read: ClassVar[Mapping[str, str]] = {}
    #: What an audit asks of a model with this likelihood, and of one with a dispersion by batch.
    questions: ClassVar[tuple[Question, ...]] = ()
    questions_by_batch: ClassVar[tuple[Question, ...]] = ()
    #: Whether an audit also tries the family with parameters of each batch.
    tried_by_batch: ClassVar[bool] = False
    #: Family of the model without latent state that an audit compares with.
    without_state: ClassVar[str] = "nb"
    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        # scvi-tools joins distributions by these names, so they are those of the constructor.
        names = ("log_scale", "log_library", *cls.parameters)
        cls.arg_constraints = dict.fromkeys(names, constraints.real)

    def __init__(
        self,
        logits: Tensor | None = None,
        log_library: Tensor | None = None,
        *values: Values,
        log_scale: Tensor | None = None,
        **parameters: Values,
    ) -> None:
        parameters |= dict(zip(self.parameters, values, strict=False))
        # Held as it comes until something else is asked for: the kernels take logits as they are.
        self._unnormalized, log_library = check_mean(logits, log_library, log_scale)
        self._softmax = log_scale is None
        self._log_mean = None
        self._parameters = check_parameters(type(self).__name__, self.parameters, parameters)
        # One for each draw, so that parameters can be joined along the axis of the cells.
        self.log_library = log_library.expand(*self._unnormalized.shape[:-1], 1)
        Distribution.__init__(self, batch_shape=self._unnormalized.shape, validate_args=False)

    @classmethod
    def with_mean(cls, log_mean: Tensor, **parameters: Tensor) -> Self:
        """Return the likelihood whose mean, zero inflation included, is ``exp(log_mean)``."""
        zeros = torch.zeros_like(log_mean[..., :1])
        return cls(log_scale=log_mean, log_library=zeros, **parameters)

    @classmethod
    def names(cls, *by: str) -> tuple[str, ...]:
        """Return the names of the parameters that are ``by`` ``"gene"``, ``"cell"``, or either."""
        return tuple(name for name, kind in cls.parameters.items() if kind.by in by)

    @classmethod
    def start(cls, moments: Moments) -> dict[str, Tensor]:
        """Return values of parameters, a value a gene, at which a training starts.

        Parameters
        ----------
        moments
            Moments of the counts of the training cells.

        Returns
        -------
        Values by name of the parameter, in its space, each of shape ``(n_genes,)``; parameters
        that start at random are not among them.
        """
        return {}

    @classmethod
    def adopt(cls, px: Any) -> Self:
        """Return the likelihood with the numbers of one of scvi-tools', or of its own kind.

        Parameters
        ----------
        px
            A distribution of the kind :attr:`adopts`, or of this class.
        """
        if isinstance(px, Likelihood):
            # Logs are taken anew, as of what scvi-tools holds, so that a model gives the same
            # numbers to the last bit whoever holds it.
            anew = {
                name: _log(cls.parameters[name].linear(px._parameters[name]))
                for name in cls.read
                if cls.parameters[name].space == "log"
            }
            return cls._of(px.log_mean, px.log_scale, px.log_library, {**px._parameters, **anew})
        parameters = {
            name: _log(getattr(px, theirs))
            if cls.parameters[name].space == "log"
            else getattr(px, theirs)
            for name, theirs in cls.read.items()
        }
        log_mean, log_scale = (_log(px.get_normalized(key)) for key in ("mu", "scale"))
        log_library = log_mean.logsumexp(-1, keepdim=True) - log_scale.logsumexp(-1, keepdim=True)
        return cls._of(log_mean, log_scale, log_library, parameters)

    # -- the parameters ----------------------------------------------------------------------

    def parameter(self, name: str) -> Tensor:
        """Return a parameter, as it is held, of shape ``(..., n_cells, n_genes)``."""
        return self._parameters[name].expand(self.batch_shape)

    @property
    def parameter_values(self) -> tuple[Tensor, ...]:
        """Values of :attr:`parameters`, in their order, as they are held."""
        return tuple(self._parameters.values())

    def linear(self, name: str) -> Tensor:
        """Return a parameter, linear, of shape ``(..., n_cells, n_genes)``."""
        return self.parameters[name].linear(self._parameters[name]).expand(self.batch_shape)

    def likelihood_parameters(self) -> dict[str, Tensor]:
        """Mean and parameters by the names of ``get_likelihood_parameters``, linear."""
        linear = {kind.label: self.linear(name) for name, kind in self.parameters.items()}
        return {"mean": self.mu, **linear}

    # -- what a family states ----------------------------------------------------------------

    @property
    @abstractmethod
    def mean(self) -> Tensor:
        """Mean, zero inflation included, linear, shape ``(..., n_cells, n_genes)``."""

    @property
    @abstractmethod
    def variance(self) -> Tensor:
        """Variance, linear, shape ``(..., n_cells, n_genes)``."""

    @abstractmethod
    def log_prob(self, value: Tensor) -> Tensor:
        """Log probability (density) of each value, in nats, shape ``(..., n_cells, n_genes)``.

        Parameters
        ----------
        value
            Values (linear), dense, of a shape that broadcasts with the parameters', or CSR.
        """

    @abstractmethod
    def sample(self, sample_shape: Sequence[int] | None = None) -> Tensor:
        """Draw values, shape ``(*sample_shape, ..., n_cells, n_genes)``."""

    @torch.inference_mode()
    def sample_nonzero(self) -> tuple[Tensor, Tensor, Tensor]:
        """Draw values, and return those that are not zero.

        Returns
        -------
        Cells and features of these, and the values, each of shape ``(n,)``, cell by cell.
        """
        values = self.sample()
        cells, features = values.nonzero(as_tuple=True)
        return cells, features, values[cells, features]

    def cumulative(self, x: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Probability of less than, and of at most, each value, float64, of their shape.

        Parameters
        ----------
        x
            Values (linear), dense, shape ``(n_cells, n_genes)``.
        """
        raise self._unable("has no distribution function")

    @property
    def signal(self) -> Tensor:
        """Mean without background, linear; the mean where there is none, :attr:`background`."""
        return self.mean

    @property
    def background(self) -> Tensor | None:
        """Probability that a value is background, of shape ``(..., n_cells, n_genes)``."""
        return None

    def further(self, x: Tensor, factor: Tensor) -> Likelihood:
        r"""Distribution of the counts that more sequencing of the same cells adds.

        Parameters
        ----------
        x
            The observed counts, dense, shape ``(n_cells, n_genes)``; this is their likelihood.
        factor
            Additional exposure as a multiple of that which was spent, shape ``(n_cells, 1)``; may
            be zero.

        Returns
        -------
        A likelihood of the same shape.

        Raises
        ------
        lucidvi.errors.ModelTypeError
            If it is no likelihood of counts, or its family does not say.
        """
        raise self._unable("does not say what more sequencing of a cell would add")

    # -- what follows from it ----------------------------------------------------------------

    def log_likelihood(self, x: Tensor) -> Tensor:
        """Sum of :meth:`log_prob` over the genes, in nats, shape ``(..., n_cells)``.

        Parameters
        ----------
        x
            Values (linear), CSR of shape ``(n_cells, n_genes)``, or as in :meth:`log_prob`.
        """
        return self.log_prob(to_dense(x)).sum(dim=-1)

    @property
    def information(self) -> Tensor:
        r"""Information about the log mean before inflation, shape ``(..., n_cells, n_genes)``.

        :math:`\mu^2 / \operatorname{Var} x`, which is Fisher's for a Poisson, for a negative
        binomial and for a normal, and otherwise a lower bound of it.
        """
        return self.mu.square() / self.variance

    def scaled(self, log_factor: Tensor | float) -> Self:
        """Return the likelihood with its means multiplied, and all else as it is.

        Parameters
        ----------
        log_factor
            Log of the factor, of a shape that broadcasts to ``(..., n_cells, n_genes)``.
        """
        return self._of(
            self.log_mean + log_factor, self.log_scale, self.log_library, self._parameters
        )

    def shifted(self, log_shift: Tensor, renormalize: bool = True) -> Self:
        """Return the likelihood with other means, and without what can be absent of parameters.

        Parameters
        ----------
        log_shift
            Logs of the factors, of a shape that broadcasts to ``(..., n_cells, n_genes)``.
        renormalize
            Let the normalized expression sum to what it did before.
        """
        log_scale = self.log_scale
        if renormalize:
            total = log_scale.logsumexp(-1, keepdim=True)
            log_shift = log_shift + total - (log_scale + log_shift).logsumexp(-1, keepdim=True)
        parameters = {
            name: values if (absent := self.parameters[name].absent) is None else values + absent
            for name, values in self._parameters.items()
        }
        log_mean, log_scale = self.log_mean + log_shift, log_scale + log_shift
        return self._of(log_mean, log_scale, self.log_library, parameters)

    def limited(self, largest: float) -> Self:
        """Return the likelihood with a rate of draws that is limited, where a mean is a rate."""
        return self

    def of_features(self, mask: Tensor, renormalize: bool = False) -> Self:
        r"""Return the likelihood of some features.

        Parameters
        ----------
        mask
            Mask of the features, bool, shape ``(n_features,)``.
        renormalize
            Let the normalized expression sum to one over these features alone:
            :math:`\mu_g / \sum_{h\ \text{measured}} \rho_h`. For an exposure that is the total of
            the measured counts.
        """
        n = self.batch_shape[-1]
        parameters = {
            name: values[..., mask] if values.shape[-1:] == (n,) else values
            for name, values in self._parameters.items()
        }
        log_scale, log_mean = self.log_scale[..., mask], self.log_mean[..., mask]
        if renormalize:
            log_share = _log(log_scale.exp().sum(dim=-1, keepdim=True))
            log_scale, log_mean = log_scale - log_share, log_mean - log_share
        return self._of(log_mean, log_scale, self.log_library, parameters)

    # -- how it is made ----------------------------------------------------------------------

    @classmethod
    def _of(
        cls,
        log_mean: Tensor,
        log_scale: Tensor,
        log_library: Tensor,
        parameters: Mapping[str, Values],
    ) -> Self:
        """Return the likelihood with a mean that is not the product of scale and library."""
        named: dict[str, Any] = dict(parameters)
        made = cls(log_scale=log_scale, log_library=log_library, **named)
        made._log_mean = log_mean
        return made

    def _unable(self, what: str) -> ModelTypeError:
        return ModelTypeError(
            f"The likelihood {self.family!r} {what}.",
            remedy="train a model with another `gene_likelihood`, such as 'nb'.",
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}(shape={tuple(self.batch_shape)})"


def _log(x: Tensor) -> Tensor:
    """Log of what may be zero."""
    return x.clamp(min=torch.finfo(x.dtype).tiny).log()

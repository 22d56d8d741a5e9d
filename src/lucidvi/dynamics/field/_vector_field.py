"""A vector field with growth, and how states move along it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from os import PathLike
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from lucidvi._progress import Progress
from lucidvi.checks import check_whole, times_from
from lucidvi.dynamics.field._saved import read_field, write_field
from lucidvi.errors import DataError, MissingPackageError
from lucidvi.nn import Networks

Array = NDArray[np.float32]
#: Steps of an integration over the whole time course.
N_STEPS = 40
#: Longest way of states, in units of the time course.
MOST_SPANS = 100
#: States that are evaluated at once.
AT_ONCE = 50_000


class States(NamedTuple):
    """States that moved along a field.

    Parameters
    ----------
    z
        Shape ``(n, n_latent)``, or ``(n_times, n, n_latent)`` at several times.
    log_mass
        Log of what became of a mass of one, of the shape of ``z`` without its last axis.
    """

    z: Array
    log_mass: Array


@dataclass(frozen=True, eq=False)
class VectorField:
    r"""Velocity and growth as functions of state and time, with what is not known of them.

    .. math::
        \frac{dz}{dt} = v(z, t), \qquad \frac{d \log m}{dt} = g(z, t)

    Before the first time and after the last, it is that of the first and the last; one of no time
    is the same at all. Of several
    members, each found from cells that were drawn anew, it gives the mean, and how far
    they differ. :func:`lucidvi.dynamics.fit_flow` makes it, and :func:`lucidvi.dynamics.flow_of`.

    Parameters
    ----------
    velocities, growths
        Networks of the members, in units of ``speed`` and ``rate``; ``growths`` is None where
        nothing grows.
    center, axes, spread
        States enter less ``center``, shape ``(n_latent,)``, along ``axes``, the principal ones,
        shape ``(n_latent, n_latent)``, over ``spread``, one number: so that a rotation of the
        states changes nothing.
    times
        Times of the samples, shape ``(n_times,)``; times enter as a share of their range. Of a
        field of no time, those between which an integration takes forty steps.
    speed, rate
        Units of velocity and growth.
    samples
        What it was found from, and what it says of that: a row a time, with ``n_cells``, ``mass``,
        ``mass_of_field`` that comes out of the first time's cells along the field, and
        ``p_apart``, how often cells of permuted times are as far apart as those of this time and
        the one before; and of inner times ``unpredicted``, how far paths between the others miss
        one that is left out, in units of how far the nearer sample is (energy distances).
    """

    velocities: Networks
    growths: Networks | None
    center: NDArray[np.float64]
    axes: NDArray[np.float64]
    spread: float
    times: NDArray[np.float64]
    speed: float
    rate: float
    samples: pd.DataFrame = field(default_factory=pd.DataFrame)

    @property
    def n_members(self) -> int:
        """How many fields it is the mean of."""
        return len(self.velocities.weights[0])

    @property
    def n_latent(self) -> int:
        """Dimensions of a state."""
        return len(self.center)

    @property
    def is_stationary(self) -> bool:
        """Whether it depends on no time, as of spliced and unspliced molecules."""
        return self.velocities.weights[0].shape[1] == self.n_latent

    def __repr__(self) -> str:
        if self.is_stationary:
            return f"VectorField({self.n_latent} dimensions, of no time, {self.n_members} members)"
        grows = "with" if self.growths is not None else "without"
        return (
            f"VectorField({self.n_latent} dimensions, {len(self.times)} times from "
            f"{self.times[0]:.12g} to {self.times[-1]:.12g}, {grows} growth, "
            f"{self.n_members} members)"
        )

    def __call__(self, z: ArrayLike, t: ArrayLike, member: int | None = None) -> Array:
        """Return the velocity, see :meth:`velocity`."""
        return self.velocity(z, t, member)

    def velocity(self, z: ArrayLike, t: ArrayLike, member: int | None = None) -> Array:
        """Return how fast states move.

        Parameters
        ----------
        z
            States, shape ``(n, n_latent)``.
        t
            Time, one or one for each state.
        member
            Which member to ask; by default the mean of all.

        Returns
        -------
        :math:`dz/dt`, in latent units per unit of time, shape ``(n, n_latent)``.

        Raises
        ------
        lucidvi.errors.DataError
            If states or times are of another shape, or not finite.
        """
        return self._of_members(z, t, member, self._velocity).mean(axis=0)

    def growth(self, z: ArrayLike, t: ArrayLike, member: int | None = None) -> Array:
        r"""Return how fast cells become more.

        Parameters
        ----------
        z, t, member
            See :meth:`velocity`.

        Returns
        -------
        :math:`d\\log m/dt`, per unit of time, shape ``(n,)``; zero where nothing grows.
        """
        return self._of_members(z, t, member, self._growth).mean(axis=0)

    def uncertainty(self, z: ArrayLike, t: ArrayLike) -> Array:
        """Return how far the members differ about the velocity.

        Parameters
        ----------
        z, t
            See :meth:`velocity`.

        Returns
        -------
        Standard deviation of each component over the members, shape ``(n, n_latent)``.

        Raises
        ------
        lucidvi.errors.DataError
            If there is one member.
        """
        self._check_several("uncertainty")
        return self._of_members(z, t, None, self._velocity).std(axis=0, ddof=1)

    def integrate(
        self,
        z: ArrayLike,
        t0: ArrayLike,
        t1: float | Sequence[float],
        member: int | None = None,
    ) -> States:
        """Follow states along the field, forwards or backwards in time.

        Parameters
        ----------
        z
            States, shape ``(n, n_latent)``.
        t0
            When they are there, one time or one for each state.
        t1
            When they are wanted: one time, or several that rise or fall.
        member
            Which member to follow; by default the mean of all.

        Returns
        -------
        States and the logs of what became of a mass of one in each.

        Raises
        ------
        lucidvi.errors.DataError
            If ``z`` is of another shape, or a time is not finite or out of order.
        """
        states = self._states(z)
        begins = self._times(t0, len(states), "t0")
        wanted = times_from("t1", t1, begins)
        self._check_span(begins, wanted)
        out = np.empty((len(wanted), len(states), self.n_latent + 1), np.float32)
        size = max(1, AT_ONCE // (1 if member is not None else self.n_members))
        n_blocks = -(-len(states) // size)
        with Progress("Following cells", n_blocks, slow_steps=True) as progress:
            for i in range(n_blocks):
                rows = slice(i * size, (i + 1) * size)
                out[:, rows] = self._followed(states[rows], begins[rows], wanted, member)
                progress.advance()
        z1, log_mass = out[..., :-1], out[..., -1]
        return States(z1, log_mass) if np.ndim(t1) else States(z1[0], log_mass[0])

    def save(self, path: str | PathLike[str]) -> None:
        """Write the field to a file.

        Parameters
        ----------
        path
            File to write, ``.npz``; an existing one is replaced.

        Raises
        ------
        lucidvi.errors.FileError
            If it is named otherwise or cannot be written.
        """
        write_field(self, path)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> VectorField:
        """Read a field that was saved; nothing of the file is run.

        Parameters
        ----------
        path
            File that :meth:`save` wrote.

        Raises
        ------
        lucidvi.errors.FileError
            If it is no such file, or damaged.
        """
        return cls(**read_field(path))

    # -- inside: in units of the networks -----------------------------------------------------

    def _inputs(self, z: Tensor, t: Tensor) -> Tensor:
        return z if self.is_stationary else torch.cat([z, t[..., None]], dim=-1)

    def _velocity(self, z: Tensor, t: Tensor, members: slice) -> Tensor:
        return self.velocities(self._inputs(z, t), members) @ self._axes.T * self.speed

    def _growth(self, z: Tensor, t: Tensor, members: slice) -> Tensor:
        if self.growths is None:
            return torch.zeros(len(range(self.n_members)[members]), len(t))
        return self.growths(self._inputs(z, t), members)[..., 0] * self.rate

    @torch.no_grad()
    def _of_members(self, z: ArrayLike, t: ArrayLike, member: int | None, ask: Any) -> np.ndarray:
        """Ask members, and return an axis of them first."""
        states, times = self._states(z), self._times(t, len(np.asarray(z)))
        chosen = self._chosen(member)
        parts = []
        for rows in range(0, max(1, len(states)), AT_ONCE):
            x = self._scaled(torch.as_tensor(states[rows : rows + AT_ONCE]))
            s = self._shares(times[rows : rows + AT_ONCE])
            parts.append(ask(x, s, chosen).numpy())
        return np.concatenate(parts, axis=1)

    @torch.no_grad()
    def _followed(
        self, z: np.ndarray, begins: np.ndarray, wanted: np.ndarray, member: int | None
    ) -> np.ndarray:
        """Integrate states, of shape ``(n, n_latent)``, to ``(n_times, n, n_latent + 1)``."""
        members = self._chosen(member)
        y = torch.cat([torch.as_tensor(z, dtype=torch.float32), torch.zeros(len(z), 1)], dim=1)
        reached = []
        for end in wanted:
            y = self._moved(y, torch.tensor(begins), float(end), members)
            begins = np.full(len(z), end)
            reached.append(y)
        return torch.stack(reached).numpy()

    def _moved(self, y: Tensor, begins: Tensor, end: float, members: slice) -> Tensor:
        """Integrate states with their log mass, each from a time of its own, to one time."""
        spans = end - begins
        longest = float(spans.abs().max())
        if longest == 0:
            return y

        def slope(share: Tensor, y: Tensor) -> Tensor:
            x, s = self._scaled(y[:, :-1]), self._shares(begins + share * spans)
            v, g = self._velocity(x, s, members), self._growth(x, s, members)
            change = torch.cat([v.mean(dim=0), g.mean(dim=0)[:, None]], dim=1)
            return change * spans.float()[:, None]

        n_steps = math.ceil(N_STEPS * longest / float(self.times[-1] - self.times[0]))
        ends, options = torch.tensor([0.0, 1.0]), {"step_size": 1 / n_steps}
        return solver()(slope, y, ends, method="rk4", options=options)[-1]

    def _check_span(self, begins: np.ndarray, wanted: np.ndarray) -> None:
        """Refuse ways far longer than the time course, as of times in another unit."""
        span = float(self.times[-1] - self.times[0])
        ends = np.concatenate([begins, wanted])
        longest = float(np.ptp(ends)) if begins.size else 0.0
        if longest > MOST_SPANS * span:
            raise DataError(
                f"States would be followed from {ends.min():.12g} to {ends.max():.12g}, and the "
                f"field is of times from {self.times[0]:.12g} to {self.times[-1]:.12g}.",
                remedy="give times in the units of the field's, see `field.times`.",
            )

    def _chosen(self, member: int | None) -> slice:
        if member is None:
            return slice(None)
        check_whole("member", member)
        if member >= self.n_members:
            raise DataError(
                f"`member` is {member}, and there are {self.n_members} members.",
                remedy=f"member={self.n_members - 1}, or less.",
            )
        return slice(member, member + 1)

    def _check_several(self, what: str) -> None:
        if self.n_members < 2:
            raise DataError(
                f"The field has one member, so that `{what}` cannot be told.",
                remedy="fit_flow(..., n_members=5)",
            )

    def _states(self, z: ArrayLike) -> np.ndarray:
        try:
            states = np.array(z, np.float32)
        except (TypeError, ValueError):  # texts, sparse matrices, AnnData
            raise DataError(
                f"`z` is a {type(z).__name__}, which is no array of numbers.",
                remedy=f"give an array of shape (n, {self.n_latent}).",
            ) from None
        if states.ndim != 2 or states.shape[1] != self.n_latent:
            raise DataError(
                f"`z` has the shape {states.shape}, and the field has {self.n_latent} dimensions.",
                remedy=f"give an array of shape (n, {self.n_latent}).",
            )
        bad = ~np.isfinite(states).all(axis=1)
        if bad.any():
            raise DataError(
                f"`z` is not finite in {bad.sum():,} of {len(states):,} states, {bad.argmax()} "
                "first.",
                remedy="leave these out.",
            )
        return states

    def _times(self, t: ArrayLike, n: int, name: str = "t") -> np.ndarray:
        try:
            times = np.asarray(t, np.float64)
        except (TypeError, ValueError):
            times = np.array(np.nan)
        if times.shape not in ((), (n,)) or not np.isfinite(times).all():
            raise DataError(
                f"`{name}` has the shape {times.shape}, or is not finite.",
                remedy=f"give one finite time, or {n:,} of them.",
            )
        return np.broadcast_to(times, (n,))

    @property
    def _axes(self) -> Tensor:
        return torch.as_tensor(self.axes, dtype=torch.float32)

    def _scaled(self, z: Tensor) -> Tensor:
        center = torch.as_tensor(self.center, dtype=torch.float32)
        return (z - center) @ self._axes / self.spread

    def _shares(self, t: Any) -> Tensor:
        times = torch.as_tensor(np.array(t) if isinstance(t, np.ndarray) else t)
        share = (times.double() - self.times[0]) / (self.times[-1] - self.times[0])
        return share.clamp(0, 1).float()


def solver() -> Any:
    """Return the solver of differential equations, or raise what to install."""
    try:
        from torchdiffeq import odeint
    except ImportError as error:
        raise MissingPackageError(
            f"Following a field needs the package torchdiffeq ({error}).",
            remedy='pip install "lucidvi[dynamics]".',
        ) from error
    return odeint

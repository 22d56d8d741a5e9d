"""Fitting networks to paths: flow matching, with growth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lucidvi._progress import track
from lucidvi._random import isolated
from lucidvi.dynamics.paths._paths import Paths
from lucidvi.nn import Networks

#: Width and number of the hidden layers, and of those of growth, which is one smooth number.
SHAPE, SHAPE_OF_GROWTH = (128, 3), (64, 2)
#: Points of a step, the rate that falls to zero as a cosine, and the share of it that rises.
N_POINTS, RATE, RISE = 256, 3e-3, 0.05
#: Points by which units are told.
N_UNITS = 10_000


@dataclass(frozen=True)
class Units:
    """In which the networks say velocity and growth.

    Parameters
    ----------
    center, axes, spread
        See :class:`lucidvi.dynamics.VectorField`.
    start, span
        First time, and time from there to the last.
    speed, rate
        Root mean squares of the velocities and growths of the paths.
    """

    center: NDArray[np.float64]
    axes: NDArray[np.float64]
    spread: float
    start: float
    span: float
    speed: float
    rate: float

    @classmethod
    def of(cls, paths: Sequence[Paths], rng: np.random.Generator) -> Units:
        """Measure points of the paths."""
        drawn = [one.draw(N_UNITS // len(paths) + 1, rng) for one in paths]
        z = np.concatenate([points.z for points in drawn])
        velocity = np.concatenate([points.velocity for points in drawn])
        growth = np.concatenate([points.growth for points in drawn])
        times, center = paths[0].times, z.mean(axis=0)
        return cls(
            center=center,
            axes=principal_axes(z - center),
            spread=_size(z - center),
            start=float(times[0]),
            span=float(times[-1] - times[0]),
            speed=_size(velocity),
            rate=_size(growth),
        )


def principal_axes(centered: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the principal axes of points as columns, each towards its longer tail.

    Parameters
    ----------
    centered
        Points less their mean, shape ``(n_points, n_latent)``.
    """
    axes = np.linalg.eigh(centered.T @ centered)[1][:, ::-1]
    skewed = ((centered @ axes) ** 3).sum(axis=0)
    return axes * np.where(skewed < 0, -1.0, 1.0)


def _size(values: NDArray[np.float64]) -> float:
    """Root mean square; one of nothing but zeros."""
    return float(np.sqrt(np.mean(values**2))) or 1.0


def match(
    paths: Sequence[Paths], units: Units, *, growth: bool, n_steps: int, seed: int
) -> tuple[Networks, Networks | None]:
    r"""Fit a network to the paths of each member.

    Where paths cross, the field is the mean of their velocities and of their growths, each
    weighted by the mass that passes:

    .. math::
        \min_{v, g} \; \mathbb{E}_{t, \text{path}} \, m(t)
            \left[ \lVert v(z(t), t) - \dot z(t) \rVert^2
            + (g(z(t), t) - \tfrac{d}{dt} \log m(t))^2 \right]

    Parameters
    ----------
    paths
        Paths of each member.
    units
        Units of the networks.
    growth
        Whether anything grows.
    n_steps
        Steps of the training.
    seed
        Of weights and draws.

    Returns
    -------
    Networks of velocity and of growth; in place of the latter None where nothing grows.

    References
    ----------
    Lipman et al., ICLR 2023, Flow matching for generative modeling. Neklyudov et al., ICML 2023,
    Action matching, for fields that make mass.
    """
    rng = np.random.default_rng(seed)
    with isolated(seed):
        n_latent = len(units.center)
        velocities = Networks(len(paths), n_latent + 1, n_latent, *SHAPE)
        growths = Networks(len(paths), n_latent + 1, 1, *SHAPE_OF_GROWTH) if growth else None
    parts = [velocities] if growths is None else [velocities, growths]
    parameters = [parameter for part in parts for parameter in part.parameters()]
    optimizer = torch.optim.Adam(parameters, RATE, betas=(0.9, 0.99))
    for step in track(range(n_steps), "Fitting the field", n_steps):
        share = (step + 1) / n_steps
        rate = RATE * min(1.0, share / RISE) * 0.5 * (1 + np.cos(np.pi * share))
        for group in optimizer.param_groups:
            group["lr"] = rate
        z, t, v, g, mass = _points(paths, units, rng)
        x = torch.cat([z, t[..., None]], dim=-1)
        loss = (mass * (velocities(x) - v).square().mean(dim=-1)).mean(dim=1).sum()
        if growths is not None:
            loss = loss + (mass * (growths(x)[..., 0] - g).square()).mean(dim=1).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    for part in parts:
        part.requires_grad_(False)
    return velocities, growths


def _points(
    paths: Sequence[Paths], units: Units, rng: np.random.Generator
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Draw points of each member's paths, in units of the networks."""
    drawn = [one.draw(N_POINTS, rng) for one in paths]
    mass = np.exp([points.log_mass for points in drawn])
    arrays = (
        np.stack([(points.z - units.center) @ units.axes / units.spread for points in drawn]),
        np.stack([(points.t - units.start) / units.span for points in drawn]),
        np.stack([points.velocity @ units.axes / units.speed for points in drawn]),
        np.stack([points.growth / units.rate for points in drawn]),
        mass / mass.mean(axis=1, keepdims=True),
    )
    z, t, v, g, m = (torch.as_tensor(array, dtype=torch.float32) for array in arrays)
    return z, t, v, g, m

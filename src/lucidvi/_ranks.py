"""The processes of a training: which one this is, and what they tell each other."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch._utils import _flatten_dense_tensors, _unflatten_dense_tensors

from lucidvi._random import go_on_from, state_of_cpu
from lucidvi.errors import TrainingError

T = TypeVar("T")
Rows = TypeVar("Rows", bound=Sequence[int])
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Ranks:
    """The processes that train a model together, seen from one of them.

    What one of the methods below is asked on one process has to be asked on all of them, in the
    same order. A single process is asked nothing of others.

    Parameters
    ----------
    rank
        Number of this process; 0 speaks for all.
    number
        How many there are.
    device
        Where this process computes.
    """

    rank: int = 0
    number: int = 1
    device: torch.device = CPU

    @property
    def are_several(self) -> bool:
        """Whether there is more than one process."""
        return self.number > 1

    @property
    def is_first(self) -> bool:
        """Whether this process speaks for all."""
        return self.rank == 0

    def share(self, rows: Rows) -> Rows:
        """Return which rows of a minibatch are this process's: every ``number``-th one.

        A process for which none is left gets one of another's, which counts for nothing: see
        :meth:`weight`.
        """
        start = self.rank if self.rank < len(rows) else self.rank % len(rows)
        return rows[start :: self.number]  # type: ignore[return-value]

    def weight(self, n_rows: int, n_total: int) -> float:
        """Return the share of a minibatch that this process's rows are.

        Parameters
        ----------
        n_rows
            Rows that this process has.
        n_total
            Rows that all of them have.
        """
        return n_rows / n_total if self.rank < n_total else 0.0

    def add_up(self, values: Tensor) -> Tensor:
        """Add up the values of all processes, in place, and return them."""
        if self.are_several:
            with _peers():
                _group().allreduce([values]).wait()
        return values

    def total(self, values: Iterable[float]) -> list[float]:
        """Return the sums of numbers over all processes, in double precision."""
        if not self.are_several:
            return list(values)
        return self.add_up(
            torch.tensor(list(values), dtype=torch.float64, device=self.device)
        ).tolist()

    def from_first(self, value: T) -> T:
        """Return what the first process has."""
        if not self.are_several:
            return value
        values = [value]
        with _peers():
            dist.broadcast_object_list(values, device=self.device)
        return values[0]

    def of_all(self, value: T) -> list[T]:
        """Return what each process has, by their numbers."""
        if not self.are_several:
            return [value]
        values: list[Any] = [None] * self.number
        with _peers():
            dist.all_gather_object(values, value)
        return values

    @torch.no_grad()
    def copy_first(self, tensors: Iterable[Tensor]) -> None:
        """Give tensors the values that they have in the first process."""
        if not self.are_several:
            return
        by_type: dict[torch.dtype, list[Tensor]] = {}
        for tensor in tensors:
            by_type.setdefault(tensor.dtype, []).append(tensor)
        for same in by_type.values():
            flat = _flatten_dense_tensors([t.detach().contiguous() for t in same]).to(self.device)
            with _peers():
                dist.broadcast(flat, 0)
            for tensor, values in zip(same, _unflatten_dense_tensors(flat, same), strict=True):
                tensor.copy_(values)

    @contextmanager
    def draws_of_first(self) -> Iterator[None]:
        """Draw on the CPU what the first process draws; the others' draws go on as before."""
        if not self.are_several:
            yield
            return
        before = state_of_cpu()
        state = self.from_first(before)
        if self.is_first:
            yield
            return
        go_on_from(state)
        try:
            yield
        finally:
            go_on_from(before)

    def draw_apart(self) -> None:
        """Let each process draw numbers of its own, which follow from those of the first.

        Without it processes of one seed would add the same noise to different cells.
        """
        if not self.are_several:
            return
        state = self.from_first(state_of_cpu())
        if not self.is_first:
            digest = hashlib.sha256(state.numpy().tobytes() + str(self.rank).encode())
            go_on_from(int.from_bytes(digest.digest()[:7], "big"))

    def draw_alike(self) -> None:
        """Let all processes draw on the CPU as the first one goes on to draw."""
        if self.are_several:
            go_on_from(self.from_first(state_of_cpu()))

    def leave(self) -> None:
        """Part from the others, who then do not wait for this process in vain."""
        if self.are_several and dist.is_initialized():
            dist.destroy_process_group()


def _group() -> Any:
    """Return the group of all processes, which is asked without detours: thousands of times."""
    return dist.distributed_c10d._get_default_group()


@contextmanager
def _peers() -> Iterator[None]:
    try:
        yield
    except RuntimeError as fault:  # of gloo and of NCCL
        raise TrainingError(
            "Another process of this training has ended, and this one cannot go on without it.",
            remedy="mend what the first error says that one of the processes printed.",
        ) from fault


#: A process by itself.
ALONE = Ranks()


def ranks_of(trainer: Any) -> Ranks:
    """Return the processes of a trainer of Lightning; of none, this one alone."""
    if getattr(trainer, "world_size", 1) == 1 or not dist.is_initialized():
        return ALONE
    return Ranks(trainer.global_rank, trainer.world_size, trainer.strategy.root_device)


#: Those whose rows make up the present minibatch.
_computing = ALONE


@contextmanager
def computing_together(ranks: Ranks) -> Iterator[None]:
    """Let what is computed over a minibatch be of the rows of all processes, inside this block."""
    global _computing
    before, _computing = _computing, ranks
    try:
        yield
    finally:
        _computing = before


def computing() -> Ranks:
    """Return the processes whose rows make up the present minibatch."""
    return _computing


class _Total(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, ranks: Ranks) -> Tensor:
        ctx.ranks = ranks
        return ranks.add_up(values.clone())

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return ctx.ranks.add_up(gradient.clone()), None


def mean_and_variance(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean and variance (without correction) over the rows of all processes.

    Differentiable where the loss is the sum of those of the processes.

    Parameters
    ----------
    x
        Rows of this process, shape ``(n_rows, n_columns)``.

    Returns
    -------
    Two of shape ``(n_columns,)``, in double precision, and the number of all rows.
    """
    rows = x.double()
    sums = torch.cat([rows.new_tensor([len(x)]), rows.sum(dim=0), rows.square().sum(dim=0)])
    sums = _Total.apply(sums, _computing)
    n = sums[0].detach()
    mean, square = (sums[1:] / n).chunk(2)
    return mean, (square - mean.square()).clamp(min=0), n


def mean_of_all(means: Tensor, n_rows: int) -> Tensor:
    """Return means over the rows of all processes, with the gradient by those of this one.

    Whatever function of the result each process adds to its loss: with losses weighted by rows,
    the sum of the gradients is that of the function of the mean over all rows.

    Parameters
    ----------
    means
        Means over the rows of this process.
    n_rows
        How many these are.
    """
    if not _computing.are_several:
        return means
    sums = torch.cat([means.detach().flatten() * n_rows, means.new_tensor([n_rows])])
    sums = _computing.add_up(sums)
    return means + ((sums[:-1] / sums[-1]).view_as(means) - means.detach())

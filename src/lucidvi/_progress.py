"""How far a long call is: nothing for two seconds, then one bar, and one switch for all."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

from lucidvi.errors import DataError, MissingKeyError

Item = TypeVar("Item")

#: Seconds after which a call says how far it is, and between two drawings of its bar.
PATIENCE, INTERVAL = 2.0, 0.2
#: Seconds between two looks at the clock by the thread of a call whose steps are long.
LOOK = 0.5
#: The clock, in seconds.
clock: Callable[[], float] = time.monotonic


class Settings:
    """What holds for all that LucidVI does in this process, ``lucidvi.settings``.

    Parameters
    ----------
    progress_bars
        Show a bar for calls that take longer than two seconds, and for trainings. In what looks
        they have is ``scvi.settings.progress_bar_style``, ``"tqdm"`` or ``"rich"``. The variable
        ``TQDM_DISABLE=1`` of the environment turns them off, too.

    Examples
    --------
    >>> import lucidvi
    >>> lucidvi.settings.progress_bars = False
    >>> lucidvi.settings
    Settings(progress_bars=False)
    >>> lucidvi.settings.progress_bars = True
    """

    progress_bars: bool

    def __init__(self, progress_bars: bool = True) -> None:
        self.progress_bars = progress_bars

    def __setattr__(self, name: str, value: object) -> None:
        if name != "progress_bars":
            raise MissingKeyError(
                f"`lucidvi.settings` has no {name!r}.",
                remedy="lucidvi.settings.progress_bars = False",
            )
        if not isinstance(value, bool):
            raise DataError(
                f"`lucidvi.settings.progress_bars` is set to {value!r}, which is neither True "
                "nor False.",
                remedy=f"lucidvi.settings.progress_bars = {bool(value)}",
            )
        super().__setattr__(name, value)

    def __repr__(self) -> str:
        return f"Settings(progress_bars={self.progress_bars})"


settings = Settings()


def bars_are_shown() -> bool:
    """Return whether long calls show a bar: the switch is on, and this is no worker process."""
    off_for_all = os.environ.get("TQDM_DISABLE", "") not in ("", "0")
    is_main = multiprocessing.current_process().name == "MainProcess"
    return settings.progress_bars and is_main and not off_for_all


class Bar(Protocol):
    """What draws a bar."""

    def draw(self, description: str, n_done: int) -> None:
        """Draw how many steps are done."""

    def close(self) -> None:
        """Leave it as it was drawn last."""


class _TqdmBar:
    def __init__(self, description: str, total: int | None, seconds: float) -> None:
        from tqdm.auto import tqdm  # takes long, and few calls need it

        self.bar = tqdm(
            desc=description,
            total=total,
            bar_format=None if total is not None else "{desc} [{elapsed}]",
            unit_scale=(total or 0) >= 1_000_000,
            delay=1e-9,  # nothing before it is drawn
            file=sys.stdout,
            disable=False,
        )
        self.bar.start_t -= seconds

    def draw(self, description: str, n_done: int) -> None:
        self.bar.n = n_done
        self.bar.set_description(description, refresh=False)
        self.bar.refresh()

    def close(self) -> None:
        self.bar.close()


class _RichBar:
    def __init__(self, description: str, total: int | None, seconds: float) -> None:
        from rich.console import Console
        from rich.progress import Progress as RichProgress

        in_colab = True if "google.colab" in sys.modules else None
        self.bar = RichProgress(console=Console(force_jupyter=in_colab))
        self.bar.start()
        self.task = self.bar.add_task(description, total=total)

    def draw(self, description: str, n_done: int) -> None:
        self.bar.update(self.task, description=description, completed=n_done, refresh=True)

    def close(self) -> None:
        self.bar.stop()


#: What draws a bar, by ``scvi.settings.progress_bar_style``.
STYLES: dict[str, Callable[[str, int | None, float], Bar]] = {"tqdm": _TqdmBar, "rich": _RichBar}


class _Thread(threading.local):
    outermost: Any = None


_thread = _Thread()


class Progress:
    """The bar of a call, shown if the call takes longer than two seconds.

    Of calls within each other the outermost alone has a bar, which says what the inner ones do.

    Parameters
    ----------
    description
        What is being done, such as ``"Mapping"``.
    total
        Number of steps, None if it is not known.
    show
        False for no bar, also of the calls within.
    slow_steps
        Steps may take seconds: a thread looks at the clock, so that the bar appears in time. Costs
        about a tenth of a millisecond.

    Examples
    --------
    >>> with Progress("Counting", total=3) as progress:
    ...     for _ in range(3):
    ...         progress.advance()
    """

    def __init__(
        self,
        description: str,
        total: int | None = None,
        *,
        show: bool = True,
        slow_steps: bool = False,
    ) -> None:
        self.description = description
        self.total = total
        self.slow_steps = slow_steps
        self.n_done = 0
        self._is_shown = show
        self._detail, self._within = "", ""
        self._bar: Bar | None = None
        self._lock = threading.Lock()
        self._over = threading.Event()

    def __enter__(self) -> Self:
        self._start = self._next = clock()
        self._next += PATIENCE
        self._outer: Progress | None = _thread.outermost
        if self._outer is None:
            _thread.outermost = self
            self._is_shown = self._is_shown and bars_are_shown()
            if self.slow_steps and self._is_shown:
                threading.Thread(target=self._look, daemon=True).start()
        else:
            self._outer._hear(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._over.set()
        if _thread.outermost is self:
            _thread.outermost = None
        if self._outer is not None:
            self._outer._within = ""
        with self._lock:
            if self._bar is not None:
                self._detail = self._within = ""
                self._bar.draw(self._said(), self.n_done)
                self._bar.close()
                self._bar = None
            self._is_shown = False

    def advance(self, n_steps: int = 1) -> None:
        """Say that steps are done."""
        self.n_done += n_steps
        if self._outer is not None:
            self._outer._hear(self)
        elif self._is_shown and self.n_done != self.total:
            self._draw_in_time()

    def now(self, detail: str) -> None:
        """Say what is being done at the moment, such as ``"neighbours"``."""
        self._detail = detail
        if self._is_shown and self._outer is None:
            self._draw_in_time()

    def _hear(self, inner: Progress) -> None:
        """Say what a call within is doing."""
        if not self._is_shown or clock() < self._next:
            return
        steps = "" if inner.total is None else f" {inner.n_done}/{inner.total}"
        self._within = f"{inner.description[:1].lower()}{inner.description[1:]}{steps}"
        self._draw_in_time()

    def _said(self) -> str:
        details = ", ".join(filter(None, (self._detail, self._within)))
        return f"{self.description} ({details})" if details else self.description

    def _draw_in_time(self) -> None:
        """Draw the bar, not before two seconds have passed, and not too often."""
        now = clock()
        if now < self._next:
            return
        with self._lock:
            if not self._is_shown:
                return
            self._next = now + INTERVAL
            if self._bar is None:
                import scvi

                style = STYLES[scvi.settings.progress_bar_style]
                self._bar = style(self._said(), self.total, now - self._start)
            self._bar.draw(self._said(), self.n_done)

    def _look(self) -> None:
        while not self._over.wait(LOOK):
            self._draw_in_time()


def track(
    iterable: Iterable[Item],
    description: str,
    total: int | None = None,
    *,
    show: bool = True,
    slow_steps: bool = False,
) -> Iterator[Item]:
    """Yield the items of an iterable, with a bar if it takes longer than two seconds.

    Parameters
    ----------
    iterable
        What to go through.
    description, show, slow_steps
        See :class:`Progress`.
    total
        Number of items; by default the iterable's length if it has one.

    Examples
    --------
    >>> list(track("ab", "Reading letters"))
    ['a', 'b']
    """
    if total is None and isinstance(iterable, Sized):
        total = len(iterable)
    with Progress(description, total, show=show, slow_steps=slow_steps) as progress:
        for item in iterable:
            yield item
            progress.advance()


@contextmanager
def without_bars() -> Iterator[None]:
    """Show no bars within, as where something else shows how far it is."""
    with Progress("", show=False):
        yield

"""What to do about a problem, as code to paste; several such in one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, Self


class Change(Protocol):
    """A model made again with some of its arguments changed."""

    @property
    def text(self) -> str:
        """The code."""

    def agrees_with(self, other: Self) -> bool:
        """Whether both can be done in one: they change nothing to different values."""

    def joined(self, other: Self) -> Self:
        """Return both in one."""


class Cure(str):
    """Code to paste; of one that makes the model again, what it changes.

    Several of these make one model that has all of the changes, see :func:`merged`.
    """

    change: Change | None = None
    #: Whether it trains the model further, which is in vain where it is made again.
    trains_further = False

    @classmethod
    def of(cls, change: Change) -> Cure:
        """Return the code of a model that is made again."""
        cure = cls(change.text)
        cure.change = change
        return cure


def merged(cures: Iterable[str]) -> str:
    """Return several cures as one: the model is made again once, with all that they change.

    A change that would undo one before it is left out.
    """
    texts: list[str] = []
    whole: Change | None = None
    for cure in dict.fromkeys(cures):
        change = getattr(cure, "change", None)
        if change is None:
            texts.append(cure)
        elif whole is None:
            whole, place = change, len(texts)
            texts.append("")
        elif whole.agrees_with(change):
            whole = whole.joined(change)
    if whole is not None:
        texts[place] = whole.text
        texts = [text for text in texts if not getattr(text, "trains_further", False)]
    return "\n\n".join(texts)

"""Stop texts: an answer ends before the first of them, and what may begin one is held back until that is known."""

from collections.abc import Sequence
from typing import Generic, TypeVar

T = TypeVar("T")


class StopStringFilter(Generic[T]):
    """Pieces of an answer on their way out, each with what is known about it."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = stops
        self._held: list[tuple[str, T]] = []
        self.stopped = False
        """Whether a stop text has come: then the answer is over."""

    def add(self, text: str, about: T) -> list[tuple[str, T]]:
        """Take a piece, and return those that may go out now."""
        self._held.append((text, about))
        whole = "".join(piece for piece, _ in self._held)
        found = [place for stop in self._stops if (place := whole.find(stop)) >= 0]
        if found:
            self.stopped = True
            return self._cut(min(found))
        safe = len(whole) - max((_overlap(whole, stop) for stop in self._stops), default=0)
        free = 0
        while free < len(self._held) and len(self._held[free][0]) <= safe:
            safe -= len(self._held[free][0])
            free += 1
        out, self._held = self._held[:free], self._held[free:]
        return out

    def rest(self) -> list[tuple[str, T]]:
        """Return what is still held back, at the end of an answer that no stop text has ended."""
        return self._held

    def _cut(self, length: int) -> list[tuple[str, T]]:
        out = []
        for text, about in self._held:
            if length > 0:
                out.append((text[:length], about))
            length -= len(text)
        return out


def _overlap(text: str, stop: str) -> int:
    """Return how many of the last characters may be the beginning of a stop text."""
    return next((n for n in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:n])), 0)

"""Stop strings: generated text ends before the first of them, and text that may begin one is held back."""

from collections.abc import Sequence
from typing import Generic, TypeVar

T = TypeVar("T")


class StopStringFilter(Generic[T]):
    """Passes chunks of generated text on, each with data of its own, until a stop string is complete."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = stops
        self._held: list[tuple[str, T]] = []
        self.stopped = False
        """Whether a stop string was found, which ends the text."""

    def add(self, text: str, data: T) -> list[tuple[str, T]]:
        """Add a chunk, and return the chunks that cannot be part of a stop string."""
        self._held.append((text, data))
        held_text = "".join(chunk for chunk, _ in self._held)
        starts = [start for stop in self._stops if (start := held_text.find(stop)) >= 0]
        if starts:
            self.stopped = True
            return self._cut(min(starts))
        safe = len(held_text) - max((_overlap(held_text, stop) for stop in self._stops), default=0)
        count = 0
        while count < len(self._held) and len(self._held[count][0]) <= safe:
            safe -= len(self._held[count][0])
            count += 1
        released, self._held = self._held[:count], self._held[count:]
        return released

    def flush(self) -> list[tuple[str, T]]:
        """Return the chunks still held back, at the end of a text without a stop string."""
        return self._held

    def _cut(self, length: int) -> list[tuple[str, T]]:
        chunks = []
        for text, data in self._held:
            if length > 0:
                chunks.append((text[:length], data))
            length -= len(text)
        return chunks


def _overlap(text: str, stop: str) -> int:
    """Return the length of the longest end of `text` that may begin a stop string."""
    return next((n for n in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:n])), 0)

"""What the template generators share: facts that stay the same, and sentences that do not."""

import random
import re
from collections.abc import Sequence
from hashlib import blake2b
from typing import TypeVar

T = TypeVar("T")

_CHOICE = re.compile(r"\[([^\[\]]*)\]")
_SENTENCE_START = re.compile(r"(?:^|(?<=[a-zäöüß0-9)][.!?] )|(?<=[^,\n]\n))[a-zäöü]")


class Facts:
    """Facts of a world: each is a pure function of the world's seed and a key, so a world costs nothing to make."""

    def __init__(self, seed: str) -> None:
        self._seeded = blake2b(seed.encode(), digest_size=8)

    def number(self, *key: object) -> int:
        """Return 64 bits that depend on the world and the key alone."""
        seeded = self._seeded.copy()
        seeded.update(repr(key).encode())
        return int.from_bytes(seeded.digest(), "little")

    def pick(self, options: Sequence[T], *key: object) -> T:
        return options[self.number(*key) % len(options)]

    def sample(self, options: Sequence[T], count: int, *key: object) -> list[T]:
        rest, state = list(options), self.number(*key)
        for index in range(count):
            state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
            other = index + (state >> 33) % (len(rest) - index)
            rest[index], rest[other] = rest[other], rest[index]
        return rest[:count]


class Voice:
    """One speaker: turns "[Hi|Hello] Clara" into one of its readings, each time another."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng

    def words(self, choices: str) -> str:
        """Take one branch of each [a|b|c]; brackets may stand inside each other."""
        while "[" in choices:
            choices = _CHOICE.sub(self._branch, choices)
        return choices

    def say(self, choices: str) -> str:
        """Take one branch of each choice, and start every sentence with a capital."""
        return _SENTENCE_START.sub(lambda match: match[0].upper(), self.words(choices))

    def _branch(self, choice: re.Match[str]) -> str:
        branches = choice[1].split("|")
        return branches[int(self.rng.random() * len(branches))]

    def pick(self, options: Sequence[T]) -> T:
        return options[int(self.rng.random() * len(options))]

    def sample(self, options: Sequence[T], count: int) -> list[T]:
        return self.rng.sample(options, min(count, len(options)))

    def number(self, low: int, high: int) -> int:
        """Return a whole number from low to high, both included."""
        return low + int(self.rng.random() * (high - low + 1))

    def chance(self, probability: float) -> bool:
        return self.rng.random() < probability


def options(text: str) -> tuple[str, ...]:
    """Return the options of a table: what stands between bars or on lines of its own."""
    return tuple(re.split(r"[|\n]", text.strip()))


def listing(parts: Sequence[str], last: str = " and ", between: str = ", ") -> str:
    """Join parts the way prose does: "a, b and c"."""
    if len(parts) < 2:
        return "".join(parts)
    return between.join(parts[:-1]) + last + parts[-1]

"""Shared by the template generators: facts, which are fixed, and phrasing, which varies."""

import random
import re
from collections.abc import Sequence
from hashlib import blake2b
from typing import TypeVar

T = TypeVar("T")

_CHOICE = re.compile(r"\[([^\[\]]*)\]")
_SENTENCE_START = re.compile(r"(?:^|(?<=[a-zäöüß0-9)][.!?] )|(?<=[^,\n]\n))[a-zäöü]")


class Facts:
    """Facts of a world: each is a pure function of the world's seed and a key, so creating a world is free."""

    def __init__(self, seed: str) -> None:
        self._seeded = blake2b(seed.encode(), digest_size=8)

    def number(self, *key: object) -> int:
        """Return 64 bits that depend only on the world and the key."""
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
    """A speaker that expands "[Hi|Hello] Clara" to a random variant."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng

    def words(self, choices: str) -> str:
        """Choose one branch of each [a|b|c]; brackets may be nested."""
        while "[" in choices:
            choices = _CHOICE.sub(self._branch, choices)
        return choices

    def say(self, choices: str) -> str:
        """Choose one branch of each choice and capitalize every sentence."""
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
    """Split a table into its options, which are separated by bars or line breaks."""
    return tuple(re.split(r"[|\n]", text.strip()))


def listing(parts: Sequence[str], last: str = " and ", between: str = ", ") -> str:
    """Join parts as in prose: "a, b and c"."""
    if len(parts) < 2:
        return "".join(parts)
    return between.join(parts[:-1]) + last + parts[-1]

"""What the template generators share: facts that stay the same, and sentences that do not."""

import random
import re
from collections.abc import Sequence
from functools import cache
from hashlib import blake2b
from typing import NamedTuple, TypeVar

T = TypeVar("T")
# A parsed pattern: literal text, or the branches of a choice.
Piece = str | tuple[tuple["Piece", ...], ...]

_SENTENCE_START = re.compile(r"(?:^|(?<=[a-zäöüß0-9)][.!?] )|(?<=\n))[a-zäöü]")


class Turn(NamedTuple):
    """A question, its answer, the facts the answer rests on, and the words in it that a listener would check."""

    question: str
    answer: str
    facts: tuple[str, ...] = ()
    expected: str = ""


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
    """One speaker: turns patterns such as "[Hi|Hello] {name}" into sentences, each time with other words."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng

    def say(self, pattern: str, /, **values: object) -> str:
        """Choose a branch of each [a|b|c], fill the {names}, and start every sentence with a capital."""
        chosen: list[str] = []
        _choose(_parse(pattern), self.rng, chosen)
        text = "".join(chosen)
        if values:
            text = text.format_map(values)
        return _SENTENCE_START.sub(lambda match: match[0].upper(), text)

    def words(self, pattern: str, /, **values: object) -> str:
        """Like say, but leave the case of the letters alone: for parts of sentences."""
        chosen: list[str] = []
        _choose(_parse(pattern), self.rng, chosen)
        text = "".join(chosen)
        return text.format_map(values) if values else text

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


def _choose(pieces: tuple[Piece, ...], rng: random.Random, into: list[str]) -> None:
    for piece in pieces:
        if isinstance(piece, str):
            into.append(piece)
        else:
            _choose(piece[int(rng.random() * len(piece))], rng, into)


@cache
def _parse(pattern: str) -> tuple[Piece, ...]:
    tokens = [token for token in re.split(r"([\[\]|])", pattern) if token]
    pieces, rest = _parse_sequence(tokens, inside=False)
    assert not rest, f"unbalanced brackets in {pattern!r}"
    return pieces


def _parse_sequence(tokens: list[str], *, inside: bool) -> tuple[tuple[Piece, ...], list[str]]:
    pieces: list[Piece] = []
    while tokens and not (inside and tokens[0] in "|]"):
        token, tokens = tokens[0], tokens[1:]
        if token != "[":
            pieces.append(token)
            continue
        branches: list[tuple[Piece, ...]] = []
        while True:
            branch, tokens = _parse_sequence(tokens, inside=True)
            branches.append(branch)
            closing, tokens = tokens[0], tokens[1:]
            if closing == "]":
                break
        pieces.append(tuple(branches))
    return tuple(pieces), tokens

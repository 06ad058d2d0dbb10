"""Which part of a release is wanted: `domain=law language=de,en licence=open quality>0.6 gopher_stop_words>=2`."""

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from baicai.errors import ConfigError
from baicai.wholesale.processing import pii, quality_signals
from baicai.wholesale.release.manifest import Shard

TERM = re.compile(r"(\w+)(>=|<=|!=|=|>|<)(\S+)")
ORDER: Mapping[str, Callable[[float, float], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}
LABELS = ("domain", "language", "licence", "host")
NUMBERS = ("quality", "benchmark_overlap", "language_score", "year", *quality_signals.COLUMNS, *pii.COLUMNS)


@dataclass(frozen=True)
class Term:
    """One condition."""

    key: str
    sign: str
    values: tuple[str, ...]
    number: float = 0.0

    def holds(self, document: Mapping[str, Any]) -> bool:
        """Return whether it holds for a document."""
        if self.key in NUMBERS:
            value = int(str(document["fetched"])[:4]) if self.key == "year" else float(document[self.key])
            return ORDER[self.sign](value, self.number)
        names = {str(document[self.key])}
        if self.key == "licence":
            names.add(str(document["licence_class"]))
        return bool(names & set(self.values)) == (self.sign == "=")


@dataclass(frozen=True)
class Slice:
    """Conditions that all hold."""

    terms: tuple[Term, ...]

    def may_hold(self, shard: Shard) -> bool:
        """Return whether a document of a shard may be in the slice."""
        told = {"domain": shard.domain, "language": shard.language, "licence": shard.licence}
        named = [term for term in self.terms if term.key in told]
        alike = all(term.holds({**told, "licence_class": shard.licence_class}) for term in named)
        return alike and self.reaches(shard.min_quality, shard.max_quality)

    def reaches(self, low: float, high: float) -> bool:
        """Return whether a document may be in the slice if its quality is in a range."""
        terms = [term for term in self.terms if term.key == "quality"]
        return all(ORDER[term.sign](high if ">" in term.sign else low, term.number) for term in terms)

    def holds(self, document: Mapping[str, Any]) -> bool:
        """Return whether a document is in the slice."""
        return all(term.holds(document) for term in self.terms)


def parse_slice(text: str) -> Slice:
    """Return the slice that a text asks for; an empty one asks for everything.

    Raises: ConfigError that names the condition.
    """
    return Slice(tuple(_parse(part) for part in text.split()))


def _parse(text: str) -> Term:
    found = TERM.fullmatch(text)
    if not found:
        raise ConfigError(f"slice: '{text}' is no condition such as language=de,en or quality>0.6")
    key, sign, value = found.groups()
    if key in LABELS:
        if sign not in ("=", "!="):
            raise ConfigError(f"slice: '{text}': {key} is a name, which can be = or != only")
        return Term(key, sign, tuple(value.split(",")))
    if key not in NUMBERS:
        raise ConfigError(f"slice: there is no '{key}': known are {', '.join((*LABELS, *NUMBERS))}")
    try:
        number = float(value)
    except ValueError:
        raise ConfigError(f"slice: '{text}': '{value}' is no number") from None
    if sign not in ORDER:
        raise ConfigError(f"slice: '{text}': {key} is a number, which can be {', '.join(ORDER)} only")
    return Term(key, sign, (), number)

"""Slices: conditions that select documents of a release, such as `domain=law language=de,en quality>0.6`."""

import operator as operators
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from baicai.errors import ConfigError
from baicai.wholesale.processing import pii, quality_signals
from baicai.wholesale.release.manifest import Shard

TERM = re.compile(r"(\w+)(>=|<=|!=|=|>|<)(\S+)")
ORDER: Mapping[str, Callable[[float, float], bool]] = {
    ">": operators.gt,
    ">=": operators.ge,
    "<": operators.lt,
    "<=": operators.le,
}
LABELS = ("domain", "language", "licence", "host")
NUMBERS = ("quality", "benchmark_overlap", "language_score", "year", *quality_signals.COLUMNS, *pii.COLUMNS)


@dataclass(frozen=True)
class Term:
    """One condition of a slice."""

    key: str
    operator: str
    values: tuple[str, ...]
    number: float = 0.0

    def holds(self, document: Mapping[str, Any]) -> bool:
        """Return whether a document meets the condition."""
        if self.key in NUMBERS:
            value = int(str(document["fetched"])[:4]) if self.key == "year" else float(document[self.key])
            return ORDER[self.operator](value, self.number)
        names = {str(document[self.key])}
        if self.key == "licence":
            names.add(str(document["licence_class"]))
        return bool(names & set(self.values)) == (self.operator == "=")


@dataclass(frozen=True)
class Slice:
    """A conjunction of conditions."""

    terms: tuple[Term, ...]

    def may_hold(self, shard: Shard) -> bool:
        """Return whether a shard can contain documents of the slice."""
        labels = {"domain": shard.domain, "language": shard.language, "licence": shard.licence}
        terms = [term for term in self.terms if term.key in labels]
        matches = all(term.holds({**labels, "licence_class": shard.licence_class}) for term in terms)
        return matches and self.reaches(shard.min_quality, shard.max_quality)

    def reaches(self, low: float, high: float) -> bool:
        """Return whether documents with quality between `low` and `high` can be in the slice."""
        terms = [term for term in self.terms if term.key == "quality"]
        return all(ORDER[term.operator](high if ">" in term.operator else low, term.number) for term in terms)

    def holds(self, document: Mapping[str, Any]) -> bool:
        """Return whether a document is in the slice."""
        return all(term.holds(document) for term in self.terms)


def parse_slice(text: str) -> Slice:
    """Parse conditions separated by spaces. An empty text selects every document.

    Raises: ConfigError that names the invalid condition.
    """
    return Slice(tuple(_parse(part) for part in text.split()))


def _parse(text: str) -> Term:
    match = TERM.fullmatch(text)
    if not match:
        raise ConfigError(f"slice: '{text}' is not a condition such as language=de,en or quality>0.6")
    key, operator, value = match.groups()
    if key in LABELS:
        if operator not in ("=", "!="):
            raise ConfigError(f"slice: '{text}': {key} is a label, which takes only = and !=")
        return Term(key, operator, tuple(value.split(",")))
    if key not in NUMBERS:
        raise ConfigError(f"slice: unknown field '{key}': use one of {', '.join((*LABELS, *NUMBERS))}")
    try:
        number = float(value)
    except ValueError:
        raise ConfigError(f"slice: '{text}': '{value}' is not a number") from None
    if operator not in ORDER:
        raise ConfigError(f"slice: '{text}': {key} is a number, which takes only {', '.join(ORDER)}")
    return Term(key, operator, (), number)

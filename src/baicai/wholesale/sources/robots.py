"""Decides whether a page may be gathered, with dated evidence from its host.

The sources are robots.txt (RFC 9309) with its Content-Signal lines, the X-Robots-Tag header and the robots meta tag,
and the reservation of text and data mining rights (W3C TDMRep: header, meta tag, `/.well-known/tdmrep.json`). The
newest evidence of each kind counts, and a single restriction is enough to forbid.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import urlsplit

from protego import Protego

AGENT = "BaicaiBot"
MAX_ROBOTS_BYTES = 500 * 1024
"""Parsing limit; RFC 9309, section 2.5, requires at least 500 KiB."""
FORBIDDING = frozenset({"noai", "noindex", "none", "notrain", "noarchive"})
"""Rules of X-Robots-Tag that forbid storing a page or training on it."""
META = re.compile(r"<meta\b[^>]{0,1000}>", re.IGNORECASE)
ATTRIBUTE = re.compile(r"""([\w-]+)\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s>]+))""")
HEAD_CHARACTERS = 20_000
"""Length of the beginning of a page that is searched for meta tags."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """A statement from one source."""

    kind: str
    """One of robots, content-signal, x-robots-tag, tdm and licence."""
    said: str
    allows: bool
    seen: str
    """Date and time in UTC, ISO 8601."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a page may be gathered, and why."""

    allowed: bool
    evidence: tuple[Evidence, ...]


def decide(evidence: Iterable[Evidence]) -> Decision:
    """Decide by the newest evidence of each kind. All of it must allow the page."""
    newest: dict[str, list[Evidence]] = {}
    for item in evidence:
        latest = newest.setdefault(item.kind, [])
        if latest and item.seen > latest[0].seen:
            latest.clear()
        if not latest or item.seen == latest[0].seen:
            latest.append(item)
    decisive = tuple(item for kind in sorted(newest) for item in newest[kind])
    return Decision(all(item.allows for item in decisive), decisive)


class Robots:
    """The robots.txt of a host."""

    def __init__(self, status: int, content: bytes, seen: str) -> None:
        """Parse a response; status 0 stands for an unreachable host.

        As in RFC 9309, section 2.3.1, a missing file allows everything, and an unreachable host or a server error
        nothing.
        """
        self._seen, self._status = seen, status
        text = content[:MAX_ROBOTS_BYTES].decode("utf-8-sig", "replace") if status == 200 else ""
        self._rules = Protego.parse(text)
        self._signals = list(_signals(text))
        self._licences = re.findall(r"(?im)^\s*license\s*:\s*(\S+)", text)

    @property
    def crawl_delay_seconds(self) -> float:
        """Crawl-delay of the host, the pause between two requests; 0 if none is given."""
        return float(self._rules.crawl_delay(AGENT) or 0)

    @property
    def sitemaps(self) -> list[str]:
        """URLs of the host's sitemaps."""
        return list(self._rules.sitemaps)

    def evidence(self, url: str) -> list[Evidence]:
        """Return the evidence for a URL."""
        if self._status == 0 or self._status >= 500:
            return [Evidence("robots", f"no answer ({self._status or 'unreachable'})", False, self._seen)]
        allows = bool(self._rules.can_fetch(url, AGENT))
        evidence = [Evidence("robots", "allow" if allows else "disallow", allows, self._seen)]
        path = urlsplit(url).path or "/"
        signals = [(prefix, value, allows) for prefix, value, allows in self._signals if path.startswith(prefix)]
        if signals:
            _, value, allows = max(signals, key=lambda signal: (len(signal[0]), not signal[2]))
            evidence.append(Evidence("content-signal", value, allows, self._seen))
        evidence += [Evidence("licence", licence, True, self._seen) for licence in self._licences]
        return evidence


def _signals(text: str) -> Iterator[tuple[str, str, bool]]:
    """Yield path, value, and whether training is allowed, for the Content-Signal lines that apply to our agent."""
    agents: list[str] = []
    in_group = True
    for line in text.splitlines():
        key, _, value = line.partition("#")[0].partition(":")
        key, value = key.strip().lower(), value.strip()
        if key == "user-agent":
            agents = [value.lower()] if in_group else [*agents, value.lower()]
            in_group = False
        elif key:
            in_group = True
        if key == "content-signal" and (not agents or "*" in agents or AGENT.lower() in agents):
            path, _, preferences = value.partition(" ") if value.startswith("/") else ("/", "", value)
            answers = dict(re.findall(r"([\w-]+)\s*=\s*(yes|no)", preferences.lower()))
            yield path, preferences, answers.get("ai-train", "yes") == "yes"


def from_headers(headers: Mapping[str, str], seen: str) -> list[Evidence]:
    """Return the evidence in the headers of a response, whose names must be in lower case."""
    evidence = []
    if "x-robots-tag" in headers:
        evidence.append(_robots_tag(headers["x-robots-tag"], seen))
    if "tdm-reservation" in headers:
        value = headers["tdm-reservation"].strip()
        evidence.append(Evidence("tdm", f"tdm-reservation: {value}", value != "1", seen))
    return evidence


def from_page(page: str, seen: str) -> list[Evidence]:
    """Return the evidence in the meta tags of a page."""
    evidence = []
    for tag in META.findall(page[:HEAD_CHARACTERS]):
        attributes = {name.lower(): "".join(values) for name, *values in ATTRIBUTE.findall(tag)}
        name, content = attributes.get("name", "").lower(), attributes.get("content", "")
        if name in ("robots", AGENT.lower()):
            evidence.append(_robots_tag(content, seen))
        if name == "tdm-reservation":
            evidence.append(Evidence("tdm", f"tdm-reservation: {content}", content.strip() != "1", seen))
    return evidence


def from_tdmrep(content: bytes, url: str, seen: str) -> list[Evidence]:
    """Return the evidence in a host's tdmrep.json for a URL. An invalid file gives none."""
    try:
        rules: Any = json.loads(content)
    except (ValueError, RecursionError):
        return []
    path = urlsplit(url).path or "/"
    for rule in rules if isinstance(rules, list) else ():
        if not (isinstance(rule, dict) and isinstance(rule.get("location"), str)):
            continue
        pattern = rule["location"]
        matches = fnmatchcase(path, pattern) if "*" in pattern else path.startswith(pattern)
        if matches:  # the first match counts
            reserved = str(rule.get("tdm-reservation")) == "1"
            return [Evidence("tdm", f"tdmrep.json {pattern}: {int(reserved)}", not reserved, seen)]
    return []


def _robots_tag(value: str, seen: str) -> Evidence:
    """Return the evidence in an X-Robots-Tag. Rules for other agents are ignored."""
    rules: set[str] = set()
    agent = ""
    for part in value.lower().split(","):
        name, colon, rest = part.partition(":")
        if colon and name.strip() not in ("unavailable_after", "max-snippet", "max-image-preview", "max-video-preview"):
            agent, part = name.strip(), rest
        if agent in ("", AGENT.lower()):
            rules.add(part.strip())
    return Evidence("x-robots-tag", value, not rules & FORBIDDING, seen)

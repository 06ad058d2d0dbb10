"""May this page be gathered? What its host says of it, in one dated decision with its evidence.

Read are robots.txt (RFC 9309) with its Content-Signal lines, the header X-Robots-Tag and its meta tag, and the
reservation of text and data mining (W3C TDMRep: header, meta tag, `/.well-known/tdmrep.json`). Of each kind the newest
word counts, and one restriction among them is enough.
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
"""RFC 9309, section 2.5: at least so much is read."""
REFUSING = frozenset({"noai", "noindex", "none", "notrain", "noarchive"})
"""Words of X-Robots-Tag by which a page is not to be kept or learnt from."""
META = re.compile(r"<meta\b[^>]{0,1000}>", re.IGNORECASE)
ATTRIBUTE = re.compile(r"""([\w-]+)\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s>]+))""")
HEAD_CHARACTERS = 20_000
"""Of a page, in which meta tags are looked for."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What one source said."""

    kind: str
    """robots, content-signal, x-robots-tag, tdm, licence."""
    said: str
    allows: bool
    seen: str
    """Date and time, UTC, ISO 8601."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a page may be gathered, and why."""

    allowed: bool
    evidence: tuple[Evidence, ...]


def decide(evidence: Iterable[Evidence]) -> Decision:
    """Return the decision: of each kind the newest evidence counts, and all of them must allow it."""
    newest: dict[str, list[Evidence]] = {}
    for one in evidence:
        kept = newest.setdefault(one.kind, [])
        if kept and one.seen > kept[0].seen:
            kept.clear()
        if not kept or one.seen == kept[0].seen:
            kept.append(one)
    found = tuple(one for kind in sorted(newest) for one in newest[kind])
    return Decision(all(one.allows for one in found), found)


class Robots:
    """A host's robots.txt."""

    def __init__(self, status: int, content: bytes, seen: str) -> None:
        """Take what the host answered; status 0 stands for no answer.

        As RFC 9309, section 2.3.1, has it: no such file allows everything, a server in trouble nothing.
        """
        self._seen, self._status = seen, status
        text = content[:MAX_ROBOTS_BYTES].decode("utf-8-sig", "replace") if status == 200 else ""
        self._rules = Protego.parse(text)
        self._signals = list(_signals(text))
        self._licences = re.findall(r"(?im)^\s*license\s*:\s*(\S+)", text)

    @property
    def crawl_delay_seconds(self) -> float:
        """What the host asks for between two requests; 0 if it does not say."""
        return float(self._rules.crawl_delay(AGENT) or 0)

    @property
    def sitemaps(self) -> list[str]:
        """Addresses of the host's sitemaps."""
        return list(self._rules.sitemaps)

    def about(self, url: str) -> list[Evidence]:
        """Return what it says of an address."""
        if self._status == 0 or self._status >= 500:
            return [Evidence("robots", f"no answer ({self._status or 'unreachable'})", False, self._seen)]
        allows = bool(self._rules.can_fetch(url, AGENT))
        found = [Evidence("robots", "allow" if allows else "disallow", allows, self._seen)]
        path = urlsplit(url).path or "/"
        signals = [(prefix, said, allows) for prefix, said, allows in self._signals if path.startswith(prefix)]
        if signals:
            _, said, allows = max(signals, key=lambda signal: (len(signal[0]), not signal[2]))
            found.append(Evidence("content-signal", said, allows, self._seen))
        found += [Evidence("licence", licence, True, self._seen) for licence in self._licences]
        return found


def _signals(text: str) -> Iterator[tuple[str, str, bool]]:
    """Yield path, words and whether training is allowed, of the Content-Signal lines that speak to us."""
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
            path, _, words = value.partition(" ") if value.startswith("/") else ("/", "", value)
            told = dict(re.findall(r"([\w-]+)\s*=\s*(yes|no)", words.lower()))
            yield path, words, told.get("ai-train", "yes") == "yes"


def from_headers(headers: Mapping[str, str], seen: str) -> list[Evidence]:
    """Return what an answer's headers, their names in small letters, say."""
    found = []
    if "x-robots-tag" in headers:
        found.append(_robots_tag(headers["x-robots-tag"], seen))
    if "tdm-reservation" in headers:
        said = headers["tdm-reservation"].strip()
        found.append(Evidence("tdm", f"tdm-reservation: {said}", said != "1", seen))
    return found


def from_page(page: str, seen: str) -> list[Evidence]:
    """Return what a page's meta tags say."""
    found = []
    for tag in META.findall(page[:HEAD_CHARACTERS]):
        told = {key.lower(): first or second or third for key, first, second, third in ATTRIBUTE.findall(tag)}
        name, content = told.get("name", "").lower(), told.get("content", "")
        if name in ("robots", AGENT.lower()):
            found.append(_robots_tag(content, seen))
        if name == "tdm-reservation":
            found.append(Evidence("tdm", f"tdm-reservation: {content}", content.strip() != "1", seen))
    return found


def from_tdmrep(content: bytes, url: str, seen: str) -> list[Evidence]:
    """Return what a host's tdmrep.json says of an address; a file that is none says nothing."""
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
        if matches:  # the first that fits counts
            reserved = str(rule.get("tdm-reservation")) == "1"
            return [Evidence("tdm", f"tdmrep.json {pattern}: {int(reserved)}", not reserved, seen)]
    return []


def _robots_tag(value: str, seen: str) -> Evidence:
    """Return what X-Robots-Tag says to us: words for other agents do not count."""
    words: set[str] = set()
    agent = ""
    for part in value.lower().split(","):
        name, colon, rest = part.partition(":")
        if colon and name.strip() not in ("unavailable_after", "max-snippet", "max-image-preview", "max-video-preview"):
            agent, part = name.strip(), rest
        if agent in ("", AGENT.lower()):
            words.add(part.strip())
    return Evidence("x-robots-tag", value, not words & REFUSING, seen)

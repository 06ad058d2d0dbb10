"""A small polite crawl of given hosts: one page of a host after another, no sooner than the host wants it.

crawl.sqlite   every address that was seen, what became of it, and up to where each WARC file is good
N.warc.gz      the captures of one run

It stops and goes on at any moment: a page counts as fetched when its capture is on disk. A page that was fetched in an
earlier crawl is asked for again only if it changed (ETag, Last-Modified).
"""

import asyncio
import contextlib
import json
import re
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from html import unescape
from pathlib import Path
from typing import Annotated
from urllib.parse import urldefrag, urljoin, urlsplit

from courlan import normalize_url
from pydantic import Field
from resiliparse.parse.html import HTMLTree

from baicai.config import Count, Positive, recipe
from baicai.run import Progress
from baicai.wholesale.sources.captures import Capture, CaptureWriter
from baicai.wholesale.sources.html_limits import exceeds_html_limits
from baicai.wholesale.sources.http_fetcher import Fetcher, FetchError, Response
from baicai.wholesale.sources.media_types import HTML, PLAIN
from baicai.wholesale.sources.robots import Decision, Evidence, Robots, decide, from_headers, from_page, from_tdmrep
from baicai.wholesale.sources.warc import SkipCounts

FEEDS = ("application/rss+xml", "application/atom+xml", "application/xml", "text/xml")
LINK = re.compile(r"<(?:loc|link)\b[^>]{0,200}>\s*([^<\s]{1,2000})\s*</|<link\b[^>]{0,500}?href=[\"']([^\"']{1,2000})")
MAX_DELAY_SECONDS = 60.0
TRIES = 3
TABLES = """
CREATE TABLE IF NOT EXISTS pages (
    url TEXT PRIMARY KEY, host TEXT, depth INT, state TEXT DEFAULT 'todo', reason TEXT, tries INT DEFAULT 0,
    etag TEXT, modified TEXT, fetched TEXT, decision TEXT
);
CREATE INDEX IF NOT EXISTS waiting ON pages (host, state, depth);
CREATE TABLE IF NOT EXISTS files (name TEXT PRIMARY KEY, bytes INT);
"""


@recipe
class CrawlConfig:
    """What to crawl."""

    starts: Annotated[list[str], Field(min_length=1)]
    """Addresses of pages, feeds and sitemaps; no other hosts are visited."""
    max_pages: Count = 1000
    max_depth: Annotated[int, Field(ge=0)] = 10
    """Links from a start."""
    delay_seconds: Positive = 1.0
    """Between two requests to a host; the host may ask for more."""
    hosts_at_once: Count = 8
    allowed_networks: list[str] = field(default_factory=list)
    """Private networks that may be fetched from, as 10.1.0.0/16; by default none."""


@dataclass
class _Host:
    """What is known of a host in this run."""

    robots: Robots
    tdmrep: bytes
    next_time: float = 0.0


def crawl(config: CrawlConfig, folder: Path) -> tuple[list[Path], SkipCounts]:
    """Crawl to the end, from where it was left, and return the WARC files and why pages were left out."""
    with _Frontier(folder) as frontier:
        asyncio.run(_Crawl(config, frontier).run())
        return frontier.finish()


class _Frontier:
    """The addresses of a crawl, on disk."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._base = sqlite3.connect(folder / "crawl.sqlite", isolation_level=None)
        self._base.executescript(TABLES)
        for name, size in self._base.execute("SELECT name, bytes FROM files"):
            path = folder / name
            if path.exists() and path.stat().st_size > size:  # a kill came between writing and noting it
                with path.open("r+b") as file:
                    file.truncate(size)
        numbers = [int(path.name.split(".")[0]) for path in folder.glob("*.warc.gz")]
        self._path = folder / f"{max(numbers, default=-1) + 1:05}.warc.gz"
        self._writer: CaptureWriter | None = None

    def __enter__(self) -> "_Frontier":
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()
        self._base.close()

    def add(self, urls: Iterator[str] | list[str], depth: int) -> None:
        """Note addresses that are not known yet."""
        rows = [(url, urlsplit(url).netloc, depth) for url in urls]
        self._base.executemany("INSERT OR IGNORE INTO pages (url, host, depth) VALUES (?, ?, ?)", rows)

    def again(self, urls: list[str]) -> None:
        """Ask anew for what a crawl that has come to its end fetched: where it starts, then what that leads to."""
        if not self._base.execute("SELECT 1 FROM pages WHERE state = 'todo' LIMIT 1").fetchone():
            self._base.execute("UPDATE pages SET state = 'todo', tries = 0")
        self.add(urls, 0)

    def hosts(self) -> list[str]:
        """Return the hosts that have pages to fetch."""
        return [
            row[0] for row in self._base.execute("SELECT DISTINCT host FROM pages WHERE state = 'todo' ORDER BY host")
        ]

    def next(self, host: str) -> tuple[str, int, str, str] | None:
        """Return the next address of a host, its depth, and ETag and date of when it was fetched before."""
        where = "FROM pages WHERE host = ? AND state = 'todo' ORDER BY depth, rowid LIMIT 1"
        row: tuple[str, int, str, str] | None
        row = self._base.execute(f"SELECT url, depth, etag, modified {where}", (host,)).fetchone()
        return row

    def count(self) -> int:
        """Return how many pages were fetched."""
        return int(self._base.execute("SELECT count(*) FROM pages WHERE state = 'done'").fetchone()[0])

    def leave(self, url: str, reason: str, decision: Decision | None = None) -> None:
        """Note why an address is not fetched or not kept."""
        told = json.dumps(asdict(decision)) if decision else None
        values = (reason, told, url)
        self._base.execute("UPDATE pages SET state = 'left', reason = ?, decision = ? WHERE url = ?", values)

    def retry(self, url: str) -> bool:
        """Return whether an address may be asked for again, later."""
        self._base.execute("UPDATE pages SET tries = tries + 1 WHERE url = ?", (url,))
        return bool(self._base.execute("SELECT tries < ? FROM pages WHERE url = ?", (TRIES, url)).fetchone()[0])

    def keep(self, url: str, capture: Capture | None, headers: dict[str, str], decision: Decision) -> None:
        """Write a capture and note that it is there; None if the page has not changed."""
        values = (headers.get("etag"), headers.get("last-modified"), json.dumps(asdict(decision)), url)
        if capture is not None:
            if self._writer is None:
                self._base.execute("INSERT OR IGNORE INTO files VALUES (?, 0)", (self._path.name,))
                self._writer = CaptureWriter(self._path)
            self._writer.write(capture)
            size = self._writer.flush()
            self._base.execute("BEGIN")
            self._base.execute("UPDATE files SET bytes = ? WHERE name = ?", (size, self._path.name))
        told = "state = 'done', reason = NULL, etag = coalesce(?, etag), modified = coalesce(?, modified), decision = ?"
        self._base.execute(f"UPDATE pages SET {told}, fetched = datetime() WHERE url = ?", values)
        if capture is not None:
            self._base.execute("COMMIT")

    def finish(self) -> tuple[list[Path], SkipCounts]:
        """Return the WARC files, and how many addresses were left out, by reason."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        left = self._base.execute("SELECT reason, count(*) FROM pages WHERE state = 'left' GROUP BY reason")
        return sorted(self._folder.glob("*.warc.gz")), SkipCounts(dict(left.fetchall()))


class _Crawl:
    def __init__(self, config: CrawlConfig, frontier: _Frontier) -> None:
        self._config, self._frontier = config, frontier
        self._starts = [_normal(url) for url in config.starts]
        self._allowed = {urlsplit(url).netloc for url in self._starts}
        self._fetched = 0
        self._progress = Progress("crawl", config.max_pages)

    async def run(self) -> None:
        self._frontier.again(self._starts)
        gate = asyncio.Semaphore(self._config.hosts_at_once)

        async def visit(host: str) -> None:
            async with gate:
                await self._visit(host)

        with self._progress:
            async with Fetcher(self._config.allowed_networks) as self._fetcher:
                await asyncio.gather(*(visit(host) for host in self._frontier.hosts()))

    async def _visit(self, host: str) -> None:
        """Fetch the pages of a host, one after another."""
        known: dict[str, _Host] = {}
        while self._fetched < self._config.max_pages and (found := self._frontier.next(host)):
            url, depth, etag, modified = found
            base = "{0.scheme}://{0.netloc}".format(urlsplit(url))
            if base not in known:
                known[base] = await self._look_up(base)
            about = known[base]
            await self._page(url, depth, {"If-None-Match": etag, "If-Modified-Since": modified}, about)
            self._progress.update(self._fetched, {"pages": self._fetched, "host": host})

    async def _look_up(self, base: str) -> _Host:
        """Return what a host says of being crawled."""
        robots, content = 0, b""
        try:
            answer = await self._fetcher.fetch(f"{base}/robots.txt")
            robots, content = answer.status, answer.content
        except FetchError as error:
            if str(error) == "too large":
                robots = 500
        about = _Host(Robots(robots, content, _now()), b"")
        try:
            answer = await self._fetcher.fetch(f"{base}/.well-known/tdmrep.json")
            about.tdmrep = answer.content if answer.status == 200 else b""
        except FetchError:
            pass
        sitemaps = [url for url in about.robots.sitemaps if urlsplit(url).netloc in self._allowed]
        self._frontier.add(sitemaps, 0)
        return about

    async def _page(self, url: str, depth: int, before: dict[str, str], about: _Host) -> None:
        evidence = [*about.robots.about(url), *from_tdmrep(about.tdmrep, url, _now())]
        decision = decide(evidence)
        if not decision.allowed:
            return self._frontier.leave(url, "not permitted", decision)
        await asyncio.sleep(max(0.0, about.next_time - time.monotonic()))
        try:
            headers = {name: value for name, value in before.items() if value}
            answer = await self._fetcher.fetch(url, headers, lambda moved: self._may_follow(moved, about))
        except FetchError as error:
            return self._frontier.leave(url, str(error))
        finally:
            asked = min(about.robots.crawl_delay_seconds, MAX_DELAY_SECONDS)
            about.next_time = time.monotonic() + max(self._config.delay_seconds, asked)
        if answer.status in (429, 503) and self._frontier.retry(url):
            wait = answer.headers.get("retry-after", "")
            seconds = float(wait) if wait.isdigit() else 10 * self._config.delay_seconds
            about.next_time = time.monotonic() + min(seconds, MAX_DELAY_SECONDS)
            return None
        return self._take(url, depth, answer, evidence)

    def _may_follow(self, url: str, about: _Host) -> bool:
        allowed = urlsplit(url).netloc in self._allowed
        return allowed and decide([*about.robots.about(url), *from_tdmrep(about.tdmrep, url, _now())]).allowed

    def _take(self, url: str, depth: int, answer: Response, evidence: list[Evidence]) -> None:
        """Keep what a server said, if it may be kept, and follow its links."""
        media_type, _, parameters = answer.headers.get("content-type", "").lower().partition(";")
        media_type, charset = media_type.strip(), parameters.partition("charset=")[2].split(";")[0].strip("\"' ")
        if answer.status not in (200, 304):
            return self._frontier.leave(url, f"status {answer.status}")
        text = answer.content.decode("utf-8", "replace") if media_type in (*HTML, *FEEDS) else ""
        evidence = [*evidence, *from_headers(answer.headers, _now()), *from_page(text, _now())]
        decision = decide(evidence)
        if not decision.allowed:
            return self._frontier.leave(url, "not permitted", decision)
        if answer.status == 304:
            return self._frontier.keep(url, None, dict(answer.headers), decision)
        if media_type in FEEDS:
            found = (unescape(first or second) for first, second in LINK.findall(text))
            self._frontier.add([link for link in found if urlsplit(link).netloc in self._allowed], depth)
            return self._frontier.leave(url, "feed or sitemap", decision)
        if media_type not in (*HTML, *PLAIN):
            return self._frontier.leave(url, f"media type {media_type or 'unknown'}")
        if depth < self._config.max_depth and media_type in HTML:
            self._frontier.add(self._links(text, answer.url), depth + 1)
        permission = json.dumps(asdict(decision), separators=(",", ":"))
        fetched = datetime.now(UTC).replace(microsecond=0)
        capture = Capture(answer.url, fetched, media_type, charset, answer.content, permission=permission)
        self._frontier.keep(url, capture, dict(answer.headers), decision)
        self._fetched += 1
        return None

    def _links(self, page: str, url: str) -> list[str]:
        """Return the addresses on our hosts that a page links to, in order."""
        if exceeds_html_limits(page):
            return []
        found: dict[str, None] = {}
        document = HTMLTree.parse(page).document
        for link in document.get_elements_by_tag_name("a") if document else ():
            if "nofollow" not in (link.getattr("rel") or "").lower():
                with contextlib.suppress(ValueError):
                    address = _normal(urljoin(url, (link.getattr("href") or "").strip()))
                    parts = urlsplit(address)
                    if parts.scheme in ("http", "https") and parts.netloc in self._allowed:
                        found[address] = None
        return list(found)


def _normal(url: str) -> str:
    """Return an address in the form in which it is known: without fragment and what only counts visitors."""
    return normalize_url(urldefrag(url).url)


def _now() -> str:
    return datetime.now(UTC).replace(microsecond=0).isoformat()

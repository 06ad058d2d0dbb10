"""A small polite crawler for given hosts: one request per host at a time, no sooner than the host permits.

crawl.sqlite   every URL seen, its state, and the valid size of each WARC file
N.warc.gz      the captures of one run

A crawl can be interrupted and resumed at any moment: a page counts as fetched when its capture is on disk. A later
crawl requests known pages conditionally (ETag, Last-Modified) and captures only those that changed.
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
    """Options of a crawl."""

    starts: Annotated[list[str], Field(min_length=1)]
    """URLs of pages, feeds and sitemaps to start from. No other hosts are visited."""
    max_pages: Count = 1000
    max_depth: Annotated[int, Field(ge=0)] = 10
    """Maximum number of links to follow from a start."""
    delay_seconds: Positive = 1.0
    """Pause between two requests to a host. A longer Crawl-delay of the host is respected, up to 60 seconds."""
    hosts_at_once: Count = 8
    allowed_networks: list[str] = field(default_factory=list)
    """Private networks that may be fetched from, such as 10.1.0.0/16; none by default."""


@dataclass
class _Host:
    """The rules of a host, and the time of its next request."""

    robots: Robots
    tdmrep: bytes
    next_time: float = 0.0


def crawl(config: CrawlConfig, folder: Path) -> tuple[list[Path], SkipCounts]:
    """Run or resume a crawl. Returns the WARC files, and the number of skipped pages by reason."""
    with _Frontier(folder) as frontier:
        asyncio.run(_Crawl(config, frontier).run())
        return frontier.finish()


class _Frontier:
    """The URLs of a crawl, on disk."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._db = sqlite3.connect(folder / "crawl.sqlite", isolation_level=None)
        self._db.executescript(TABLES)
        for name, size in self._db.execute("SELECT name, bytes FROM files"):
            path = folder / name
            if path.exists() and path.stat().st_size > size:  # a kill came between writing a capture and recording it
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
        self._db.close()

    def add(self, urls: Iterator[str] | list[str], depth: int) -> None:
        """Add URLs that are not known yet."""
        rows = [(url, urlsplit(url).netloc, depth) for url in urls]
        self._db.executemany("INSERT OR IGNORE INTO pages (url, host, depth) VALUES (?, ?, ?)", rows)

    def restart(self, urls: list[str]) -> None:
        """Add the start URLs; if the last crawl was complete, queue all its pages again."""
        if not self._db.execute("SELECT 1 FROM pages WHERE state = 'todo' LIMIT 1").fetchone():
            self._db.execute("UPDATE pages SET state = 'todo', tries = 0")
        self.add(urls, 0)

    def hosts(self) -> list[str]:
        """Return the hosts with pages to fetch."""
        return [
            row[0] for row in self._db.execute("SELECT DISTINCT host FROM pages WHERE state = 'todo' ORDER BY host")
        ]

    def next(self, host: str) -> tuple[str, int, str, str] | None:
        """Return the next URL of a host, its depth, and the ETag and Last-Modified of the last fetch."""
        where = "FROM pages WHERE host = ? AND state = 'todo' ORDER BY depth, rowid LIMIT 1"
        row: tuple[str, int, str, str] | None
        row = self._db.execute(f"SELECT url, depth, etag, modified {where}", (host,)).fetchone()
        return row

    def skip(self, url: str, reason: str, decision: Decision | None = None) -> None:
        """Record why a URL is not fetched or not stored."""
        values = (reason, json.dumps(asdict(decision)) if decision else None, url)
        self._db.execute("UPDATE pages SET state = 'left', reason = ?, decision = ? WHERE url = ?", values)

    def retry(self, url: str) -> bool:
        """Count a failed try. Returns whether the URL may be requested again later."""
        self._db.execute("UPDATE pages SET tries = tries + 1 WHERE url = ?", (url,))
        return bool(self._db.execute("SELECT tries < ? FROM pages WHERE url = ?", (TRIES, url)).fetchone()[0])

    def store(self, url: str, capture: Capture | None, headers: dict[str, str], decision: Decision) -> None:
        """Write the capture of a URL and mark it as fetched. Without a capture, the page has not changed."""
        values = (headers.get("etag"), headers.get("last-modified"), json.dumps(asdict(decision)), url)
        if capture is not None:
            if self._writer is None:
                self._db.execute("INSERT OR IGNORE INTO files VALUES (?, 0)", (self._path.name,))
                self._writer = CaptureWriter(self._path)
            self._writer.write(capture)
            size = self._writer.flush()
            self._db.execute("BEGIN")
            self._db.execute("UPDATE files SET bytes = ? WHERE name = ?", (size, self._path.name))
        changes = "etag = coalesce(?, etag), modified = coalesce(?, modified), decision = ?, fetched = datetime()"
        self._db.execute(f"UPDATE pages SET state = 'done', reason = NULL, {changes} WHERE url = ?", values)
        if capture is not None:
            self._db.execute("COMMIT")

    def finish(self) -> tuple[list[Path], SkipCounts]:
        """Return the WARC files, and the number of skipped URLs by reason."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        skipped = self._db.execute("SELECT reason, count(*) FROM pages WHERE state = 'left' GROUP BY reason")
        return sorted(self._folder.glob("*.warc.gz")), SkipCounts(dict(skipped.fetchall()))


class _Crawl:
    def __init__(self, config: CrawlConfig, frontier: _Frontier) -> None:
        self._config, self._frontier = config, frontier
        self._starts = [_normalize(url) for url in config.starts]
        self._allowed = {urlsplit(url).netloc for url in self._starts}
        self._fetched = 0
        self._progress = Progress("crawl", config.max_pages)

    async def run(self) -> None:
        self._frontier.restart(self._starts)
        semaphore = asyncio.Semaphore(self._config.hosts_at_once)

        async def visit(host: str) -> None:
            async with semaphore:
                await self._visit(host)

        with self._progress:
            async with Fetcher(self._config.allowed_networks) as self._fetcher:
                await asyncio.gather(*(visit(host) for host in self._frontier.hosts()))

    async def _visit(self, name: str) -> None:
        """Fetch the pages of a host, one after another."""
        hosts: dict[str, _Host] = {}  # http and https have rules of their own
        while self._fetched < self._config.max_pages and (page := self._frontier.next(name)):
            url, depth, etag, modified = page
            base = "{0.scheme}://{0.netloc}".format(urlsplit(url))
            if base not in hosts:
                hosts[base] = await self._fetch_rules(base)
            await self._page(url, depth, {"If-None-Match": etag, "If-Modified-Since": modified}, hosts[base])
            self._progress.update(self._fetched, {"pages": self._fetched, "host": name})

    async def _fetch_rules(self, base: str) -> _Host:
        """Fetch the crawling rules of a host."""
        status, content = 0, b""
        try:
            response = await self._fetcher.fetch(f"{base}/robots.txt")
            status, content = response.status, response.content
        except FetchError as error:
            if str(error) == "too large":
                status = 500
        host = _Host(Robots(status, content, _now()), b"")
        try:
            response = await self._fetcher.fetch(f"{base}/.well-known/tdmrep.json")
            host.tdmrep = response.content if response.status == 200 else b""
        except FetchError:
            pass
        sitemaps = [url for url in host.robots.sitemaps if urlsplit(url).netloc in self._allowed]
        self._frontier.add(sitemaps, 0)
        return host

    async def _page(self, url: str, depth: int, conditions: dict[str, str], host: _Host) -> None:
        evidence = [*host.robots.evidence(url), *from_tdmrep(host.tdmrep, url, _now())]
        decision = decide(evidence)
        if not decision.allowed:
            return self._frontier.skip(url, "not permitted", decision)
        await asyncio.sleep(max(0.0, host.next_time - time.monotonic()))
        try:
            headers = {name: value for name, value in conditions.items() if value}
            response = await self._fetcher.fetch(url, headers, lambda target: self._may_follow(target, host))
        except FetchError as error:
            return self._frontier.skip(url, str(error))
        finally:
            crawl_delay = min(host.robots.crawl_delay_seconds, MAX_DELAY_SECONDS)
            host.next_time = time.monotonic() + max(self._config.delay_seconds, crawl_delay)
        if response.status in (429, 503) and self._frontier.retry(url):
            retry_after = response.headers.get("retry-after", "")
            seconds = float(retry_after) if retry_after.isdigit() else 10 * self._config.delay_seconds
            host.next_time = time.monotonic() + min(seconds, MAX_DELAY_SECONDS)
            return None
        return self._process(url, depth, response, evidence)

    def _may_follow(self, url: str, host: _Host) -> bool:
        allowed = urlsplit(url).netloc in self._allowed
        return allowed and decide([*host.robots.evidence(url), *from_tdmrep(host.tdmrep, url, _now())]).allowed

    def _process(self, url: str, depth: int, response: Response, evidence: list[Evidence]) -> None:
        """Store a response, if that is permitted, and queue its links."""
        media_type, _, parameters = response.headers.get("content-type", "").lower().partition(";")
        media_type, charset = media_type.strip(), parameters.partition("charset=")[2].split(";")[0].strip("\"' ")
        if response.status not in (200, 304):
            return self._frontier.skip(url, f"status {response.status}")
        text = response.content.decode("utf-8", "replace") if media_type in (*HTML, *FEEDS) else ""
        evidence = [*evidence, *from_headers(response.headers, _now()), *from_page(text, _now())]
        decision = decide(evidence)
        if not decision.allowed:
            return self._frontier.skip(url, "not permitted", decision)
        if response.status == 304:
            return self._frontier.store(url, None, dict(response.headers), decision)
        if media_type in FEEDS:
            links = (unescape(first or second) for first, second in LINK.findall(text))
            self._frontier.add([link for link in links if urlsplit(link).netloc in self._allowed], depth)
            return self._frontier.skip(url, "feed or sitemap", decision)
        if media_type not in (*HTML, *PLAIN):
            return self._frontier.skip(url, f"media type {media_type or 'unknown'}")
        if depth < self._config.max_depth and media_type in HTML:
            self._frontier.add(self._links(text, response.url), depth + 1)
        permission = json.dumps(asdict(decision), separators=(",", ":"))
        fetched = datetime.now(UTC).replace(microsecond=0)
        capture = Capture(response.url, fetched, media_type, charset, response.content, permission=permission)
        self._frontier.store(url, capture, dict(response.headers), decision)
        self._fetched += 1
        return None

    def _links(self, page: str, url: str) -> list[str]:
        """Return the URLs on permitted hosts that a page links to, in order."""
        if exceeds_html_limits(page):
            return []
        urls: dict[str, None] = {}
        document = HTMLTree.parse(page).document
        for link in document.get_elements_by_tag_name("a") if document else ():
            if "nofollow" not in (link.getattr("rel") or "").lower():
                with contextlib.suppress(ValueError):
                    address = _normalize(urljoin(url, (link.getattr("href") or "").strip()))
                    parts = urlsplit(address)
                    if parts.scheme in ("http", "https") and parts.netloc in self._allowed:
                        urls[address] = None
        return list(urls)


def _normalize(url: str) -> str:
    """Normalize a URL, without its fragment and tracking parameters."""
    return normalize_url(urldefrag(url).url)


def _now() -> str:
    return datetime.now(UTC).replace(microsecond=0).isoformat()

"""Tests of crawling a small site: politeness, permission, resumption."""

import itertools
import json
import socket
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from baicai.wholesale.gather import GatherRecipe, GatherSourceConfig, gather
from baicai.wholesale.sources.captures import read_captures
from baicai.wholesale.sources.crawler import CrawlConfig, crawl
from baicai.wholesale.sources.warc import SkipCounts
from tests.loopback import serving

PAGES = ["/", "/a", "/b", "/b?x=1", "/deep/1", "/deep/2"]


class Site:
    """A site to crawl that records its requests."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, float]] = []
        self.not_modified = 0
        self.robots = "User-agent: *\nDisallow: /private\n"
        self.pages: dict[str, tuple[int, dict[str, str], str]] = {}
        self.app = web.Application()
        self.app.router.add_get("/{path:.*}", self._answer)
        self.url = ""

    def page(self, path: str, *links: str, status: int = 200, **headers: str) -> None:
        body = f"<html><head><title>Page {path}</title></head><body><p>The text of {path} is here.</p>"
        body += "".join(f'<a href="{link}">{link}</a>' for link in links)
        defaults = {"Content-Type": "text/html; charset=utf-8", "ETag": f'"{path}"'}
        self.pages[path] = (status, defaults | {name.replace("_", "-"): value for name, value in headers.items()}, body)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append((request.path, time.monotonic()))
        if request.path == "/robots.txt":
            return web.Response(text=self.robots)
        if request.path not in self.pages:
            return web.Response(status=404)
        status, headers, body = self.pages[request.path]
        if request.headers.get("If-None-Match") == headers.get("ETag", "none"):
            self.not_modified += 1
            return web.Response(status=304, headers={"ETag": headers["ETag"]})
        return web.Response(status=status, body=body.encode(), headers=headers)

    def config(self, **changes: Any) -> CrawlConfig:
        return CrawlConfig(
            **({"starts": [f"{self.url}/"], "delay_seconds": 0.01, "allowed_networks": ["127.0.0.1/32"]} | changes)
        )

    def paths(self, files: list[Path]) -> list[str]:
        captures = [capture for file in files for capture in read_captures(file, Counter())]
        return sorted(capture.url.removeprefix(self.url) for capture in captures)


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    site.page("/", "/a", "/b#part", "b?x=1", "/private/c", "http://other.example/", "mailto:x@y.example", "/gone")
    site.page("/a", "/", "/deep/1")
    site.page("/b", "/secret", "/meta", "/moved", "/away", "/picture")
    site.page("/deep/1", "/deep/2")
    site.page("/deep/2")
    site.page("/private/c")
    site.page("/secret", X_Robots_Tag="noai")
    site.page("/meta")
    site.pages["/meta"] = (200, {"Content-Type": "text/html"}, '<meta name="tdm-reservation" content="1"><p>Mine.')
    site.page("/moved", status=301, Location="/private/c")
    site.page("/away", status=302, Location="http://93.184.216.34/")
    site.page("/picture", Content_Type="image/png")
    with serving(site.app) as site.url:
        yield site


def test_site_is_crawled_as_it_permits(site: Site, tmp_path: Path) -> None:
    files, skips = crawl(site.config(), tmp_path)
    assert site.paths(files) == PAGES
    assert skips["not permitted"] == 3, "by robots.txt, header and meta tag"
    assert skips["moved to where it may not be followed"] == 2, "to another host, and to what robots.txt forbids"
    assert skips["status 404"] == 1
    assert skips["media type image/png"] == 1
    paths = [path for path, _ in site.requests]
    assert "/private/c" not in paths
    assert max(Counter(paths).values()) <= 2, "no page is requested repeatedly"


def test_each_capture_records_its_decision(site: Site, tmp_path: Path) -> None:
    files, _ = crawl(site.config(max_depth=0), tmp_path)
    (capture,) = read_captures(files[0], Counter())
    decision = json.loads(capture.permission)
    assert decision["allowed"] is True
    assert [item["kind"] for item in decision["evidence"]] == ["robots"]
    assert decision["evidence"][0]["seen"].startswith("20")


def test_crawl_resumes_and_fetches_nothing_twice(site: Site, tmp_path: Path) -> None:
    crawl(site.config(max_pages=2), tmp_path)
    before = {path for path, _ in site.requests}
    site.requests.clear()
    files, _ = crawl(site.config(), tmp_path)
    assert site.paths(files) == PAGES
    assert {path for path, _ in site.requests} & before == {"/robots.txt", "/.well-known/tdmrep.json"}


def test_half_written_capture_is_cut_off(site: Site, tmp_path: Path) -> None:
    files, _ = crawl(site.config(max_pages=2), tmp_path)
    with files[0].open("ab") as file:
        file.write(b"\x1f\x8b\x08half a record")
    files, _ = crawl(site.config(), tmp_path)
    skips: SkipCounts = Counter()
    assert len([capture for file in files for capture in read_captures(file, skips)]) == 6
    assert not skips


def test_later_crawl_captures_only_changed_pages(site: Site, tmp_path: Path) -> None:
    crawl(site.config(), tmp_path)
    site.page("/deep/2", ETag='"changed"')
    files, _ = crawl(site.config(), tmp_path)
    assert site.not_modified == 5
    assert site.paths(files).count("/deep/2") == 2
    assert len(site.paths(files)) == 7


def test_crawl_delay_of_a_host_is_respected(site: Site, tmp_path: Path) -> None:
    site.robots = "User-agent: *\nCrawl-delay: 0.2\n"
    crawl(site.config(max_pages=4), tmp_path)
    times = [when for path, when in site.requests if path in ("/", "/a", "/b", "/private/c")]
    assert len(times) >= 3
    assert min(later - earlier for earlier, later in itertools.pairwise(times)) >= 0.19


def test_feeds_and_sitemaps_are_followed(site: Site, tmp_path: Path) -> None:
    site.robots += f"Sitemap: {site.url}/map.xml\n"
    site.page("/map.xml", Content_Type="application/xml")
    site.pages["/map.xml"] = (
        200,
        {"Content-Type": "application/xml"},
        f"<urlset><url><loc>{site.url}/unlinked</loc></url><url><loc>http://other.example/</loc></url></urlset>",
    )
    site.pages["/feed"] = (
        200,
        {"Content-Type": "application/atom+xml"},
        f'<feed><link href="{site.url}/entry?a=1&amp;b=2"/></feed>',
    )
    site.page("/unlinked")
    site.page("/entry")
    files, skips = crawl(site.config(starts=[f"{site.url}/feed"]), tmp_path)
    assert site.paths(files) == ["/entry?a=1&b=2", "/unlinked"]
    assert skips["feed or sitemap"] == 2


def test_unreachable_host_is_not_crawled(site: Site, tmp_path: Path) -> None:
    with socket.socket() as closed:  # bound, but not listening
        closed.bind(("127.0.0.1", 0))
        starts = [f"http://127.0.0.1:{closed.getsockname()[1]}/"]
        assert crawl(site.config(starts=starts), tmp_path) == ([], {"not permitted": 1})


def test_crawled_pages_are_gathered(site: Site, tmp_path: Path) -> None:
    recipe = GatherRecipe(sources=[GatherSourceConfig(crawl=site.config())], workers=1)
    counts = gather(recipe, tmp_path / "warehouse")
    assert counts["documents"] == 6
    assert counts["left out: not permitted"] == 3

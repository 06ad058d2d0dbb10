"""A crawl of a small site: polite, permitted, resumable."""

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
    """Pages to crawl, which notes what it is asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, float]] = []
        self.not_modified = 0
        self.robots = "User-agent: *\nDisallow: /private\n"
        self.pages: dict[str, tuple[int, dict[str, str], str]] = {}
        self.app = web.Application()
        self.app.router.add_get("/{path:.*}", self._answer)
        self.url = ""

    def page(self, path: str, *links: str, status: int = 200, **headers: str) -> None:
        body = f"<html><head><title>Page {path}</title></head><body><p>The text of {path} is here.</p>"
        body += "".join(f'<a href="{link}">{link}</a>' for link in links)
        told = {"Content-Type": "text/html; charset=utf-8", "ETag": f'"{path}"'}
        self.pages[path] = (status, told | {name.replace("_", "-"): value for name, value in headers.items()}, body)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append((request.path, time.monotonic()))
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
        told: dict[str, Any] = {"starts": [f"{self.url}/"], "delay_seconds": 0.01, "allowed_networks": ["127.0.0.1/32"]}
        return CrawlConfig(**(told | changes))

    def paths(self, files: list[Path]) -> list[str]:
        captures = [capture for file in files for capture in read_captures(file, Counter())]
        return sorted(capture.url.removeprefix(self.url) for capture in captures)


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site()
    made.page("/", "/a", "/b#part", "b?x=1", "/private/c", "http://other.example/", "mailto:x@y.example", "/gone")
    made.page("/a", "/", "/deep/1")
    made.page("/b", "/secret", "/meta", "/moved", "/away", "/picture")
    made.page("/deep/1", "/deep/2")
    made.page("/deep/2")
    made.page("/private/c")
    made.page("/secret", X_Robots_Tag="noai")
    made.page("/meta")
    made.pages["/meta"] = (200, {"Content-Type": "text/html"}, '<meta name="tdm-reservation" content="1"><p>Mine.')
    made.page("/moved", status=301, Location="/private/c")
    made.page("/away", status=302, Location="http://93.184.216.34/")
    made.page("/picture", Content_Type="image/png")
    with serving(made.app) as made.url:
        yield made


def test_a_site_is_crawled_as_it_permits(site: Site, tmp_path: Path) -> None:
    files, left = crawl(site.config(), tmp_path)
    assert site.paths(files) == PAGES
    assert left["not permitted"] == 3, "by robots.txt, header and meta tag"
    assert left["moved to where it may not be followed"] == 2, "to another host, and to what robots.txt forbids"
    assert left["status 404"] == 1
    assert left["media type image/png"] == 1
    asked = [path for path, _ in site.asked]
    assert "/private/c" not in asked
    assert max(Counter(asked).values()) <= 2, "nothing is asked for again and again"


def test_each_capture_has_its_decision(site: Site, tmp_path: Path) -> None:
    files, _ = crawl(site.config(max_depth=0), tmp_path)
    (capture,) = read_captures(files[0], Counter())
    decision = json.loads(capture.permission)
    assert decision["allowed"] is True
    assert [one["kind"] for one in decision["evidence"]] == ["robots"]
    assert decision["evidence"][0]["seen"].startswith("20")


def test_a_crawl_goes_on_where_it_was_and_fetches_nothing_twice(site: Site, tmp_path: Path) -> None:
    crawl(site.config(max_pages=2), tmp_path)
    before = {path for path, _ in site.asked}
    site.asked.clear()
    files, _ = crawl(site.config(), tmp_path)
    assert site.paths(files) == PAGES
    assert {path for path, _ in site.asked} & before == {"/robots.txt", "/.well-known/tdmrep.json"}


def test_what_a_kill_left_half_written_is_cut_off(site: Site, tmp_path: Path) -> None:
    files, _ = crawl(site.config(max_pages=2), tmp_path)
    with files[0].open("ab") as file:
        file.write(b"\x1f\x8b\x08half a record")
    files, _ = crawl(site.config(), tmp_path)
    skips: SkipCounts = Counter()
    assert len([capture for file in files for capture in read_captures(file, skips)]) == 6
    assert not skips


def test_a_later_crawl_asks_only_for_what_changed(site: Site, tmp_path: Path) -> None:
    crawl(site.config(), tmp_path)
    site.page("/deep/2", ETag='"changed"')
    files, _ = crawl(site.config(), tmp_path)
    assert site.not_modified == 5
    assert site.paths(files).count("/deep/2") == 2
    assert len(site.paths(files)) == 7


def test_a_host_is_asked_no_sooner_than_it_wants(site: Site, tmp_path: Path) -> None:
    site.robots = "User-agent: *\nCrawl-delay: 0.2\n"
    crawl(site.config(max_pages=4), tmp_path)
    times = [when for path, when in site.asked if path in ("/", "/a", "/b", "/private/c")]
    assert len(times) >= 3
    assert min(later - sooner for sooner, later in itertools.pairwise(times)) >= 0.19


def test_feeds_and_sitemaps_are_read(site: Site, tmp_path: Path) -> None:
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
    files, left = crawl(site.config(starts=[f"{site.url}/feed"]), tmp_path)
    assert site.paths(files) == ["/entry?a=1&b=2", "/unlinked"]
    assert left["feed or sitemap"] == 2


def test_a_host_that_does_not_answer_for_robots_txt_is_left(site: Site, tmp_path: Path) -> None:
    with socket.socket() as closed:  # has the port, and does not listen
        closed.bind(("127.0.0.1", 0))
        starts = [f"http://127.0.0.1:{closed.getsockname()[1]}/"]
        assert crawl(site.config(starts=starts), tmp_path) == ([], {"not permitted": 1})


def test_what_was_crawled_is_gathered(site: Site, tmp_path: Path) -> None:
    recipe = GatherRecipe(sources=[GatherSourceConfig(crawl=site.config())], workers=1)
    counts = gather(recipe, tmp_path / "warehouse")
    assert counts["documents"] == 6
    assert counts["left out: not permitted"] == 3

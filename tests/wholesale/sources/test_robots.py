"""Tests of the decision whether a page may be gathered."""

import pytest

from baicai.wholesale.sources.robots import Evidence, Robots, decide, from_headers, from_page, from_tdmrep

NOW = "2026-11-25T12:00:00+00:00"
URL = "https://a.example/books/1"


def allowed(robots: str, url: str = URL, status: int = 200) -> bool:
    return decide(Robots(status, robots.encode(), NOW).evidence(url)).allowed


@pytest.mark.parametrize(
    ("robots", "expected"),
    [
        ("", True),
        ("User-agent: *\nDisallow: /", False),
        ("User-agent: *\nDisallow: /\nAllow: /books/", True),
        ("User-agent: *\nAllow: /\n\nUser-agent: BaicaiBot\nDisallow: /", False),
        ("User-agent: OtherBot\nDisallow: /", True),
        ("user-AGENT: *\ndisallow: /*/1$", False),
        ("\ufeffUser-agent: *\nDisallow: /books", False),
        ("User-agent: *\nContent-Signal: search=yes, ai-train=no\nAllow: /", False),
        ("User-agent: *\nContent-Signal: search=no, ai-train=yes\nAllow: /", True),
        ("User-agent: *\nContent-Signal: /private ai-train=no\nAllow: /", True),
        ("User-agent: *\nContent-Signal: /books ai-train=no\nContent-Signal: / ai-train=yes\nAllow: /", False),
        ("User-agent: OtherBot\nContent-Signal: ai-train=no\nAllow: /", True),
        ("License: https://a.example/licence.xml\nUser-agent: *\nAllow: /", True),
        ("\0\xff" * 1000, True),
        ("User-agent: *\n" + "Disallow: /x\n" * 100_000 + "Disallow: /", True),  # beyond the parsing limit
    ],
)
def test_robots_txt_decides(robots: str, expected: bool) -> None:
    assert allowed(robots) == expected


@pytest.mark.parametrize(("status", "expected"), [(404, True), (403, True), (500, False), (503, False), (0, False)])
def test_missing_robots_txt_allows(status: int, expected: bool) -> None:
    assert allowed("User-agent: *\nDisallow: /", status=status) == expected


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, True),
        ({"x-robots-tag": "noai"}, False),
        ({"x-robots-tag": "nofollow, NOINDEX"}, False),
        ({"x-robots-tag": "otherbot: noindex"}, True),
        ({"x-robots-tag": "otherbot: noindex, baicaibot: noai"}, False),
        ({"x-robots-tag": "max-snippet: 20"}, True),
        ({"tdm-reservation": "1"}, False),
        ({"tdm-reservation": "0"}, True),
    ],
)
def test_headers_decide(headers: dict[str, str], expected: bool) -> None:
    assert decide(from_headers(headers, NOW)).allowed == expected


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ("<p>hello", True),
        ('<meta name="robots" content="noindex">', False),
        ("<META content=noai NAME=robots>", False),
        ("<meta name='tdm-reservation' content='1'>", False),
        ("<meta name='description' content='noindex'>", True),
        ("<meta " * 100_000, True),
    ],
)
def test_meta_tags_decide(page: str, expected: bool) -> None:
    assert decide(from_page(page, NOW)).allowed == expected


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b'[{"location": "/", "tdm-reservation": 1}]', False),
        (b'[{"location": "/books/*", "tdm-reservation": 1}]', False),
        (b'[{"location": "/books", "tdm-reservation": 0}, {"location": "/", "tdm-reservation": 1}]', True),
        (b'[{"location": "/music", "tdm-reservation": 1}]', True),
        (b"no json", True),
        (b"[" * 100_000, True),
        (b'{"location": 3}', True),
    ],
)
def test_tdmrep_json_decides(content: bytes, expected: bool) -> None:
    assert decide(from_tdmrep(content, URL, NOW)).allowed == expected


def test_newest_evidence_counts_and_one_restriction_forbids() -> None:
    old, new = "2026-01-01T00:00:00+00:00", "2026-02-01T00:00:00+00:00"
    yes, no = Evidence("tdm", "0", True, old), Evidence("tdm", "1", False, new)
    assert not decide([yes, no]).allowed
    assert decide([Evidence("tdm", "1", False, old), Evidence("tdm", "0", True, new)]).allowed
    assert not decide([Evidence("robots", "allow", True, new), no]).allowed
    assert decide([yes, no]).evidence == (no,)
    assert not decide([Evidence("tdm", "1", False, new), Evidence("tdm", "0", True, new)]).allowed, (
        "a restriction at the same time wins"
    )


def test_crawl_delay_and_sitemaps_are_read() -> None:
    robots = Robots(200, b"Sitemap: https://a.example/map.xml\nUser-agent: *\nCrawl-delay: 7\n", NOW)
    assert (robots.crawl_delay_seconds, robots.sitemaps) == (7, ["https://a.example/map.xml"])
